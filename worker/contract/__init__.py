"""What a change may say: the message, the relation types, their JSON Schema. Pure."""

from worker.contract.relation import Relation

__all__ = ["Relation"]
