"""Messages for tests of the contract: a plain one, and strategies for valid ones and for anything at all."""

from typing import Any

from hypothesis import strategies as st

from worker.contract import TYPES, write_instant
from worker.contract.catalogue import INFO

PLAIN: dict[str, Any] = {
    "account": "acme",
    "action": "create",
    "relationtype": "estate:address:buyer",
    "parentid": 501,
    "childid": [9001, 9002],
}

ids = st.integers(1, 2**53 - 1)
values = st.from_regex(r"[A-Za-z0-9@.+ &=:-]{1,20}", fullmatch=True).filter(str.strip) | st.integers(0, 10**6)
field_names = st.sampled_from(["email", "phone", "KdNr", "objektnr_extern", "uuid", "ind_1234_Feld_eins"])
names = st.sampled_from([*TYPES, *(known.urn for known in TYPES.values())])
accounts = st.from_regex(r"[a-z0-9][a-z0-9_-]{0,31}", fullmatch=True)
labels = st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), min_size=1, max_size=64)
instants = st.integers(0, 2**53 - 1).map(write_instant)
infos = st.fixed_dictionaries({}, optional={key: st.sampled_from(values) for key, values in INFO.items()})


def references(module: str) -> st.SearchStrategy[Any]:
    """Return references to records of a module, in both forms; none where there is no look-up."""
    if module not in ("estate", "address"):
        return st.nothing()
    return st.dictionaries(field_names, values, min_size=1, max_size=3).map(
        lambda fields: {module: fields}
    ) | st.builds(lambda name, value: f"{module}:{name}={value}", field_names, values)


@st.composite
def messages(draw: st.DrawFn) -> dict[str, Any]:
    """Draw a valid message."""
    action = draw(st.sampled_from(["create", "modify", "delete", "replace"]))
    name = draw(names)
    known, most = TYPES[name.rpartition("relationTypes:")[2]], draw(st.permutations([1, 20]))
    sides = [
        draw(one | st.lists(one, min_size=1, max_size=size) | one.map(lambda record: [record, record]))
        for one, size in ((ids | references(known.parent), most[0]), (ids | references(known.child), most[1]))
    ]
    message = {
        "account": draw(accounts),
        "action": action,
        "relationtype": name,
        "parentid": sides[0],
        "childid": sides[1],
    }
    if action == "modify":
        message["relationinfo"] = draw(infos.filter(bool))
    elif action == "create" and name.endswith("calendar:address"):
        message["relationinfo"] = draw(infos | st.none())
    optional = {
        "occurred_at": instants,
        "event_id": labels,
        "source": labels,
        "batch": labels,
        "version": st.just(1),
    }
    if action in ("delete", "replace"):
        optional["allow_empty"] = st.booleans()
    return message | draw(
        st.fixed_dictionaries({}, optional={key: value | st.none() for key, value in optional.items()})
    )


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)


@st.composite
def spoiled(draw: st.DrawFn) -> dict[str, Any]:
    """Draw a valid message in which one field was replaced or added."""
    message = draw(messages())
    field = draw(st.sampled_from([*message, "childid", "relationinfo", "occurred_at", "extra"]))
    return message | {field: draw(json_values)}
