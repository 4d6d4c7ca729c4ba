"""Looking records up: what is searched for, in what company, and what the answers say of each reference."""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.contract import Module, Reference
from worker.planner.actions import MAX_VALUES, Answer, FoundRecord, Search
from worker.planner.lookup import COMPANY, MAX_CANDIDATES, MAX_PAGES, LookUp, take_together

Records = Mapping[int, Mapping[str, tuple[str, ...]]]

EMAILS = ("a@x.test", "A@X.test", "ä@x.test", "a-@x.test", "b@x.test")
NUMBERS = ("7", " 7", "07", "7a", "7A")
PHONES = ("0241 990680", "+49 241 990680", "0049241990680", "0241/990681", "extension 12")
PLACES = ("Köln", "Koln", "köln")
VALUES = {"email": EMAILS, "KdNr": NUMBERS, "phone": PHONES, "Ort": PLACES}
REFUSAL = (141, "field", "unknown field")


def reference(module: Module = "address", /, **fields: str) -> Reference:
    return Reference(module, tuple(sorted(fields.items())))


def look_up(*references: Reference, failures: int = 0) -> LookUp:
    return LookUp(dict.fromkeys(references, failures), "DE")


def searches(looked_up: LookUp, most: int = 50) -> list[Search]:
    return [search for request in requests(looked_up, most) for search in request]


def requests(looked_up: LookUp, most: int = 50) -> Iterator[list[Search]]:
    while request := looked_up.next_request(most):
        yield request


def found(number: int, **values: str) -> FoundRecord:
    return FoundRecord(number, {name: (value,) for name, value in values.items()})


def answer(looked_up: LookUp, *records: FoundRecord) -> dict[Reference, Answer]:
    """Answer the only search with these records; return what is known then."""
    (search,) = searches(looked_up)
    looked_up.take(search, records, len(records))
    return dict(looked_up.answers())


# --- what the records that are found say of a reference


def loosely(value: str) -> str:
    """Return what the API takes for equal here: more than it should."""
    return "".join(char for char in value.casefold().replace("ö", "o") if char.isalnum()).lstrip("0")


def compared(name: str, value: str) -> str:
    """Return a value as it counts: written a second time, by other means."""
    if name == "phone" and (digits := "".join(filter(str.isdigit, value))) and not value[0].isalpha():
        return "+49" + digits.removeprefix("00").removeprefix("49").removeprefix("0")
    return value.strip().casefold() if name == "email" else value.strip()


def is_as_asked(record: Mapping[str, tuple[str, ...]], asked: Reference) -> bool:
    return all(
        compared(name, text) in [compared(name, value) for value in record.get(name, ())]
        for name, text in asked.fields
    )


CELLS = {name: st.lists(st.sampled_from(values), max_size=2).map(tuple) for name, values in VALUES.items()}
CRM = st.dictionaries(st.integers(1, 30), st.fixed_dictionaries(CELLS), max_size=12)
REFERENCES = st.lists(
    st.fixed_dictionaries({}, optional={name: st.sampled_from(values) for name, values in VALUES.items()})
    .filter(bool)
    .map(lambda fields: reference(**fields)),
    min_size=1,
    max_size=8,
    unique=True,
)


def search_loosely(crm: Records, search: Search) -> list[FoundRecord]:
    asked = set(map(loosely, search.values))
    return [
        FoundRecord(number, {name: values[name] for name in search.data})
        for number, values in sorted(crm.items())
        if asked & set(map(loosely, values[search.field]))
    ]


@given(CRM, REFERENCES, st.integers(1, 4), st.integers(1, 3))
def test_a_reference_is_the_one_record_that_is_as_asked_whatever_else_the_api_finds(
    crm: Records, asked: list[Reference], page: int, most: int
) -> None:
    looked_up = look_up(*asked)
    for request in requests(looked_up, most):
        assert len(request) <= most
        for search in request:
            records = search_loosely(crm, search)
            looked_up.take(
                search, tuple(records[search.offset : search.offset + page]), max(len(records), search.offset)
            )
    answers = dict(looked_up.answers())
    assert answers.keys() == set(asked)
    for each in asked:
        exact = sorted(number for number, values in crm.items() if is_as_asked(values, each))
        known = answers[each]
        assert known.refusal is None
        assert known.record == (exact[0] if len(exact) == 1 else 0)
        assert known.is_ambiguous == (len(exact) > 1)
        if len(exact) > 1:
            assert known.candidates == tuple(exact[:MAX_CANDIDATES])
        elif not exact:
            assert list(known.candidates) == sorted(known.candidates)[:MAX_CANDIDATES]
            assert not any(is_as_asked(crm[number], each) for number in known.candidates)


@pytest.mark.parametrize(
    ("asked", "value", "is_candidate"),
    [
        ("Köln 7", "KOELN 7", False),
        ("Straße 7", "STRASSE 7", True),
        ("PC-910", "pc 910", True),
        ("Café", "cafe", True),
        ("PC910", "PC911", False),
    ],
)
def test_what_is_only_nearly_as_asked_is_a_candidate_and_never_linked(
    asked: str, value: str, is_candidate: bool
) -> None:
    wanted = reference("estate", objektnr_extern=asked)
    known = answer(look_up(wanted), found(5, objektnr_extern=value))
    assert known == {wanted: Answer(candidates=(5,) if is_candidate else ())}


def test_a_record_with_another_value_in_a_second_field_is_a_candidate() -> None:
    wanted = reference(email="a@x.test", Name="Roth")
    (search,) = searches(looked_up := look_up(wanted))
    assert (search.field, search.data) == ("email", ("Name", "email"))
    looked_up.take(search, (found(5, email="a@x.test", Name="Rot"),), 1)
    assert dict(looked_up.answers()) == {wanted: Answer(candidates=(5,))}


def test_a_phone_that_is_written_otherwise_beside_another_name_is_a_candidate() -> None:
    wanted = reference(phone="0241 990680", Name="Roth")
    known = answer(look_up(wanted), found(5, phone="+49 (241) 990680", Name="Rot"))
    assert known == {wanted: Answer(candidates=(5,))}


def test_a_record_that_is_answered_without_the_field_is_none() -> None:
    wanted = reference(KdNr="7", Name="Roth")
    assert answer(look_up(wanted), found(5, Name="Roth"), found(6, KdNr="7")) == {
        wanted: Answer(candidates=(6,))
    }


def test_a_phone_of_another_country_is_found_by_its_own_number_only() -> None:
    wanted = reference(phone="+31 20 123 4567")
    national, abroad = found(5, phone="020 123 4567"), found(6, phone="0031201234567")
    assert answer(look_up(wanted), national, abroad) == {wanted: Answer(6)}


def test_at_most_ten_candidates_are_kept_in_order() -> None:
    wanted = reference(KdNr="7")
    known = answer(look_up(wanted), *(found(number, KdNr="7") for number in range(30, 10, -1)))
    assert known[wanted] == Answer(candidates=tuple(range(11, 21)), is_ambiguous=True)


def test_two_spellings_of_one_value_are_answered_alike() -> None:
    first, second = reference(email="a@x.test"), reference(email="A@X.test")
    assert set(answer(look_up(first, second), found(5, email="a@X.TEST")).values()) == {Answer(5)}


# --- what is searched for


@pytest.mark.parametrize(
    ("fields", "searched"),
    [
        ({"Ort": "Köln", "KdNr": "7"}, "KdNr"),
        ({"email": "a@x.test", "phone": "0241 990680"}, "email"),
        ({"Name": "Roth", "Ort": "Köln"}, "Name"),
        ({"uuid": "1", "KdNr": "7", "objektnr_extern": "8"}, "uuid"),
    ],
)
def test_the_field_that_finds_least_is_searched_and_all_are_read(
    fields: dict[str, str], searched: str
) -> None:
    (search,) = searches(look_up(reference(**fields)))
    assert (search.module, search.field, search.values[0]) == ("address", searched, fields[searched])
    assert (search.data, search.offset) == (tuple(sorted(fields)), 0)


@given(st.integers(1, 3 * MAX_VALUES))
def test_references_by_one_field_share_as_few_searches_as_the_api_allows(count: int) -> None:
    asked = [reference("estate", objektnr_extern=f"PC{number}") for number in range(count)]
    made = searches(look_up(*asked))
    assert len(made) == -(-count // MAX_VALUES)
    assert [value for search in made for value in search.values] == [f"PC{n}" for n in range(count)]
    assert {(search.module, search.field, search.data, search.kind) for search in made} == {
        ("estate", "objektnr_extern", ("objektnr_extern",), "read")
    }


def test_each_module_and_field_has_a_search_of_its_own() -> None:
    made = searches(
        look_up(
            reference("estate", objektnr_extern="1"),
            reference("estate", uuid="1"),
            reference("address", KdNr="1"),
            reference("address", KdNr="2", Name="Roth"),
        )
    )
    assert [(search.module, search.field, search.values, search.data) for search in made] == [
        ("estate", "objektnr_extern", ("1",), ("objektnr_extern",)),
        ("estate", "uuid", ("1",), ("uuid",)),
        ("address", "KdNr", ("1", "2"), ("KdNr", "Name")),
    ]


def test_a_phone_with_the_code_of_its_country_and_no_plus_is_no_other_one_of_that_country() -> None:
    wanted = reference(phone="49 171 1234567")  # as WhatsApp has it, and people write it
    known = answer(look_up(wanted), found(5, phone="0171/1234567"), found(6, phone="049171 1234567"))
    assert known == {wanted: Answer(5)}


def test_a_phone_is_searched_as_people_write_it() -> None:
    (search,) = searches(look_up(reference(phone="0241/990680")))
    assert search.values == (
        "0241/990680",
        "+49241990680",
        "0049241990680",
        "+49 241 990680",
        "0241 990680",
        "0241990680",
    )


@pytest.mark.parametrize(("name", "value"), [("phone", "extension"), ("KdNr", "0241 990680")])
def test_what_is_no_phone_is_searched_as_it_is(name: str, value: str) -> None:
    (search,) = searches(look_up(reference(**{name: value})))
    assert search.values == (value,)


@given(st.lists(st.integers(100_000, 999_999), min_size=80, max_size=120, unique=True))
def test_the_spellings_of_a_phone_travel_together(numbers: list[int]) -> None:
    made = searches(look_up(*(reference(phone=f"0241/{number}") for number in numbers)))
    for number in numbers:
        spellings = {f"0241/{number}", f"+49241{number}", f"0241{number}"}
        together = [spellings <= set(search.values) for search in made]
        assert sorted(together) == [*(len(made) - 1) * [False], True]
    assert all(len(search.values) <= MAX_VALUES for search in made)


# --- what fails


@pytest.mark.parametrize("failures", [0, 1, 2, 3, 9])
def test_what_was_not_answered_goes_in_smaller_and_smaller_company(failures: int) -> None:
    asked = [reference(KdNr=f"{number}") for number in range(120)]
    company = COMPANY[min(failures, len(COMPANY) - 1)]
    made = list(requests(look_up(*asked, failures=failures), most=3))
    assert max(len(search.values) for request in made for search in request) == min(company, 120)
    assert len(made) == (-(-120 // company) if failures else 1)


def test_what_never_failed_goes_first_and_what_failed_goes_alone() -> None:
    fresh = [reference(KdNr="1"), reference("estate", uuid="1"), reference("estate", objektnr_extern="1")]
    failed = [reference(email="a@x.test"), reference(phone="12")]
    looked_up = LookUp(dict.fromkeys(failed, 1) | dict.fromkeys(fresh, 0), "DE")
    fields = [[search.field for search in request] for request in requests(looked_up, most=2)]
    assert fields == [["KdNr", "uuid"], ["objektnr_extern"], ["email"], ["phone"]]


def test_a_search_that_is_lost_leaves_its_references_without_an_answer() -> None:
    first, second, third = reference(KdNr="1"), reference("estate", uuid="1"), reference(email="a@x.test")
    looked_up = look_up(first, second, third)
    by_field = {search.field: search for search in searches(looked_up)}
    looked_up.lose(by_field["KdNr"])
    looked_up.take(by_field["uuid"], (found(5, uuid="1"),), 1)
    assert looked_up.lost == {first}
    assert dict(looked_up.answers()) == {second: Answer(5)}


def test_a_search_whose_second_page_is_lost_says_nothing() -> None:
    wanted = reference(KdNr="7")
    looked_up = look_up(wanted)
    (search,) = looked_up.next_request(50)
    looked_up.take(search, (found(5, KdNr="7"),), 2)
    (second,) = looked_up.next_request(50)
    assert (second.offset, second.values) == (1, search.values)
    looked_up.lose(second)
    assert looked_up.lost == {wanted}
    assert not dict(looked_up.answers())


def test_a_search_that_was_lost_and_answered_later_is_not_lost() -> None:
    wanted = reference(KdNr="7")
    looked_up = look_up(wanted)
    (search,) = looked_up.next_request(50)
    looked_up.lose(search)
    looked_up.take(search, (), 0)
    assert (looked_up.lost, dict(looked_up.answers())) == (frozenset(), {wanted: Answer()})


def test_a_refused_search_refuses_what_it_asked_for_and_nothing_else() -> None:
    refused, fine = reference(KdNr="7"), reference("estate", uuid="1")
    looked_up = look_up(refused, fine)
    by_field = {search.field: search for search in searches(looked_up)}
    looked_up.refuse(by_field["KdNr"], REFUSAL)
    looked_up.take(by_field["uuid"], (found(5, uuid="1"),), 1)
    assert dict(looked_up.answers()) == {refused: Answer(refusal=REFUSAL), fine: Answer(5)}


def test_what_was_found_before_a_refusal_is_kept_as_candidates() -> None:
    wanted = reference(KdNr="7")
    looked_up = look_up(wanted)
    (search,) = looked_up.next_request(50)
    looked_up.take(search, (found(5, KdNr="7"),), 2)
    looked_up.refuse(looked_up.next_request(50)[0], REFUSAL)
    assert dict(looked_up.answers()) == {wanted: Answer(candidates=(5,), refusal=REFUSAL)}


@pytest.mark.parametrize(("total", "is_refused"), [(MAX_PAGES * MAX_VALUES, False), (10**6, True)])
def test_a_search_that_finds_too_much_ends_and_says_so(total: int, is_refused: bool) -> None:
    wanted = reference(KdNr="7")
    looked_up, offsets = look_up(wanted), list[int]()
    for request in requests(looked_up):
        (search,) = request
        offsets.append(search.offset)
        page = tuple(found(search.offset + place, KdNr="7") for place in range(1, MAX_VALUES + 1))
        looked_up.take(search, page, total)
    assert offsets == [page * MAX_VALUES for page in range(MAX_PAGES)]
    refusal = (0, "other", "the search finds too many records") if is_refused else None
    assert dict(looked_up.answers())[wanted].refusal == refusal


def test_a_page_that_is_empty_although_more_is_promised_ends_the_search() -> None:
    wanted = reference(KdNr="7")
    looked_up = look_up(wanted)
    (search,) = looked_up.next_request(50)
    looked_up.take(search, (), 3)
    assert looked_up.next_request(50) == []
    assert dict(looked_up.answers())[wanted].refusal == (0, "other", "the search finds too many records")


@given(st.lists(st.booleans(), max_size=12), st.integers(1, 4))
def test_what_failed_before_travels_alone_and_everything_in_order(failed: Sequence[bool], most: int) -> None:
    waiting, sent = deque(enumerate(failed)), list[tuple[int, bool]]()
    while request := take_together(waiting, most, lambda each: each[1]):
        assert len(request) <= most
        assert len(request) == 1 or not any(has_failed for _, has_failed in request)
        # Nothing more would have fitted in.
        assert not waiting or len(request) == most or request[-1][1] or waiting[0][1]
        sent += request
    assert sent == list(enumerate(failed))
