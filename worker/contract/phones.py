"""Phone numbers as people and programs write them. Pure."""

from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from phonenumbers import PhoneNumber


def read_phone(text: str, country: str) -> "PhoneNumber | None":
    """Return a phone number as one dials it in that country (`DE`); None if it is none.

    Many programs write no plus before the country's own code (WhatsApp, sipgate). Read as dialled, that would
    be another number: a German one may have any length.
    """
    import phonenumbers  # slow to import, and most processes never see one

    with suppress(phonenumbers.NumberParseException):
        if text.lstrip().startswith(str(phonenumbers.country_code_for_region(country))):
            number = phonenumbers.parse(f"+{text.lstrip()}")
            if phonenumbers.is_valid_number(number):
                return number
    with suppress(phonenumbers.NumberParseException):
        return phonenumbers.parse(text, country)
    return None
