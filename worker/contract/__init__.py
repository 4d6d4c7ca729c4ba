"""The contract with producers: the message of a change, the relation types, their JSON Schema. Pure."""

from worker.contract.account_name import ACCOUNT_NAME, account_of, check_account_name, explain_account_name
from worker.contract.change import Change, Info, Relation, correlation_of, to_message, traceparent_of
from worker.contract.faults import MAX_FAULTS, check_each, limit_faults
from worker.contract.instant import (
    read_instant,
    read_optional_instant,
    write_instant,
    write_optional_instant,
)
from worker.contract.message import MAX_BODY, MAX_IDS, MAX_MESSAGE, MessageDict
from worker.contract.parsing import ParsedChange, from_message, parse_many, places_of
from worker.contract.permissions import (
    Override,
    Permission,
    check,
    guarded_side,
    order_of,
    permission_of,
)
from worker.contract.reference import Module, Reference, read_reference
from worker.contract.schema import schema
from worker.contract.types import (
    TYPES,
    ChangeAction,
    GuardedSide,
    LastOne,
    Order,
    RelationType,
    ResolvedType,
    Verb,
    resolve,
)

__all__ = [
    "ACCOUNT_NAME",
    "MAX_BODY",
    "MAX_FAULTS",
    "MAX_IDS",
    "MAX_MESSAGE",
    "TYPES",
    "Change",
    "ChangeAction",
    "GuardedSide",
    "Info",
    "LastOne",
    "MessageDict",
    "Module",
    "Order",
    "Override",
    "ParsedChange",
    "Permission",
    "Reference",
    "Relation",
    "RelationType",
    "ResolvedType",
    "Verb",
    "account_of",
    "check",
    "check_account_name",
    "check_each",
    "correlation_of",
    "explain_account_name",
    "from_message",
    "guarded_side",
    "limit_faults",
    "order_of",
    "parse_many",
    "permission_of",
    "places_of",
    "read_instant",
    "read_optional_instant",
    "read_reference",
    "resolve",
    "schema",
    "to_message",
    "traceparent_of",
    "write_instant",
    "write_optional_instant",
]
