import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.contract import TYPES, Change, Override, check, guarded_side, order_of, permission_of, resolve
from worker.contract.catalogue import ALIASES, INFO_KEYS, NOTES, PREFIX
from worker.errors import InvalidChange, NotFound

ESTATE_ADDRESS = {
    f"estate:address:{role}"
    for role in ("buyer", "renter", "owner", "interested", "contactPerson", "contactPersonAll")
}
SHARED = {
    "estate:estateUnit",
    "calendar:address",
    "calendar:estate",
    "agentsLog:file:attachment",
    "address:user:sync",
}
CREATE_ONLY = {"agentsLog:address", "agentsLog:estate", "address:contact:address"}


def documented(verb: str) -> set[str]:
    return {known.name for known in TYPES.values() if verb in known.documented}


def change(name: str, action: str = "create") -> Change:
    return Change(account="acme", action=action, type=name, parents=(1,), children=(2,))


def test_the_catalogue_holds_the_63_types_of_the_overview_and_what_is_documented_for_writing() -> None:
    assert len(TYPES) == 63
    assert documented("create") == ESTATE_ADDRESS | SHARED | CREATE_ONLY
    assert documented("delete") == ESTATE_ADDRESS | SHARED
    assert documented("modify") == {"calendar:address"}


def test_every_remark_of_the_catalogue_is_about_a_type_it_holds() -> None:
    for names in (NOTES, ALIASES, INFO_KEYS, dict(ALIASES.values())):
        assert set(names) <= set(TYPES)


def test_the_first_segment_is_the_parent_except_where_a_note_says_otherwise() -> None:
    odd = {known.name for known in TYPES.values() if known.name.split(":")[0] != known.parent}
    assert odd == {name for name in TYPES if name.startswith(("templateManagement:", "agentsLogMail:"))}
    assert odd <= set(NOTES)


def test_the_second_segment_is_the_child_except_where_a_note_says_otherwise() -> None:
    odd = {known.name for known in TYPES.values() if known.name.split(":")[1] != known.child}
    assert odd == {
        "estate:estateUnit",
        "estate:allFiles",
        "address:contact:address",
        "project:agentslog",
        "templateManagement:email:attachment",
        "templateManagement:email:documentAttributes",
    }
    assert odd <= set(NOTES)


@pytest.mark.parametrize("name", [name for name in TYPES if name not in ALIASES])
def test_short_name_and_urn_mean_the_same_type_and_need_no_note(name: str) -> None:
    assert resolve(name) == resolve(PREFIX + name) == (TYPES[name], False, ())
    assert TYPES[name].urn == PREFIX + name


@pytest.mark.parametrize(
    "prefix",
    [
        "urn:onoffice-dens:smart:2.5:relationTypes:",
        "urn:onoffice-en-ns:smart:2.5:relationTypes:",
        "urn:onoffice-de-ns:smart:2.5:relationtypes:",
        "URN:ONOFFICE-DE-NS:SMART:2.5:RELATIONTYPES:",
        "urn:onoffice-de-ns:smart:2.5:relationType:",
        "relationTypes:",
    ],
)
def test_a_mistyped_prefix_is_corrected_and_noted(prefix: str) -> None:
    resolved = resolve(prefix + "estate:address:buyer")
    assert resolved.type is TYPES["estate:address:buyer"]
    assert resolved.notes == (f"the prefix {prefix} was read as {PREFIX}",)


def test_a_second_name_becomes_the_canonical_one() -> None:
    units = resolve("complex:estate:units")
    assert (units.type.name, units.swapped, len(units.notes)) == ("estate:estateUnit", False, 1)
    mirror = resolve("urn:onoffice-dens:smart:2.5:relationTypes:estate:address:matching")
    assert (mirror.type.name, mirror.swapped, len(mirror.notes)) == ("address:estate:matching", True, 2)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("estate:address:byer", "estate:address:buyer"),
        ("project:agentsLog", "project:agentslog"),
        ("urn:onoffice-de-ns:smart:2.6:relationTypes:estate:address:buyer", "estate:address:buyer"),
        ("urn:onoffice-de-ns:smart:2.5:relationTypes:estate:adress:buyer", "estate:address:buyer"),
    ],
)
def test_an_unknown_type_is_refused_with_the_nearest_one(text: str, meant: str) -> None:
    with pytest.raises(NotFound, match=f"unknown relation type .*; did you mean {meant}\\?"):
        resolve(text)


@given(st.text())
def test_a_text_means_a_canonical_type_or_nothing(text: str) -> None:
    try:
        assert resolve(text).type.name in set(TYPES) - set(ALIASES)
    except NotFound as error:
        str(error).encode()


def test_the_documentation_decides_unless_the_operator_does() -> None:
    buyer, sync, messenger = (
        TYPES["estate:address:buyer"],
        TYPES["address:process"],
        TYPES["user:messengerUser:is"],
    )
    assert [permission_of(buyer, verb) for verb in ("create", "modify", "delete")] == [
        "allow",
        "deny",
        "allow",
    ]
    assert [permission_of(sync, verb) for verb in ("create", "modify", "delete")] == ["warn", "deny", "warn"]
    assert [permission_of(messenger, verb) for verb in ("create", "modify", "delete")] == [
        "deny",
        "deny",
        "deny",
    ]
    assert permission_of(TYPES["calendar:address"], "modify") == "allow"
    assert permission_of(messenger, "create", Override(create="allow")) == "allow"
    assert permission_of(buyer, "create", Override(create="deny")) == "deny"
    assert permission_of(buyer, "create", Override(order="free")) == "allow"


def test_two_types_are_ordered_unless_the_operator_says_otherwise() -> None:
    ordered = {known.name: order_of(known) for known in TYPES.values() if order_of(known) != "free"}
    assert ordered == {"estate:address:contactPerson": "create_first", "estate:estateUnit": "delete_first"}
    assert order_of(TYPES["estate:estateUnit"], Override(order="free")) == "free"
    assert order_of(TYPES["estate:estateUnit"], Override(create="warn")) == "delete_first"


def test_a_type_guards_the_side_that_is_to_keep_one_or_to_have_one() -> None:
    guarded = {known.name: guarded_side(known) for known in TYPES.values() if guarded_side(known)}
    assert guarded == {"estate:address:contactPerson": "parent", "estate:estateUnit": "child"}
    broker, owner = TYPES["estate:address:contactPerson"], TYPES["estate:address:owner"]
    assert (
        guarded_side(broker, Override(last_one="allow")) == guarded_side(broker, Override(order="free")) == ""
    )
    assert order_of(broker, Override(last_one="allow")) == "create_first"
    assert (guarded_side(owner, Override(last_one="keep")), order_of(owner, Override(last_one="keep"))) == (
        "parent",
        "create_first",
    )


def test_a_check_warns_where_the_documentation_is_silent() -> None:
    assert check(change("estate:address:buyer")) == []
    assert check(change("estate:address:tenant")) == [
        "create is not documented for estate:address:tenant; the CRM may reject it"
    ]
    assert check(change("estate:address:tenant"), {"estate:address:tenant": Override(create="allow")}) == []


def test_a_check_refuses_what_is_denied_and_names_the_setting() -> None:
    with pytest.raises(InvalidChange) as caught:
        check(change("user:messengerUser:is"))
    assert [str(fault) for fault in caught.value.faults] == [
        "action: user:messengerUser:is is read only; "
        'an operator can allow it with create = "allow" under [types."user:messengerUser:is"]'
    ]
    with pytest.raises(InvalidChange, match=r"estate:address:buyer is not open to modify"):
        check(change("estate:address:buyer", "modify"))
