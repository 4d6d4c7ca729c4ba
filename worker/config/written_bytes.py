"""Bytes that a text writes as hex or base64, as signatures and keys are. Leaf."""

import re
from base64 import b64decode
from contextlib import suppress


def decode_bytes(text: str, encoding: str = "") -> bytes | None:
    """Return the bytes that a text writes as hex or base64 of either alphabet; as either if none is named."""
    if encoding != "base64" and re.fullmatch(r"([0-9A-Fa-f]{2})+", text):
        return bytes.fromhex(text)
    if encoding == "hex":
        return None
    with suppress(ValueError):
        padding = "=" * (-len(text) % 4)
        return b64decode(text.replace("-", "+").replace("_", "/") + padding, validate=True)
    return None
