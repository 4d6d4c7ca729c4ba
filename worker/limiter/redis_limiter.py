"""The limiter on Redis, by Redis's clock: shared by all workers, one round trip per call.

The keys, and what each script keeps true, stand at the head of the files in `lua/`.
"""

from collections.abc import Sequence
from typing import Any, Final, Literal

from worker.limiter import BreakerChange, Feedback, Grant, Pace, Reason, policy
from worker.redis.client import Client, Script, available, script

REASONS: Final[tuple[Reason, ...]] = ("", "pace", "retry_after", "breaker")
TURNS: Final[tuple[Literal["", "opened", "closed"], ...]] = ("", "opened", "closed")


class RedisLimiter:
    """Paces the requests of each account for any number of processes; the client may or may not decode answers.

    Hand `now` (seconds since the epoch) in tests only.
    """

    def __init__(self, client: Client, prefix: str) -> None:
        self._client, self._prefix = client, prefix
        self._book, self._report, self._refund = map(self._script, ("book", "report", "refund"))

    def book(
        self, account: str, *, rate: float, burst: int, max_wait: float, now: float | None = None
    ) -> Grant:
        """The next slot within `max_wait` seconds, booked; or, with nothing booked, when to come back."""
        return granted(self._run(self._book, account, rate, burst, policy.ticks(max_wait), instant(now)))

    def report(
        self,
        account: str,
        feedback: Feedback,
        *,
        retry_after: float = 0.0,
        reason: str = "",
        now: float | None = None,
    ) -> BreakerChange:
        """Let a request's answer change the pace; needed only when `Grant.needs_report` says so. What it did to the breaker.

        `retry_after` seconds stop the account until then; `reason` is kept for operators.
        """
        text = (reason or feedback)[: policy.LONGEST_REASON]
        turned, probe_in = self._run(
            self._report, account, feedback, policy.ticks(retry_after), text, instant(now)
        )
        return BreakerChange(TURNS[turned], probe_in / policy.SECOND)

    def refund(self, account: str, grant: Grant) -> bool:
        """True if the unused slot of `grant` was given back; False if later bookings stand on it, so that it is lost."""
        return grant.booked and bool(
            self._run(self._refund, account, grant.slot, grant.cost, int(grant.probe))
        )

    def state(self, account: str) -> Pace:
        """What an operator wants to see."""
        return self.states([account])[account]

    def states(self, accounts: Sequence[str]) -> dict[str, Pace]:
        """The same of many accounts, in one round trip."""
        with available(), self._client.pipeline(transaction=False) as pipeline:
            for account in accounts:
                pipeline.hgetall(self._key(account))
            return {
                name: policy.describe(remembered(row))
                for name, row in zip(accounts, pipeline.execute(), strict=True)
            }

    def reset(self, account: str) -> None:
        """Forget all about the account: full pace, breaker closed."""
        with available():
            self._client.delete(self._key(account))

    def _key(self, account: str) -> str:
        return f"{self._prefix}:{{{account}}}:pace"

    def _script(self, name: str) -> Script:
        return script(self._client, "worker.limiter", name)

    def _run(self, run: Script, account: str, *args: str | float) -> Any:
        with available():
            return run(keys=[self._key(account)], args=args)


def instant(now: float | None) -> str:
    """The argument `now` of a script; empty lets it ask Redis."""
    return "" if now is None else str(policy.ticks(now))


def granted(row: list[Any]) -> Grant:
    """The grant that book.lua answered."""
    booked, wait, factor, failures, probe, open_for, why, slot, cost = row
    return Grant(
        booked=bool(booked),
        wait=wait / policy.SECOND,
        factor=float(factor),
        failures=failures,
        probe=bool(probe),
        open_for=open_for / policy.SECOND,
        reason=REASONS[why],
        slot=slot,
        cost=cost,
    )


def remembered(answer: Any) -> policy.State:
    """The state that the scripts keep in the account's hash."""
    text = {plain(key): plain(value) for key, value in answer.items()}
    whole = {
        name: int(text.get(name, 0)) for name in ("tat", "failures", "cooldown", "open_until", "not_before")
    }
    return policy.State(
        factor=float(text.get("factor", 1)),
        probe=text.get("probe") == "1",
        reason=text.get("reason", ""),
        **whole,
    )


def plain(value: str | bytes) -> str:
    """The text, decoded if the client does not."""
    return value if isinstance(value, str) else value.decode()
