"""The store's Lua scripts, one per transition, and the client that runs them on an account's keys."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from worker.redis.client import Client, translate_errors
from worker.redis.scripts import load_script
from worker.store import keys, limits

PARTS: Final[Mapping[str, tuple[str, ...]]] = {  # the parts of each script beside `shared`
    "accept": ("inbox",),
    "add_audit_entry": ("audit",),
    "advance_replay": ("audit",),
    "begin": (),
    "cancel": ("inbox", "relation", "failures", "finish", "cancel_job", "audit"),
    "claim": ("inbox", "relation", "failures", "finish", "job", "write"),
    "dismiss": ("failures", "audit"),
    "due_accounts": ("inbox",),
    "erase_jobs": ("inbox", "relation", "failures", "finish", "cancel_job", "erase"),
    "erase_payload": ("failures",),
    "failed_jobs": (),
    "failure_groups": (),
    "find_jobs": ("filter",),
    "get_pause": (),
    "get_records": (),
    "guarded_relations": (),
    "lease": (),
    "link_replacement": ("failures",),
    "pause": ("audit",),
    "read": ("inbox",),
    "reject": ("failures",),
    "release": ("inbox",),
    "renew": (),
    "requeue": ("failures",),
    "resume": ("audit",),
    "save_replay": ("audit",),
    "set_replay_state": ("audit",),
    "settle": ("relation", "failures", "finish", "job", "write"),
    "stalled_replays": (),
    "tidy": ("inbox",),
    "touch_replay": (),
}
CONSTANTS: Final = {name: value for name, value in vars(limits).items() if isinstance(value, int)}


class StoreClient:
    """A Redis client that knows the store's keys and scripts.

    Pass `now` (µs) in tests only; production uses Redis's clock.

    `redis` is untyped: redis-py types every answer for clients that decode and for those that wait; ours does
    neither, so answers are bytes.
    """

    def __init__(self, client: Client, prefix: str, now: Callable[[], int] | None = None) -> None:
        self.redis: Any = client
        self.prefix = prefix
        self._now = now
        self.scripts: dict[str, Any] = {
            name: load_script(client, "worker.store", name, ("shared", *parts), CONSTANTS)
            for name, parts in PARTS.items()
        }

    def key(self, account: str, name: str) -> str:
        """Return the account's key of this name."""
        return f"{keys.base(self.prefix, account)}:{name}"

    def now(self) -> str:
        """Return the time that scripts are given; empty lets them ask Redis."""
        return str(self._now()) if self._now else ""

    def run(self, script: str, account: str, *args: str | bytes | int) -> Any:
        """Run a script on the account and return its answer."""
        with translate_errors():
            return self.scripts[script](keys=[keys.base(self.prefix, account)], args=args)

    def run_now(self, script: str, account: str, *args: str | bytes | int) -> Any:
        """Run a script whose first argument is the time."""
        return self.run(script, account, self.now(), *args)
