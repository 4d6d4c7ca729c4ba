"""The signature of an action (HMAC v2).

Source: the documentation page "Request elements: action", and the vendor's PHP SDK.
"""

import base64
import hashlib
import hmac


def signature(secret: str, *, timestamp: int, token: str, resourcetype: str, actionid: str) -> str:
    """Return the `hmac` of an action, base64.

    It covers neither parameters nor identifier, so all actions of one kind share it for a second; it is good
    for ±120 s.
    """
    signed = f"{timestamp}{token}{resourcetype}{actionid}"
    return base64.b64encode(hmac.digest(secret.encode(), signed.encode(), hashlib.sha256)).decode()
