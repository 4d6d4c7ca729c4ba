"""Times of documents: RFC 3339, null while they are not there yet."""

from worker.contract import read_instant, write_instant


def write_time(micros: int) -> str | None:
    """Return the time as text, None for 0."""
    return write_instant(micros) if micros else None


def read_time(text: str | None) -> int:
    """Return the time in µs, 0 for none."""
    return read_instant(text) if text else 0
