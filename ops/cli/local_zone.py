"""The time zone of this machine, with summer time as it is at each instant, and not as it is now."""

from datetime import UTC, datetime, timedelta, tzinfo


class LocalZone(tzinfo):
    """The local time zone, as the system knows it."""

    def utcoffset(self, moment: datetime | None) -> timedelta | None:
        """Return the offset at a local time; of one that comes twice, `fold` says which is meant."""
        return moment.replace(tzinfo=None).astimezone().utcoffset() if moment else None

    def dst(self, _moment: datetime | None) -> None:
        """Return that it is not known which part of the offset is for summer time."""

    def tzname(self, moment: datetime | None) -> str | None:
        """Return the name at a local time, such as CET."""
        return moment.replace(tzinfo=None).astimezone().tzname() if moment else None

    def fromutc(self, moment: datetime) -> datetime:
        """Return the local time of an instant."""
        known = moment.replace(tzinfo=UTC).astimezone()
        first = known.replace(tzinfo=self)
        return first if first.utcoffset() == known.utcoffset() else first.replace(fold=1)
