"""Replays: what each would send, how far it is, and letting it run or stopping it."""

from functools import partial
from itertools import chain
from typing import Final

from ops.dashboard.listing import MAX_ACCOUNTS
from ops.dashboard.page import Answer, DashboardDeps, Page, SeeOther, Visit, get, post
from producers.portals.http.endpoint import job_account
from worker.config.values import Right

REPLAYS: Final = 50
LISTED_ACTIONS: Final = 50  # of a replay's plan


@get("/replays")
def list_replays(deps: DashboardDeps, visit: Visit) -> Page:
    """Show the replays of the last week, newest first."""
    inboxes = visit.chosen_inboxes()
    list_own = partial(deps.runtime.job_admin.list_replays, limit=REPLAYS + 1)
    replays = list(chain.from_iterable(deps.runtime.ask_each(list_own, inboxes[:MAX_ACCOUNTS]).values()))
    replays.sort(key=lambda replay: -replay.made_at)
    return Page(
        "replays.html",
        {
            "account": visit.asked("account"),
            "replays": replays[:REPLAYS],
            "most": REPLAYS,
            "has_more": len(replays) > REPLAYS,
            "left_out": max(0, len(inboxes) - MAX_ACCOUNTS),
        },
    )


@get("/replays/{id}")
def show_replay(deps: DashboardDeps, visit: Visit) -> Page:
    """Show a replay: what it would send, how far it is, and what its jobs have become."""
    replay_id = _own_replay(visit, "read")
    replay = deps.operations.find_replay(replay_id)
    outcomes = deps.operations.count_outcomes(replay, limit=2000)
    return Page(
        "replay.html",
        {
            "replay": replay,
            "became": outcomes,
            "listed": list(replay.plan.get("listed", ()))[:LISTED_ACTIONS],
        },
    )


@post("/replays/{id}/run")
def run_replay(deps: DashboardDeps, visit: Visit) -> Answer:
    """Let a prepared or stopped replay run."""
    replay_id = _own_replay(visit, "replay")
    start_replay(deps, visit, replay_id)
    return SeeOther(f"/replays/{replay_id}")


@post("/replays/{id}/stop")
def stop_replay(deps: DashboardDeps, visit: Visit) -> Answer:
    """Stop a replay after the piece that is being worked."""
    replay_id = _own_replay(visit, "replay")
    deps.operations.stop_replay(replay_id, by=visit.by)
    return SeeOther(f"/replays/{replay_id}")


def _own_replay(visit: Visit, right: Right) -> str:
    replay_id = visit.named("id")
    visit.check(right, job_account(replay_id))
    return replay_id


def start_replay(deps: DashboardDeps, visit: Visit, replay_id: str) -> None:
    """Let a replay run, if the key may act on every account that it sends into."""
    replay = deps.operations.find_replay(replay_id)
    for account in replay.accounts:
        visit.check("replay", account)
    deps.operations.start_replay(replay_id, by=visit.by)
    deps.operations.enqueue_replay(replay_id)
