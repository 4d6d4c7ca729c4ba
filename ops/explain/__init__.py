"""Sentences for people: what happened to one relation, and what would become of a list of changes. Pure.

`relation` reads what the store kept; `flow` rehearses fold, plan and answers without a store or an API.
"""

from ops.explain.flow import explain_plan, rehearse
from ops.explain.relation import Evidence, Explanation, Told, explain

__all__ = ["Evidence", "Explanation", "Told", "explain", "explain_plan", "rehearse"]
