"""Messages to our tasks, sent by name: the wake-up of an account, and the start of a replay.

Celery is imported with the first message: it takes a third of a second, and many processes never send one.
"""

from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from worker.celery_config import COUNTDOWN_HEADER, FLUSH_TASK, REPLAY_TASK, sender_config

if TYPE_CHECKING:
    from celery import Celery

# That a kept connection broke is found out by using it, so one more try is worth it; more is the sweep's
# affair.
RETRY_POLICY: Final[dict[str, Any]] = {"max_retries": 1, "interval_start": 0.0, "interval_step": 0.0}


def send_wakeup(app: "Celery", account: str, seconds: float) -> None:
    """Send a flush message that is due after so many seconds; raise whatever the broker's client does."""
    app.send_task(
        FLUSH_TASK,
        [account],
        countdown=seconds or None,
        headers={COUNTDOWN_HEADER: seconds} if seconds else None,
        retry=True,
        retry_policy=RETRY_POLICY,
    )


class TaskSender:
    """Sends messages to our tasks over a broker, from a process that runs none of them."""

    def __init__(self, broker_url: str, prefix: str) -> None:
        self._broker_url, self._prefix = broker_url, prefix

    @cached_property
    def app(self) -> "Celery":
        """A Celery application that knows the broker and no code of our tasks."""
        from worker.celery_broker import OwnCelery

        app = OwnCelery("relations", set_as_current=False)
        app.conf.update(sender_config(self._broker_url, self._prefix))
        return app

    def wake(self, account: str, seconds: float) -> None:
        """Send a flush message that is due after so many seconds; raise whatever the broker's client does."""
        send_wakeup(self.app, account, seconds)

    def start_replay(self, replay_id: str) -> None:
        """Let a worker run the replay; raise whatever the broker's client does."""
        self.app.send_task(REPLAY_TASK, [replay_id], retry=True, retry_policy=RETRY_POLICY)
