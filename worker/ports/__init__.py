"""What the use cases need of the world: a store, an API, a limiter, and the values that cross these borders.

The adapters are `store/`, `onoffice/` and `limiter/`; `worker.testing` ships an in-memory store that is held equal to the Redis one.
"""

from worker.ports.records import OPEN_STATES, JobRecord, JobState, Mention, Page, Pause, RequestRecord
from worker.ports.store import Accepted, Receipt, Refused, Store, Submission
from worker.ports.work import SOON, Begun, Lease, Neighbours, OpenWrite, Record, Side, Taken, Work, Writes
from worker.ports.world import Api, Clock, Events, Feedback, Grant, Keeper, Limiter, Reason

__all__ = [
    "OPEN_STATES",
    "SOON",
    "Accepted",
    "Api",
    "Begun",
    "Clock",
    "Events",
    "Feedback",
    "Grant",
    "JobRecord",
    "JobState",
    "Keeper",
    "Lease",
    "Limiter",
    "Mention",
    "Neighbours",
    "OpenWrite",
    "Page",
    "Pause",
    "Reason",
    "Receipt",
    "Record",
    "Refused",
    "RequestRecord",
    "Side",
    "Store",
    "Submission",
    "Taken",
    "Work",
    "Writes",
]
