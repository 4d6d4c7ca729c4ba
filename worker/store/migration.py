"""Brings an account's stored data from the layout of release 0.1.0 to this one."""

from worker.store.database import Database
from worker.store.limits import Retention


def migrate(database: Database, account: str, keep: Retention) -> None:
    """Bring an account's data to this layout, if a release without a layout has written any."""
