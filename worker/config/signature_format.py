"""How a signature is written: where it stands, what it covers, where its time is. A frozen value."""

from dataclasses import dataclass
from typing import Annotated, Literal

from msgspec import Meta

from worker.config.kinds import DAY, FieldName, HeaderName, PlaceBeside, ProofPlace, SignedText, Text


@dataclass(frozen=True, slots=True, kw_only=True)
class SignatureFormat:
    """How a signature of the schemes `hmac` and `public-key` is written; the others fix most of it.

    `secret_from` is where its sender hands over the secret at the first contact, `max_age` how many seconds
    ago it may have been sent, `digest_in` where the hash of the body stands if that is signed in its place.
    """

    header: HeaderName = ""
    signature_in: ProofPlace = ""
    secret_from: ProofPlace = ""
    algorithm: Literal["sha256", "sha512", "sha1"] = "sha256"
    encoding: Literal["", "hex", "base64", "jws"] = ""  # hex or base64
    prefix: Text = ""
    timestamp_header: HeaderName = ""
    timestamp_in: ProofPlace = ""
    timestamp_field: FieldName = ""
    max_age: Annotated[float, Meta(ge=300, le=7 * DAY)] = 300.0
    signature_field: FieldName = ""
    signed: SignedText = ""
    digest_in: PlaceBeside = ""

    @property
    def signature_place(self) -> str:
        """Where the signature stands, whichever way it is named."""
        return self.signature_in or f"header:{self.header or 'Authorization'}"

    @property
    def signs_digest(self) -> bool:
        """Whether the signature covers the place where the hash of the body stands."""
        in_address = self.digest_in.startswith("query:") and "{url}" in self.signed
        return in_address or any(f"{{{name}}}" in self.signed for name in ("digest", self.digest_in))

    @property
    def timestamp_place(self) -> str:
        """Where the time of sending stands; empty if it is part of the signature, or not sent."""
        return self.timestamp_in or (self.timestamp_header and f"header:{self.timestamp_header}")
