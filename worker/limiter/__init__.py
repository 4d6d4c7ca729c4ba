"""The pace of an account: when the next request may go out, and what its answer does to the pace.

`policy` holds the rules as pure functions, `redis` and `memory` keep the state. Nothing here knows HTTP or waits.
"""

from worker.ports import BreakerChange, Feedback, Grant, Pace, Reason

__all__ = ["Feedback", "Grant", "Pace", "Reason", "BreakerChange"]
