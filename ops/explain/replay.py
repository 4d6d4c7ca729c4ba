"""A replay in sentences: what it is about, what it would send, and how far it is."""

from collections.abc import Iterator
from typing import Final

from ops.explain.text import format_ids, format_info, format_tally, pluralize
from worker.ports.replays import Replay

MAX_LISTED: Final = 20  # actions and refused jobs that are listed
VERBS: Final = {"previewed": "would go", "done": "went"}


def describe_replay(replay: Replay) -> Iterator[str]:
    """Yield its set, who is left out and why, what would be or was sent, and how far it is."""
    forced = " (forced)" if replay.forced else ""
    yield f"{replay.id}  {replay.state}  by {replay.by}: {replay.what}{forced}"
    if replay.repair:
        yield from _describe_repair(replay)
    else:
        relations = pluralize(replay.relations, "failed relation")
        verb = VERBS.get(replay.state, "go")
        yield f"  {pluralize(replay.eligible, 'job')} with {relations} {verb} back"
    if look_ups := replay.plan.get("look_ups"):
        yield f"  of {pluralize(look_ups, 'job')} the records are looked up first; the plan is without them"
    if replay.correction:
        yield "  corrected: " + ", ".join(f"{name}={value}" for name, value in replay.correction.items())
    if replay.refused:
        yield f"  not {'repaired' if replay.repair else 'replayed'}: {format_tally(replay.refused)}"
        yield from (f"    {job} {why}" for job, why in list(replay.examples.items())[:MAX_LISTED])
    if replay.paused:
        yield f"  the account is paused ({replay.paused}): nothing is sent until it is resumed"
    if replay.plan.get("actions"):
        yield from _describe_plan(replay)
    if replay.state != "previewed":
        missed = f"; {format_tally(replay.missed)}" if replay.missed else ""
        yield f"  {replay.done:,} done, {replay.back:,} sent again{missed}"
    if replay.more:
        yield "  there are more failed jobs than one replay takes; replay again afterwards"


def _describe_repair(replay: Replay) -> Iterator[str]:
    changes, relations = (
        pluralize(replay.eligible, "new change"),
        pluralize(replay.relations, "relation"),
    )
    yield f"  {changes} for {relations}, to be as they were last confirmed; whatever is newer still wins"
    if deletes := replay.plan.get("deletes"):
        yield (
            f"  {pluralize(deletes, 'relation')} would be deleted that somebody has made since: look at each"
        )


def _describe_plan(replay: Replay) -> Iterator[str]:
    plan = replay.plan
    least = "" if plan.get("whole") else "at least "
    size = f"{pluralize(plan['actions'], 'action')} in {pluralize(plan['requests'], 'request')}"
    yield f"  would send {least}{size}:"
    for action in plan["listed"][:MAX_LISTED]:
        ids = f"{format_ids(action['parentid'])} → {format_ids(action['childid'])}"
        info = format_info(tuple(action.get("relationinfo", {}).items()))
        yield f"    {action['action']}  {action['relationtype']}  {ids}{info}"
    if plan["actions"] > MAX_LISTED:
        yield f"    … and {plan['actions'] - min(MAX_LISTED, len(plan['listed'])):,} more"


def describe_replay_result(replay: Replay) -> Iterator[str]:
    """Yield what was done beside what was previewed, and the difference explained."""
    if replay.state == "running":
        show = f"relations replays show {replay.id}"
        yield f"{replay.id}: a worker replays {pluralize(replay.eligible, 'job')}; {show}"
        return
    if replay.repair:
        yield f"{pluralize(replay.back, 'change')} of {replay.eligible:,} went into the inbox ({replay.id})."
    else:
        total = replay.eligible + sum(replay.refused.values())
        yield f"{pluralize(replay.back, 'job')} of {total:,} went back into the inbox ({replay.id})."
    for job, why in list(replay.examples.items())[:MAX_LISTED]:
        yield f"note: {job} {why}"
    if replay.missed:
        yield f"note: {format_tally(replay.missed)} since the preview"
    if replay.state == "stopped":
        yield f"note: it was stopped; relations replays run {replay.id} goes on"
