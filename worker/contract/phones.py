"""Phone numbers as people and programs write them. Pure."""

from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from phonenumbers import PhoneNumber


def read_phone(text: str, country: str) -> "PhoneNumber | None":
    """Return a phone number as one dials it in that country (`DE`); None if it is none.

    Many programs write no plus before the country's own code (WhatsApp, sipgate). Read as dialled, that would
    be another number: a German one may have any length. Where one dials just so, as in Italy, it is that one.
    """
    import phonenumbers  # slow to import, and most processes never see one

    dialled = _parse(text, country)
    if not text.lstrip().startswith(str(phonenumbers.country_code_for_region(country))):
        return dialled
    if dialled and phonenumbers.is_valid_number(dialled):
        at_home = phonenumbers.format_number(dialled, phonenumbers.PhoneNumberFormat.NATIONAL)
        if phonenumbers.normalize_digits_only(at_home) == phonenumbers.normalize_digits_only(text):
            return dialled
    number = _parse(f"+{text.lstrip()}", country)
    return number if number and phonenumbers.is_valid_number(number) else dialled


def _parse(text: str, country: str) -> "PhoneNumber | None":
    import phonenumbers

    with suppress(phonenumbers.NumberParseException):
        return phonenumbers.parse(text, country)
    return None
