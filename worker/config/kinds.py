"""What a single setting may be: types with the range of their values, and the words for it. Leaf."""

from collections.abc import Callable, Mapping, Sequence
from ipaddress import ip_network
from typing import Annotated, Any, Final

from msgspec import Meta

from worker.config.urls import explain_url, is_api_url, is_url

DAY: Final = 86_400  # seconds


def private(
    expected: str,
    accepts: Callable[[Any], bool] = bool,
    *,
    listed: bool = False,
    pattern: str | None = None,
    explain: Callable[[str], str] = lambda _: "",
) -> Meta:
    """Return what a value must be that may be a secret: no fault repeats it. A `listed` one may be a list.

    `explain` says of a text that is refused what may be wrong with it, where it knows.
    """
    extra = {"private": True, "accepts": accepts, "listed": listed, "explain": explain}
    return Meta(description=expected, extra=extra, pattern=pattern)


def url_of(*schemes: str) -> Meta:
    """Return that a value must be a URL with one of these schemes; it may carry a password."""
    known = ", ".join(f"{scheme}://" for scheme in schemes)
    return private(
        f"a URL that begins with {known}",
        lambda value: is_url(value, *schemes),
        explain=lambda value: explain_url(value, schemes),
    )


def is_backoff(pair: tuple[float, float]) -> bool:
    """Whether these are two positive delays in order, at most a day."""
    return 0 < pair[0] <= pair[1] <= DAY


Days = Annotated[float, Meta(ge=0.0001, le=3650)]
Backoff = Annotated[
    tuple[float, float],
    Meta(description=f"[first, longest] with 0 < first <= longest <= {DAY}", extra={"accepts": is_backoff}),
]
Text = Annotated[str, Meta(min_length=1, description="text")]
_EXPRESSION: Final = "a JMESPath expression as text"
Expression = Annotated[str, Meta(min_length=1, description=_EXPRESSION)]
Expressions = Annotated[
    tuple[Expression, ...],
    Meta(min_length=1, description=f"{_EXPRESSION}, or a list of them", extra={"listed": True}),
]
Reason = Annotated[str, Meta(min_length=1, max_length=200, description="text of at most 200 characters")]
AnswerBody = Annotated[
    str | None,
    Meta(description="text of at most 4096 characters", extra={"accepts": lambda value: len(value) <= 4096}),
]
HeaderName = Annotated[str, Meta(pattern=r"^[A-Za-z0-9-]+\Z", description="the name of an HTTP header")]
FieldName = Annotated[
    str, Meta(pattern=r"^[A-Za-z0-9_-]+\Z", description="the name of a field in the header of the signature")
]
SignedText = Annotated[
    str,
    Meta(
        pattern=r"(?s)^(?=.*\{(body|form|digest)[:}])"
        r"([^{}]|\{(body|form|digest|params|timestamp|method|url|(header|query|body):[^{}]+)\})*\Z",
        description="a text with {body}, {form} or {body:EXPRESSION}, or {digest}, and any of {timestamp}, "
        "{params}, {method}, {url}, {header:NAME}, {query:NAME}",
    ),
]
_BESIDE: Final = r"header:[A-Za-z0-9-]+|query:[^&=\s]+"
_PLACES: Final = rf"{_BESIDE}|body:.+"
PlaceBeside = Annotated[str, Meta(pattern=rf"^({_BESIDE})\Z", description='"header:NAME" or "query:NAME"')]
ChallengeAnswer = Annotated[
    str,
    Meta(
        pattern=r"(?s)^(?=.*\{(challenge|hmac|hmac_base64)\}).{1,4096}\Z",
        description="a text with {challenge}, {hmac} or {hmac_base64}, of at most 4096 characters",
    ),
]
ProofPlace = Annotated[
    str,
    Meta(
        pattern=rf"^(body|{_PLACES})\Z",
        description='"header:NAME", "query:NAME", "body" or "body:" and a JMESPath expression',
    ),
]
SecretPlace = Annotated[
    str,
    Meta(
        pattern=rf"^(path|{_PLACES})\Z",
        description='"path", "header:NAME", "query:NAME" or "body:" and a JMESPath expression',
    ),
]
Country = Annotated[str, Meta(pattern=r"^[A-Z]{2}\Z", description="a country of two letters, such as DE")]
Maps = Annotated[
    Mapping[str, Mapping[str, str]],
    Meta(description='tables of texts by name, such as stage = { "17" = "sold" }'),
]


def are_networks(values: Sequence[str]) -> bool:
    """Whether all of these are networks or addresses of IP, without bits behind the mask."""
    try:
        return all(ip_network(value) for value in values)
    except ValueError:
        return False


Patterns = Annotated[
    tuple[Text, ...], Meta(min_length=1, description="a pattern, or a list of them", extra={"listed": True})
]
Networks = Annotated[
    tuple[str, ...],
    Meta(
        description='networks such as "10.1.0.0/16", in a list',
        extra={"listed": True, "accepts": are_networks},
    ),
]
ApiUrl = Annotated[str, private("an https:// or http:// URL without user and password", is_api_url)]
SECRET: Final = private("env:NAME, file:PATH or the secret itself")
SECRETS: Final = private(f"{SECRET.description}, or a list of them", listed=True)
PUBLIC_KEYS: Final = private("env:NAME, file:PATH or the public key itself, or a list of them", listed=True)
BODY_SHA256: Final = "{body_sha256}"  # stands in claims for the hash of the body
URL_SHA256: Final = "{url_sha256}"  # and for that of the address
_CLAIMS: Final = 'a table of what a token claims, such as { aud = "https://your.host" }'
Claims = Annotated[Mapping[str, str], private(_CLAIMS, lambda _: True)]
