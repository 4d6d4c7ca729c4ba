"""Sentences for people: what happened to one relation, and what would become of a list of changes. Pure.

`relation` explains what the store kept of it (`evidence`); `plan` explains a dry run of changes (`dry_run`).
"""

from ops.explain.evidence import Evidence, collect_evidence
from ops.explain.explanation import ExplanationDict, format_explanation
from ops.explain.plan import explain_plan
from ops.explain.relation import explain

__all__ = [
    "Evidence",
    "ExplanationDict",
    "collect_evidence",
    "explain",
    "explain_plan",
    "format_explanation",
]
