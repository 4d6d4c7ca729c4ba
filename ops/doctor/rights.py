"""Checks that the users of Redis may do what is needed, and that the servers take writes at this moment."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from ops.doctor.findings import Finding
from worker.errors import StoreUnavailable
from worker.redis.client import NoPermissionError, find_advice, is_answer, is_timeout, translate_errors
from worker.redis.rights import BROKER, CHANNELS, KEYLESS, STORE, acl_rule, find_refused

if TYPE_CHECKING:
    from kombu import Connection


USE: Final = "Use Redis or Valkey 7.0 or newer."
MEND: Final = "Mend what Redis says."
HELD: Final = "It answers what reads and holds what writes: CLIENT UNPAUSE, or see why its disk is slow."
NO_OTHER_NAMES: Final = f"{USE} It must not rename what the rule has."


def advise_on_refusal(error: Exception) -> str:
    """Return what to do about a server that answers, and does not do what it was asked."""
    if "unknown command 'EVAL" in str(error):  # which every version has
        return NO_OTHER_NAMES
    is_other = any(sign in str(error) for sign in ("unknown command", "unexpected symbol near '#'"))
    return USE if is_other else MEND


def explain_failure(error: Exception, variable: str) -> tuple[str, str]:
    """Return how a server is that did not do what it was asked, and what to do about it."""
    if is_answer(error):
        return "answers, and refuses what is asked", advise_on_refusal(error)
    if find_advice(error):
        return "cannot be spoken to", f"Correct {variable}, or the server, as is said in brackets."
    return "does not answer", f"Start it, or set {variable} to one that runs."


def check_store_rights(client: Any, prefix: str) -> Iterator[Finding]:
    """Yield what keeps the store from being written to."""
    yield from _check(client, f"{prefix}:sweep", (*STORE, "scan", "time"), prefix, "store")


def check_broker_rights(connection: "Connection", prefix: str) -> Iterator[Finding]:
    """Yield what keeps messages from being sent and taken, where the broker is a Redis."""
    channel: Any = connection.default_channel
    if hasattr(channel, "conn_or_acquire"):
        with channel.conn_or_acquire() as client:
            yield from _check(client, f"{prefix}.flush", (*BROKER, *CHANNELS, *KEYLESS), prefix, "broker")


def _check(client: Any, key: str, commands: tuple[str, ...], prefix: str, what: str) -> Iterator[Finding]:
    subject, grant = f"rights in the {what}", f"Grant its user: {acl_rule(prefix)}"
    try:
        with translate_errors():
            refused = find_refused(client, key, commands)
    except StoreUnavailable as error:
        advice = HELD if is_timeout(error) else advise_on_refusal(error)
        advice = grant if isinstance(error.__cause__, NoPermissionError) else advice
        yield Finding(subject, "fail", f"nothing can be written: {error}", advice)
    else:
        if refused.forbidden:
            message = f"the user may not do {', '.join(refused.forbidden)} with {prefix}*"
            yield Finding(subject, "fail", message, grant)
        if refused.unknown:
            message = f"the server has no {', '.join(refused.unknown)}, or another name for it"
            yield Finding(subject, "fail", message, NO_OTHER_NAMES)
