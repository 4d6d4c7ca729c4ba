"""The settings: one frozen value. Its loader names every missing or bad setting at once and shows no secret.

JMESPath expressions are kept as written; the room that understands them checks them.
"""

from worker.config.loader import load_settings
from worker.config.secret import Secret, fingerprint, hide, redact
from worker.config.urls import mask_url
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
    "load_settings",
    "mask_url",
    "redact",
]
