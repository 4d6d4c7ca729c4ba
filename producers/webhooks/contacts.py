"""E-mail addresses and phone numbers in the one form by which records are looked up. Pure."""

import re
import unicodedata
from typing import Final

from worker.contract.phones import read_phone

MAX_CONTACT: Final = 320  # characters: the longest address there can be
ADDRESS: Final = re.compile(r"[^\s@<>,;:\"()]+@[^\s@<>,;:\"()]+[.][^\s@<>,;:\"()]+")

# As in `Ada <ada@example.test>`, and what Outlook and others make of a link: `ada@example.test<mailto:…>`.
BEHIND_A_NAME: Final = re.compile(r"<([^<>]*)>$|[\[(](mailto:[^]<>()\[]*)[\])]$")
REMARK: Final = re.compile(r"\([^()0-9]{1,40}\)")  # as in `030 1234567 (reception)`


def drop_unseen(text: str) -> str:
    """Return a text without what nobody sees, such as blanks of no width that were copied with it.

    One that is longer than any value of a record stays as it is.
    """
    if text.isascii() or len(text) > 2 * MAX_CONTACT:
        return text
    return "".join(char for char in text if unicodedata.category(char) != "Cf")


def normalize_email(value: object) -> str | None:
    """Return an e-mail address without name, blanks and capitals; None if this is no single address."""
    if not isinstance(value, str) or len(value) > 2 * MAX_CONTACT:
        return None
    text, shown = drop_unseen(value).strip().lower(), ""
    if match := BEHIND_A_NAME.search(text):
        text, shown = (match[1] or match[2] or "").strip(), text[: match.start()].strip("[]\"' .,;")
    is_link = text.startswith("mailto:")
    text = text.removeprefix("mailto:").partition("?")[0] if is_link else text
    text = text.strip(" '.,;")
    if is_link and shown != text and ADDRESS.fullmatch(shown):  # who corrects a link corrects what it shows
        return None
    return text if len(text) <= MAX_CONTACT and ADDRESS.fullmatch(text) else None


def normalize_phone(value: object, country: str) -> str | None:
    """Return a phone number as E.164, read as one dials it in that country (`DE`); None if it is none.

    Raises ValueError for a country that is not known.
    """
    import phonenumbers  # slow to import, and most rules read none

    if country not in phonenumbers.SUPPORTED_REGIONS:
        raise ValueError(f"there is no country {country!r}; expected two letters such as DE")
    if not isinstance(value, str) or len(value) > MAX_CONTACT:
        return None
    if (number := read_phone(REMARK.sub("", value), country)) is None:
        return None
    if phonenumbers.is_possible_number_with_reason(number) != phonenumbers.ValidationResult.IS_POSSIBLE:
        return None
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
