"""Rules for what a signature covers, whose parts stand where other settings say."""

from collections.abc import Iterator, Mapping
from typing import Any

from worker.config.checks import SIGNED, TIMES
from worker.config.values import Source
from worker.errors import Fault


def check_signed(source: Source, given: Mapping[str, Any]) -> Iterator[Fault]:
    """Yield what `signed` names that stands nowhere, and what stands somewhere and is not signed."""
    if "{timestamp}" in source.signed and given.keys().isdisjoint(TIMES):
        wanted = "timestamp_header, timestamp_in or timestamp_field to say where it stands"
        yield Fault("signed", f"has a {{timestamp}}; expected {wanted}")
    if "digest_in" in given and source.scheme in SIGNED and not source.signs_digest:
        yield Fault("digest_in", "is not signed itself, so anybody could write another; signed must cover it")
    if "{params}" in source.signed and "signature_field" not in given:
        yield Fault("signature_field", "is missing; expected the label of the signature, such as sig1")
    if "{digest}" in source.signed and "digest_in" not in given:
        yield Fault("signed", 'has a {digest}; expected digest_in = "header:NAME" to say where it stands')
