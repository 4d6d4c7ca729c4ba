"""What a change may say: the message, the relation types, their JSON Schema. Pure."""

from worker.contract.change import Change, Info, correlation_of, to_message
from worker.contract.instant import read_instant, write_instant
from worker.contract.message import MAX_BODY, MAX_IDS, MAX_MESSAGE, MessageDict
from worker.contract.parsing import Parsed, from_message, from_messages, parse, parse_many
from worker.contract.permissions import Override, Permission, check, order_of, permission
from worker.contract.relation import Relation
from worker.contract.schema import schema
from worker.contract.types import TYPES, Order, RelationType, Resolved, Verb, resolve

__all__ = [
    "MAX_BODY",
    "MAX_IDS",
    "MAX_MESSAGE",
    "TYPES",
    "Change",
    "Info",
    "MessageDict",
    "Order",
    "Override",
    "Parsed",
    "Permission",
    "Relation",
    "RelationType",
    "Resolved",
    "Verb",
    "check",
    "correlation_of",
    "from_message",
    "from_messages",
    "order_of",
    "parse",
    "parse_many",
    "permission",
    "read_instant",
    "resolve",
    "schema",
    "to_message",
    "write_instant",
]
