"""The settings: one frozen value from one reader, which names every missing or bad setting at once and shows no secret.

A leaf: names of relation types and JMESPath rules are kept as written; the rooms that understand them check them.
"""

from worker.config.reader import load
from worker.config.secret import Secret, fingerprint, hide, redact
from worker.config.values import Account, Key, Rule, Settings, Source, TypePolicy

__all__ = [
    "Account",
    "Key",
    "Rule",
    "Secret",
    "Settings",
    "Source",
    "TypePolicy",
    "fingerprint",
    "hide",
    "load",
    "redact",
]
