"""Looking records up by what others know of them: searches out, what they find compared, answers back. Pure.

The API compares in ways it does not document, so what it finds is compared once more here: what is only
nearly as asked is a candidate for a person to choose, and never linked.
"""

import unicodedata
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final, TypeVar

import msgspec

from worker.contract import Module, Reference
from worker.contract.phones import read_phone
from worker.contract.reference import E_MAIL_FIELDS
from worker.planner.actions import MAX_VALUES, Answer, FoundRecord, Search

MAX_PAGES: Final = 20  # of one search: more records than that answer nothing
MAX_CANDIDATES: Final = 10
COMPANY: Final = (MAX_VALUES, 50, 6, 1)
"""The most values or records in an action after no failure, after one, and so on: at last each goes alone."""
PHONE_FIELDS: Final = frozenset({"phone", "mobile", "fax", "Telefon1", "Telefon2", "Telefax1", "Telefax2"})
SELECTIVE: Final = ("uuid", "KdNr", "objektnr_extern", "email", "Email", "phone")
"""Fields to search by first, where a reference has several."""

Sent = TypeVar("Sent")


class LookUp:
    """The searches that references ask for, and the answers as they come; phones of `country` (ISO 3166).

    `failures` says of each reference how often in a row its search was not answered: whatever made that fail
    is searched for in smaller and smaller company.
    """

    def __init__(self, failures: Mapping[Reference, int], country: str) -> None:
        self._country, self._failures = country, failures
        self._exact: dict[Reference, set[int]] = {}
        self._near: dict[Reference, set[int]] = {}
        self._refused: dict[Reference, tuple[int, str, str]] = {}
        self._unanswered: dict[Reference, None] = dict.fromkeys(failures)
        self._by_key: dict[tuple[Module, str, str], list[Reference]] = defaultdict(list)
        self._by_near_key: dict[tuple[Module, str, str], list[Reference]] = defaultdict(list)
        self._waiting = deque(self._plan())
        self._tried = set[Reference]()

    # --- out

    def _plan(self) -> Iterator[Search]:
        """Yield the fewest searches: one for each field and as many values as one takes."""
        groups: dict[tuple[Module, str, int], list[tuple[str, ...]]] = defaultdict(list)
        fields: dict[tuple[Module, str], set[str]] = defaultdict(set)
        for reference in self._unanswered:
            module, name = reference.module, _most_selective(reference)
            value = dict(reference.fields)[name]
            self._by_key[module, name, self._key(name, value)].append(reference)
            self._by_near_key[module, name, _near_key(value)].append(reference)
            level = min(self._failures[reference], len(COMPANY) - 1)
            groups[module, name, level].append(self._spellings(name, value))
            fields[module, name].update(field for field, _ in reference.fields)
        for (module, name, level), spellings in sorted(groups.items(), key=lambda group: group[0][2]):
            data = tuple(sorted(fields[module, name]))
            for values in _pack(spellings, COMPANY[level]):
                yield Search(module, name, values, data)

    def _spellings(self, name: str, value: str) -> tuple[str, ...]:
        """Return how a value may be written in the CRM: phones in a few ways, all others as they are."""
        written = _write_phone(value, self._country) if name in PHONE_FIELDS else None
        if written is None:
            return (value,)
        e164, international, national = written
        digits = "".join(filter(str.isdigit, national))
        return tuple(dict.fromkeys((value, e164, "00" + e164[1:], international, national, digits)))

    def next_request(self, most: int) -> list[Search]:
        """Return the searches that travel together next, at most so many; none if all were sent."""
        return take_together(self._waiting, most, self._has_failed)

    def _has_failed(self, search: Search) -> bool:
        return any(self._failures[reference] for reference in self.asked_by(search))

    # --- back

    def take(self, search: Search, found: tuple[FoundRecord, ...], total: int) -> None:
        """Note the records of an answer; a search that has more of them goes on."""
        for record in found:
            self._compare(search, record)
        seen = search.offset + len(found)
        if found and seen < total and seen < MAX_PAGES * MAX_VALUES:
            self._waiting.appendleft(msgspec.structs.replace(search, offset=seen))
            return
        self._end(search, None if seen >= total else (0, "other", "the search finds too many records"))

    def refuse(self, search: Search, refusal: tuple[int, str, str]) -> None:
        """Note that the API refused a search."""
        self._end(search, refusal)

    def _compare(self, search: Search, record: FoundRecord) -> None:
        module, name = search.module, search.field
        for value in record.values.get(name, ()):
            for reference in self._by_key.get((module, name, self._key(name, value)), ()):
                if all(self._has(record, field, text) for field, text in reference.fields):
                    self._exact.setdefault(reference, set()).add(record.id)
                else:
                    self._near.setdefault(reference, set()).add(record.id)
            for reference in self._by_near_key.get((module, name, _near_key(value)), ()):
                self._near.setdefault(reference, set()).add(record.id)

    def _end(self, search: Search, refusal: tuple[int, str, str] | None) -> None:
        """Note that all that was asked by a search is answered."""
        for reference in self.asked_by(search):
            self._unanswered.pop(reference, None)
            if refusal:
                self._refused[reference] = refusal

    def lose(self, search: Search) -> None:
        """Note that a search was sent and not answered."""
        self._tried.update(self.asked_by(search))

    @property
    def lost(self) -> frozenset[Reference]:
        """The references whose search was not answered."""
        return frozenset(self._tried & self._unanswered.keys())

    def asked_by(self, search: Search) -> Iterator[Reference]:
        """Yield the references that a search is for, one of several spellings as often."""
        for value in search.values:
            yield from self._by_key.get((search.module, search.field, self._key(search.field, value)), ())

    def answers(self) -> Iterator[tuple[Reference, Answer]]:
        """Yield what is known by now; a reference of which a search is missing has no answer."""
        for references in self._by_key.values():
            for reference in references:
                if reference not in self._unanswered:
                    yield reference, self._answer(reference)

    def _answer(self, reference: Reference) -> Answer:
        exact = sorted(self._exact.get(reference, ()))
        if refusal := self._refused.get(reference):
            return Answer(candidates=tuple(exact[:MAX_CANDIDATES]), refusal=refusal)
        if len(exact) == 1:
            return Answer(exact[0])
        candidates = exact or sorted(self._near.get(reference, ()))
        return Answer(candidates=tuple(candidates[:MAX_CANDIDATES]), is_ambiguous=bool(exact))

    # --- comparing

    def _has(self, record: FoundRecord, field: str, text: str) -> bool:
        wanted = self._key(field, text)
        return any(self._key(field, value) == wanted for value in record.values.get(field, ()))

    def _key(self, name: str, value: str) -> str:
        """Return a value as it is compared: e-mails without case, phones as E.164, all others as they are."""
        if name in E_MAIL_FIELDS:
            return value.strip().lower()
        written = _write_phone(value, self._country) if name in PHONE_FIELDS else None
        return written[0] if written else value.strip()


def take_together(waiting: deque[Sent], most: int, has_failed: Callable[[Sent], bool]) -> list[Sent]:
    """Take off `waiting` what travels in one request, at most so many; what failed before travels alone."""
    request: list[Sent] = []
    while waiting and len(request) < most:
        is_alone = has_failed(waiting[0])
        if request and is_alone:
            break
        request.append(waiting.popleft())
        if is_alone:
            break
    return request


def _pack(groups: Iterable[tuple[str, ...]], most: int) -> Iterator[tuple[str, ...]]:
    """Yield the values of groups, at most so many, those of one group together."""
    values: dict[str, None] = {}
    for group in groups:
        more = values | dict.fromkeys(group)
        if values and len(more) > most:
            yield tuple(values)
            more = dict.fromkeys(group)
        values = more
    if values:
        yield tuple(values)


def _most_selective(reference: Reference) -> str:
    names = [name for name, _ in reference.fields]
    return min(names, key=lambda name: SELECTIVE.index(name) if name in SELECTIVE else len(SELECTIVE))


def _write_phone(value: str, country: str) -> tuple[str, str, str] | None:
    """Return a phone number as E.164, as it is dialled from abroad and at home; None if it is none."""
    import phonenumbers  # slow to import, and most processes never see one

    if (number := read_phone(value, country)) is None:
        return None
    formats = phonenumbers.PhoneNumberFormat
    return (
        phonenumbers.format_number(number, formats.E164),
        phonenumbers.format_number(number, formats.INTERNATIONAL),
        phonenumbers.format_number(number, formats.NATIONAL),
    )


def _near_key(value: str) -> str:
    """Return what is equal of values that differ in case, accents, blanks and the like only."""
    plain = unicodedata.normalize("NFKD", value.casefold())
    return "".join(char for char in plain if char.isalnum())
