"""The signature of an action (HMAC version 2), written from the documentation, apart from the worker's."""

import hmac
from base64 import b64encode
from collections.abc import Mapping
from typing import Any

from ops.simulator.refusals import ApiRefusal

LIFE = 120.0
"""Seconds a signature counts, before and after its timestamp."""


def sign(secret: str, *, timestamp: int, token: str, resourcetype: str, actionid: str) -> str:
    """Return the base64 HMAC over what identifies an action; parameters and identifier are not covered."""
    message = f"{timestamp}{token}{resourcetype}{actionid}"
    return b64encode(hmac.digest(secret.encode(), message.encode(), "sha256")).decode()


def check(action: Mapping[str, Any], *, token: str, secret: str, now: float) -> None:
    """Check the signature; raise `ApiRefusal` 137 for a wrong one, 136 for one whose time is over."""
    timestamp, given = action.get("timestamp"), action.get("hmac")
    if not str(timestamp).isdecimal() or not isinstance(given, str) or str(action.get("hmac_version")) != "2":
        raise ApiRefusal(137)
    time = int(str(timestamp))
    good = sign(
        secret, timestamp=time, token=token, resourcetype=action["resourcetype"], actionid=action["actionid"]
    )
    if not hmac.compare_digest(good.encode(), given.encode()):
        raise ApiRefusal(137)
    if abs(now - time) > LIFE:
        raise ApiRefusal(136)
