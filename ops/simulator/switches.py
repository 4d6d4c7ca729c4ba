"""What the documentation leaves open, as switches; a client is right if it is right under all of them."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, fields, replace
from typing import Any, Final, Literal, get_args, get_type_hints


@dataclass(frozen=True, slots=True, kw_only=True)
class Switches:
    """One plausible onOffice; the defaults follow the documentation where it speaks.

    - `duplicate_create`: what a create of an existing relation answers: success, 78 or 173.
    - `absent_delete`: what a delete of a relation that is not there answers: 168 or success.
    - `array_create`: what a star with a bad id leaves behind: nothing (`atomic`), all its good relations
      (`partial`), or those before the first bad one (`half`). The error is answered all the same. Holds for
      modify, too.
    - `existing_info`: whether a create of an existing relation keeps its old relation info or overwrites it.
    - `modify_is_create`: a create with relation info on relations that all exist modifies them, as the
      documentation's example says.
    - `top_level`: the status above the results when an action failed: 200, or code 500 with errorcode 97.
    - `credentials`: whether a token nobody has is answered for the request as a whole or per action.
    - `unknown_record`: the error code of a record that does not exist: 80, or 292 and 293 for addresses and
      estates.
    - `error_data`: `data` of a rejected action: PHP's empty `list`, or the `object` with empty records.
    - `empty_ids`: an asked id without relations is an empty `list`, its key is `absent`, or absent and with
      no id left `no_records`.
    - `execution`: whether the actions of a request are executed in their order, or the last one first.
    - `require_sorted`: parameters out of order (first level) break the signature: 137.
    - `compare_case`: whether a read's filter ignores upper and lower case, or is exact.
    - `umlauts`: whether it compares ä as ä (`exact`), as `a` or as `ae`, and ß accordingly.
    - `archived`: whether reads show archived records, those whose `status` or `Status` is 0.
    - `no_read`: records that the API user may not see are left out of a read, or it is refused for one.
    - `contact_values`: e-mails and numbers in an answer are `email__13027` (`numbered`), with their type
      `emailbusiness__13027` (`typed`), or one `list`.
    - `record_ids`: the ids in an answer to a read are numbers or texts.
    - `count`: the answer to a read says how many records there are in all, null, or nothing (`missing`).
    """

    duplicate_create: Literal["ok", "78", "173"] = "ok"
    absent_delete: Literal["168", "ok"] = "168"
    array_create: Literal["atomic", "partial", "half"] = "atomic"
    existing_info: Literal["keep", "overwrite"] = "keep"
    modify_is_create: bool = False
    top_level: Literal["200", "97"] = "200"
    credentials: Literal["request", "action"] = "request"
    unknown_record: Literal["80", "by_module"] = "80"
    error_data: Literal["list", "object"] = "list"
    empty_ids: Literal["list", "absent", "no_records"] = "list"
    execution: Literal["in_order", "reversed"] = "in_order"
    require_sorted: bool = True
    compare_case: Literal["ignored", "exact"] = "ignored"
    umlauts: Literal["exact", "a", "ae"] = "exact"
    archived: Literal["included", "left_out"] = "included"
    no_read: Literal["left_out", "refused"] = "left_out"
    contact_values: Literal["numbered", "typed", "list"] = "numbered"
    record_ids: Literal["number", "text"] = "number"
    count: Literal["total", "null", "missing"] = "total"

    @classmethod
    def all(cls, names: Collection[str] = ()) -> Iterator["Switches"]:
        """Yield a covering set of switches, or of those that are named: `OF_RELATIONS`, `OF_READS`.

        The defaults, every other value of every switch alone, and all at once (each at its last value).
        """
        chosen = names or [field.name for field in fields(cls)]
        options = {name: _values(cls, name) for name in chosen}
        yield cls()
        for name, values in options.items():
            yield from (replace(cls(), **{name: value}) for value in values if value != getattr(cls(), name))
        yield cls(**{name: values[-1] for name, values in options.items()})


OF_READS: Final = (
    "compare_case",
    "umlauts",
    "archived",
    "no_read",
    "contact_values",
    "record_ids",
    "count",
)
"""The switches that matter to reads of records only."""
OF_RELATIONS: Final = tuple(field.name for field in fields(Switches) if field.name not in OF_READS)
"""The switches that matter to everything else."""


def _values(of: type[Switches], name: str) -> tuple[Any, ...]:
    """Every value of one switch, its default first."""
    default = getattr(of(), name)
    others = get_args(get_type_hints(of)[name]) or (True, False)
    return (default, *(value for value in others if value != default))
