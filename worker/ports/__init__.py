"""What the use cases need of the world: a store, an API, a limiter, and the values that cross these borders.

The adapters are `store/`, `onoffice/` and `limiter/`; `worker.testing` ships an in-memory store that is held equal to the Redis one.
"""

from worker.ports.questions import Questions
from worker.ports.records import OPEN_STATES, Failure, Filter, JobRecord, JobState, Mention, Page, Pause, RequestPage, RequestRecord
from worker.ports.store import NOBODY, Accepted, Receipt, Refused, Store, Submission
from worker.ports.work import SOON, Begun, Lease, Neighbours, OpenWrite, Record, Side, Taken, Work, Writes
from worker.ports.world import Api, Clock, Events, Feedback, Grant, Keeper, Limiter, Reason, Turn

__all__ = [
    "NOBODY",
    "OPEN_STATES",
    "SOON",
    "Accepted",
    "Api",
    "Begun",
    "Clock",
    "Events",
    "Failure",
    "Feedback",
    "Filter",
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
    "Questions",
    "Reason",
    "Receipt",
    "Record",
    "Refused",
    "RequestPage",
    "RequestRecord",
    "Side",
    "Store",
    "Submission",
    "Taken",
    "Turn",
    "Work",
    "Writes",
]
