"""The settings: one frozen value. Its loader names every missing or bad setting at once and shows no secret.

JMESPath expressions are kept as written; the room that understands them checks them.
"""

from worker.config.loader import load_settings
from worker.config.secret import (
    HOLDS_SECRET,
    Secret,
    fingerprint,
    hide,
    holds_secret,
    redact,
    redact_answer,
    refuse_secrets,
)
from worker.config.urls import mask_url
from worker.config.values import Account, Callback, Key, Rule, Settings, Source, TypePolicy

__all__ = [
    "HOLDS_SECRET",
    "Account",
    "Callback",
    "Key",
    "Rule",
    "Secret",
    "Settings",
    "Source",
    "TypePolicy",
    "fingerprint",
    "hide",
    "holds_secret",
    "load_settings",
    "mask_url",
    "redact",
    "redact_answer",
    "refuse_secrets",
]
