"""The Celery tasks: a name, the runtime, one call each. What they do is elsewhere."""

from collections.abc import Mapping, Sequence
from typing import Any

from worker.app import app
from worker.contract import Change, from_message
from worker.errors import Fault, InvalidChange, Unavailable
from worker.wiring import Runtime, runtime

SOON = 5.0  # seconds a flush may be asked for ahead; what is due later is the sweep's


def here() -> Runtime:
    """This process's runtime, which wakes by sending `relations.flush`."""
    return runtime(wake)


def wake(account: str, seconds: float) -> None:
    """Send a flush message."""
    app.send_task("relations.flush", [account], countdown=seconds or None, queue="relations.flush", retry=False)


@app.task(name="relations.accept", bind=True, autoretry_for=(Unavailable,), retry_backoff=True, max_retries=None)
def accept(self: Any, changes: Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> None:
    """Accept a change, or a list of changes, from any Celery client; the task's id makes a redelivery the same job (R1)."""
    messages = [changes] if isinstance(changes, Mapping) else list(changes)
    named = [{"event_id": f"{self.request.id}:{at}", "source": "celery", **message} for at, message in enumerate(messages)]
    good: list[Change] = []
    faults: list[Fault] = []
    for at, message in enumerate(named):
        try:
            good.append(from_message(message, f"[{at}]").change)
        except InvalidChange as error:
            faults += error.faults
    for part in here().intake().accept_each(good):
        faults += _faults(part.error)
    if faults:
        here().say("change.rejected", task=self.request.id, faults=[str(fault) for fault in faults])


@app.task(name="relations.flush", acks_late=True)
def flush(account: str) -> None:
    """Work one batch of the account; then queue behind the others for the next."""
    again = here().flush(account).again
    if again is not None and again <= SOON:
        wake(account, again)


@app.task(name="relations.sweep", acks_late=False)
def sweep() -> None:
    """Repair lost wake-ups."""
    here().sweep()


@app.task(name="relations.replay")
def replay(account: str, jobs: Sequence[str]) -> None:
    """Put the failed relations of these jobs back into the inbox."""
    here().intake().replay(account, jobs)


def _faults(error: Exception | None) -> Sequence[Fault]:
    if isinstance(error, Unavailable):
        raise error
    return error.faults if isinstance(error, InvalidChange) else ()
