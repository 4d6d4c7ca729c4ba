"""What must hold between the fields of a message; the same sentences serve whoever accepts and whoever explains."""

from collections.abc import Collection, Iterator, Mapping

from worker.contract.catalogue import INFO
from worker.contract.quoting import did_you_mean, show
from worker.contract.types import RelationType

N_TO_N = "parentid and childid both name several records; a change is 1:n, so send one change per parent"


def info_misplaced(action: object, keys: Collection[object], relation_type: RelationType | None) -> str:
    """Why this action may not come with, or without, these keys of relationinfo; empty when it may.

    A modify may carry them for any type: whether the type can be modified at all is the operator's policy.
    """
    if action == "modify":
        return "" if keys else "is required for modify: it says what to change"
    if not keys:
        return ""
    if action == "delete":
        return "a delete takes no relationinfo"
    return (
        f"{relation_type.name} takes no relationinfo" if relation_type and not relation_type.info_keys else ""
    )


def info_faults(info: Mapping[object, object]) -> Iterator[tuple[object, str]]:
    """Every key that is not known, and every key whose value is not one of its own, with what to send."""
    for key, value in info.items():
        if not (isinstance(key, str) and key in INFO):
            yield key, f"unknown key{did_you_mean(key, tuple(INFO))}"
        elif value not in INFO[key]:
            yield key, one_of(INFO[key], value)


def one_of(choices: tuple[str, ...], value: object) -> str:
    """What to send instead of a value that is none of the choices."""
    return f"expected one of {', '.join(choices)}, got {show(value)}{did_you_mean(value, choices)}"
