"""Sentences for people: what happened to one relation, and what would become of a list of changes. Pure.

`relation` explains what the store kept of it; `dry_run` plans changes, and explains what would be sent.
"""

from ops.explain.dry_run import explain_plan
from ops.explain.explanation import ExplanationDict, format_explanation
from ops.explain.relation import Evidence, explain

__all__ = [
    "Evidence",
    "ExplanationDict",
    "explain",
    "explain_plan",
    "format_explanation",
]
