"""Messages fit for logs and pages: without secrets, and without the values that records were searched by."""

import html
import json
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Final
from urllib.parse import quote, quote_plus

MAX_MESSAGE: Final = 500  # characters
MAX_READ: Final = 8_000  # characters that are looked at: each way to write each value is looked for in them
_SHORT: Final = 4  # characters; what is shorter stands in many a word, and is hidden where it is one itself
_HIDDEN: Final = "***"


def clean(text: str, hidden: Sequence[str], searched: Collection[str] = ()) -> str:
    """Return the text without secrets and without the values that records are searched by, then cut.

    Those are personal data. They are found in any case, and as JSON, HTML, URLs and SQL escape them.
    """
    read = text[:MAX_READ]
    for secret in sorted(filter(None, hidden), key=len, reverse=True):
        read = read.replace(secret, _HIDDEN)
    if searched and read:
        read = _without(read, searched)
    if len(text) > MAX_READ > 2 * len(read):  # so much was hidden that what was cut within one may be shown
        read = read.rpartition(_HIDDEN)[0] + _HIDDEN
    return read[:MAX_MESSAGE]


def _without(text: str, values: Iterable[str]) -> str:
    folded = text.casefold()
    quoted = {form for value in values for form in _forms(value) if form.casefold() in folded}
    patterns = [_pattern(form) for form in sorted(quoted, key=len, reverse=True)]
    return re.sub("|".join(patterns), _HIDDEN, text, flags=re.IGNORECASE) if patterns else text


def _forms(value: str) -> Iterator[str]:
    """Yield the ways in which a value may be quoted; one of blanks only is none."""
    if not value.strip():
        return
    for spelled in {value, value.strip(), value.upper(), value.lower()}:
        escaped = json.dumps(spelled)[1:-1]
        yield from (spelled, escaped, escaped.replace("/", "\\/"), html.escape(spelled))
        yield from (quote(spelled), quote_plus(spelled), re.sub(r"(['\"\\])", r"\\\1", spelled))


def _pattern(form: str) -> str:
    pattern = re.escape(form)
    return pattern if len(form) >= _SHORT else rf"(?<!\w){pattern}(?!\w)"
