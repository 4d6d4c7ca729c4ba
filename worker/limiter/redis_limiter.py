"""The limiter on Redis, by Redis's clock: shared by all workers, one round trip per call.

The key, and what each script keeps true, stand at the head of the files in `lua/`.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, get_args

import msgspec

from worker.contract.instant import SECOND, to_us
from worker.limiter import policy
from worker.limiter.policy import PaceState
from worker.ports.pace import BreakerChange, Feedback, Grant, Pace, Reason
from worker.redis.client import Client, read_apart, translate_errors, translate_unreadable
from worker.redis.scripts import load_script

SCRIPT_CONSTANTS: Final = {
    name: value for name, value in vars(policy).items() if isinstance(value, int | float)
}
REASONS: Final[tuple[Reason, ...]] = get_args(Reason)
BREAKER_CHANGES: Final[tuple[Literal["", "opened", "closed"], ...]] = ("", "opened", "closed")


class RedisLimiter:
    """Implements `ports.Limiter` for any number of processes; the client may or may not decode answers.

    Pass `now` (seconds since the epoch) in tests only.
    """

    def __init__(self, client: Client, prefix: str) -> None:
        self._client, self._prefix = client, prefix
        self._scripts = {
            name: load_script(client, "worker.limiter", name, SCRIPT_CONSTANTS)
            for name in ("book", "report", "refund")
        }

    def book(
        self, account: str, *, rate: float, burst: int, max_wait: float, now: float | None = None
    ) -> Grant:
        """Return the next slot within `max_wait` seconds, booked; or, not booked, when to come back."""
        return _read_grant(self._run("book", account, rate, burst, to_us(max_wait), _script_time(now)))

    def peek(self, account: str, *, rate: float, burst: int, max_wait: float, now: float) -> Grant:
        """Return what `book` would answer then, booking nothing."""
        state, longest = self._read_states([account])[account], to_us(max_wait)
        return policy.book(state, to_us(now), rate=rate, burst=burst, max_wait=longest)[1]

    def report(
        self,
        account: str,
        feedback: Feedback,
        *,
        retry_after: float = 0.0,
        reason: str = "",
        now: float | None = None,
    ) -> BreakerChange:
        """Let a request's answer change the pace, and return what it did to the breaker.

        Needed only when `Grant.needs_report` says so. `retry_after` seconds stop the account until then,
        after the feedback `suspect` only its suspected relations; `reason` is kept for operators.
        """
        text = (reason or feedback)[: policy.REASON_LENGTH]
        args = feedback, to_us(retry_after), text, _script_time(now)
        change, probe_in = self._run("report", account, *args)
        return BreakerChange(BREAKER_CHANGES[change], probe_in / SECOND)

    def refund(self, account: str, grant: Grant) -> bool:
        """Give back the unused slot of `grant`; return False if it is lost because later ones build on it."""
        if not grant.booked:
            return False
        return bool(self._run("refund", account, grant.slot, grant.cost, int(grant.probe)))

    def state(self, account: str) -> Pace:
        """Return the account's pace for operators."""
        return self.states([account])[account]

    def states(self, accounts: Sequence[str]) -> dict[str, Pace]:
        """Return the paces of these accounts, in one round trip, without those that cannot be read.

        Raises StoreUnreadable for an account that is alone.
        """
        states = read_apart(self._read_states, accounts)
        return {account: policy.describe(state) for account, state in states.items()}

    def reset(self, account: str) -> None:
        """Forget all about the account: full pace, breaker closed."""
        with translate_errors():
            self._client.delete(self._key(account))

    def _read_states(self, accounts: Sequence[str]) -> dict[str, PaceState]:
        with (
            translate_unreadable(*accounts),
            translate_errors(),
            self._client.pipeline(transaction=False) as pipeline,
        ):
            for account in accounts:
                pipeline.hgetall(self._key(account))
            rows = zip(accounts, pipeline.execute(), strict=True)
            return {account: _read_state(row) for account, row in rows}

    def _key(self, account: str) -> str:
        return f"{self._prefix}:{{{account}}}:pace"

    def _run(self, script: str, account: str, *args: str | float) -> Any:
        with translate_errors():
            return self._scripts[script](keys=[self._key(account)], args=args)


def _script_time(now: float | None) -> str:
    """Return the argument `now` of a script; empty lets it ask Redis."""
    return "" if now is None else str(to_us(now))


def _read_grant(row: list[Any]) -> Grant:
    """Read the answer of book.lua."""
    booked, wait, factor, failures, probe, reason, slot, cost, suspects_wait, troubled = row
    return Grant(
        booked=bool(booked),
        wait=wait / SECOND,
        factor=float(factor),
        failures=failures,
        probe=bool(probe),
        suspects_wait=suspects_wait / SECOND,
        troubled=bool(troubled),
        reason=REASONS[reason],
        slot=slot,
        cost=cost,
    )


def _read_state(row: Mapping[Any, Any]) -> PaceState:
    """Read the state that the scripts keep in the account's hash."""
    text = {_to_text(name): _to_text(value) for name, value in row.items()}
    return msgspec.convert(text, PaceState, strict=False)


def _to_text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode()
