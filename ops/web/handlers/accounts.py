"""How accounts stand, and stopping them and letting them go on."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

from ops.lookups import read_history
from ops.serializers.accounts import AccountsDict, KeyDict, serialize_key
from ops.serializers.acts import PausedDict
from ops.serializers.system import FindingsDict, HistoryDict, serialize_bucket
from ops.web.deps import OperatorDeps
from ops.web.forms import OF_ACCOUNT, PauseForm, TextsQuery, find_zone
from producers.portals.http.api_route import ApiCall, get, post
from producers.portals.http.query import AccountQuery
from worker.ports.metrics import HISTORY_SECONDS

SUMMED: Final = ("backlog", "open", "unresolved", "failed", "succeeded", "superseded", "accepted")


@get("/v1/accounts", "The key, and its accounts: backlog, pace, breaker")
def list_accounts(deps: OperatorDeps, call: ApiCall[TextsQuery]) -> AccountsDict:
    """Show the key, and its accounts in the order of the settings."""
    names = [name for name in deps.runtime.settings.accounts if name in call.key.accounts]
    accounts = deps.operations.get_accounts(names, find_zone(call.input.utc_offset))
    return {"accounts": accounts, "key": serialize_key(call.key), "totals": sum_up(accounts)}


def sum_up(accounts: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Return the sums of the accounts' numbers, those of jobs by state beside the others."""
    totals: Counter[str] = Counter(dict.fromkeys(SUMMED, 0))
    for account in accounts:
        totals.update({name: account[name] for name in SUMMED})
        totals.update(account["jobs"])
    return dict(totals)


@get("/v1/me", "The key: what it may do, for which accounts")
def get_key(_deps: OperatorDeps, call: ApiCall[None]) -> KeyDict:
    """Show the key: what it may do, for which accounts."""
    return serialize_key(call.key)


@get("/v1/history", "What an account did over the last day, in buckets of five minutes")
def get_history(deps: OperatorDeps, call: ApiCall[AccountQuery]) -> HistoryDict:
    """Show what an account did over the last day, in buckets of five minutes."""
    account = deps.account(call.account)
    buckets = list(map(serialize_bucket, read_history(deps.runtime.metrics, account)))
    return {"account": account, "seconds": HISTORY_SECONDS, "buckets": buckets}


@post(
    "/v1/accounts/{account}/pause",
    "Stop an account",
    right="admin",
    form_example={"why": "moving to the new API user"},
    form_required=False,
    **OF_ACCOUNT,
)
def pause_account(deps: OperatorDeps, call: ApiCall[PauseForm]) -> PausedDict:
    """Stop sending for an account until it is resumed."""
    account = deps.account(call.account)
    deps.operations.pause_account(account, call.input.why, by=call.key.name)
    return {"account": account, "paused": True}


@post("/v1/accounts/{account}/resume", "Let an account go on", right="admin", **OF_ACCOUNT)
def resume_account(deps: OperatorDeps, call: ApiCall[None]) -> PausedDict:
    """Let an account go on, at full pace and with its breaker closed."""
    return deps.operations.resume_account(deps.account(call.account), by=call.key.name)


@post(
    "/v1/accounts/{account}/check",
    "Try the credentials of an account by a harmless read",
    right="admin",
    **OF_ACCOUNT,
)
def check_account(deps: OperatorDeps, call: ApiCall[None]) -> FindingsDict:
    """Try the credentials of an account by a harmless read."""
    findings = deps.operations.check_account(deps.account(call.account))
    return {"findings": [finding.to_json() for finding in findings]}
