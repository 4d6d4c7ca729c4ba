"""How long the store keeps things and how many of them. No I/O.

The store on Redis, its Lua scripts and the store in memory share these. A script that names one of the whole
numbers here gets it as a local. Durations are seconds, those in `_US` microseconds.
"""

from typing import Final

from worker.ports.store import MAX_KEPT_BODY
from worker.ports.work import LEASE_LIFETIME

LEASE_LIFETIME_MS: Final = round(LEASE_LIFETIME * 1000)
MAX_EXAMINED: Final = 1000  # entries one page looks at, however few of them match
CLOCK_AHEAD_US: Final = 300_000_000  # a sender's clock may be ahead of the store's by so much (R3)
CLOCK_SLACK_US: Final = 300_000_000  # the clock that made a job's id may differ from the store's by so much
LONGEST_DOUBT_US: Final = 3_600_000_000  # for which a request may land, as the settings have it at most
CLOCK_SET_BACK_US: Final = 86_400_000_000  # by which it may, and changes count in the order they came
CLOCK_STEP_US: Final = 10_000_000  # by which the store's clock may step back, and lists still have every job
FIRST_WAKE_DELAY_US: Final = 2_000_000  # after which the first flush message counts as lost
LONGEST_WAKE_DELAY_US: Final = 60_000_000  # the longest time a lost flush message is not replaced (R22)
LONGEST_REST_US: Final = 3_600_000_000  # for which a mark of a flush message is believed, whatever it says
FIRST_IDLE_US: Final = 50_000  # before the next flush after one that found nothing; doubled each time
LONGEST_IDLE_US: Final = 60_000_000
DEADLY_LOSSES: Final = (
    3  # workers that died with one thing alone in their batch, before it is condemned (R21)
)

BUCKET_MS: Final = 2**25  # milliseconds of ids that are one bucket: 9.3 hours

JOBS_PER_CALL: Final = 500  # that one call of a script acts on, so that none blocks the server for long
RELATIONS_PER_CALL: Final = 5000  # after which a script that ends jobs leaves the rest to the next call

MAX_HISTORY: Final = 40  # jobs remembered per relation
REQUEST_IDS_LENGTH: Final = 120  # characters of request ids remembered per job
MAX_REQUESTS: Final = 10_000  # listed per account
MAX_AUDIT_ENTRIES: Final = 10_000  # kept per account
MAX_SETS_BYTES: Final = 2**30  # of the sets of an account's replays that were prepared within REPLAY_LIFETIME
MAX_REPLAYS: Final = 1000  # listed per account
REPLAY_LIFETIME: Final = 7 * 86_400.0
MAX_MESSAGES: Final = 10_000  # of callbacks, listed per account
MAX_WATCHED: Final = 10_000  # labels of an account that callbacks are told of
MAX_PAYLOADS: Final = 1000  # unreadable messages of an account that keep their bytes
MAX_PAYLOAD_BYTES: Final = MAX_KEPT_BODY
MAX_CONTENTS: Final = 8  # unreadable messages with one event id that are kept, each with another content
MAX_REFUSED_BYTES: Final = 64 * 1024  # kept of a source's refused deliveries, which are forged perhaps
FORGOTTEN_AT_ONCE: Final = 200  # deliveries that one call of a script lets go
MAX_FAULT_LENGTH: Final = 200  # characters of a fault that a job's record shows

BRAKE_WINDOW_US: Final = 3_600_000_000  # in which the brake counts deletes
REFUSED_LIFE_US: Final = 600_000_000  # for which refused credentials are remembered while others work (R20)
WORKER_LIFETIME: Final = 3600.0  # after which a silent worker is not listed any more
