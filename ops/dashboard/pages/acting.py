"""What operators do from the pages; to jobs in two steps: a preview with a fixed set, and the act."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final, get_args

import msgspec

from ops.dashboard.deps import DashboardDeps
from ops.dashboard.job_query import JobQueryView, describe_query, read_job_query
from ops.dashboard.page import Answer, Page, SeeOther, Visit
from ops.dashboard.pages.jobs import group_by_account, pick_accounts
from ops.dashboard.pages.system import account_page
from ops.dashboard.prepared import Act, PreparedAct, PreparedActs, new_token
from ops.operations.local import PAUSED_BY_OPERATOR
from producers.job_admin.cancel_dismiss import CANCELLABLE, DISMISSABLE
from producers.job_admin.resolve import PARKED, RecordChoice
from producers.job_admin.selection import OF_RELATIONS, Selection, narrow
from producers.portals.http.access import job_account
from producers.replay.resend import parse_correction
from worker.contract.message import MAX_ID
from worker.contract.values import read_whole
from worker.errors import Fault, InvalidChange, NotFound, RelationsError
from worker.ports import JobFilter, JobState, Replay

MAX_JOBS: Final = 10_000  # of one act; the preview says whether there are more
ACTS: Final[tuple[Act, ...]] = get_args(Act)
SHOWN: Final = 100  # jobs that a preview and a result name
STATES: Final[Mapping[str, Sequence[JobState]]] = {
    "cancel": CANCELLABLE,
    "dismiss": DISMISSABLE,
    "look_up": PARKED,
}
DEFAULT_STATES: Final = {"dismiss": "failed", "replay": "failed", "look_up": "parked"}


# --- accounts


def pause_account(deps: DashboardDeps, visit: Visit) -> Answer:
    """Stop an account; one that an operator has stopped stays as it is."""
    account = visit.settings.account(visit.check("admin", str(visit.path_params["account"]))).name
    known = deps.runtime.store.get_pause(account)
    if known is None or known.reason != PAUSED_BY_OPERATOR:
        deps.operations(visit).pause_account(account, visit.sent("why")[:200], by=visit.by)
    return SeeOther(f"/accounts/{account}")


def resume_account(deps: DashboardDeps, visit: Visit) -> Answer:
    """Let an account go on, and say what that did."""
    account = visit.check("admin", str(visit.path_params["account"]))
    resumed = deps.operations(visit).resume_account(visit.settings.account(account).name, by=visit.by)
    return account_page(deps, visit, account, did=resumed.describe())


def check_account(deps: DashboardDeps, visit: Visit) -> Answer:
    """Try the credentials of an account, and show what was found."""
    account = visit.check("admin", str(visit.path_params["account"]))
    findings = list(deps.operations(visit).check_account(account))
    return account_page(deps, visit, account, findings=findings)


# --- jobs


def prepare_act(deps: DashboardDeps, visit: Visit) -> Answer:
    """Fix the set of jobs that a form chose, and go to its preview."""
    act = _read_act(visit.sent("act"))
    state = visit.sent("state") or DEFAULT_STATES.get(act, "")
    query = read_job_query(visit, {**visit.form, "state": [state]})
    if query.faults:
        raise InvalidChange([Fault("filter", fault) for fault in query.faults])
    chosen, words = choose(deps, visit, query)
    for account in chosen:
        visit.check("replay", account)
    prepared = PreparedAct(
        token=new_token(), key=visit.key.name, act=act, words=words, only=picked_relations(visit, query)
    )
    prepared = (
        _prepare_replays(deps, visit, prepared, chosen)
        if act == "replay"
        else _fix_jobs(deps, prepared, chosen)
    )
    _acts(deps).save(prepared)
    return SeeOther(f"/acts/{prepared.token}")


def _read_act(text: str) -> Act:
    for act in ACTS:
        if act == text:
            return act
    raise InvalidChange([Fault("act", f"expected one of {', '.join(ACTS)}")])


def choose(deps: DashboardDeps, visit: Visit, query: JobQueryView) -> tuple[Mapping[str, Selection], str]:
    """Return what a form selects, by account, and the selection in words.

    These jobs, all that its page showed, or all that match its filter.
    """
    t, scope = visit.texts, visit.sent("scope")
    if scope == "all":
        accounts = pick_accounts(deps, query)
        return dict.fromkeys(accounts, query.filter), t(
            "all that match: {filter}", filter=describe_query(visit, query)
        )
    ids = visit.form.get("shown" if scope == "page" else "job", ())
    if not ids:
        raise InvalidChange([Fault("", t("no job was selected; tick some, or choose another scope"))])
    words = t.count(len(ids), "1 selected job", "{n} selected jobs")
    if scope == "page":
        words = t("this page of: {filter}", filter=describe_query(visit, query))
    picked = JobFilter(**picked_relations(visit, query))
    return {account: narrow(tuple(jobs), picked) for account, jobs in group_by_account(ids).items()}, words


def picked_relations(visit: Visit, query: JobQueryView) -> Mapping[str, Any]:
    """Return which failed relations of the jobs are meant, by the filter of the list they stand in.

    Only what failed has parts: a change is cancelled, and looked up, as a whole.
    """
    if visit.sent("act") not in ("dismiss", "replay"):
        return {}
    fields = {name: getattr(query.filter, name) for name in OF_RELATIONS}
    return {name: value for name, value in fields.items() if value}


def _fix_jobs(deps: DashboardDeps, prepared: PreparedAct, chosen: Mapping[str, Selection]) -> PreparedAct:
    """Return the act with the jobs that it can be done to, and the others."""
    jobs, unfit, left = dict[str, tuple[str, ...]](), dict[str, str](), MAX_JOBS
    more = False
    for account, selection in chosen.items():
        fit = list[str]()
        for good, bad in deps.services.jobs.preview(account, selection, STATES[prepared.act]):
            if len(fit) + len(good) > left:
                more = True
                break
            fit += good
            unfit |= bad
        jobs[account], left = tuple(fit), left - len(fit)
    return _replace(prepared, jobs={name: ids for name, ids in jobs.items() if ids}, unfit=unfit, more=more)


def _prepare_replays(
    deps: DashboardDeps, visit: Visit, prepared: PreparedAct, chosen: Mapping[str, Selection]
) -> PreparedAct:
    """Return the act with a prepared replay of each account that has anything to replay."""
    correction = _read_correction(visit)
    replays = list[Replay]()
    for account, selection in chosen.items():
        replay = deps.services.replays.prepare(
            account,
            selection,
            by=visit.by,
            forced=visit.sent("force") == "yes",
            correction=correction,
            allowed=visit.key.accounts,
        )
        if replay.eligible or replay.refused:
            replays.append(replay)
    unfit = {job: reason for replay in replays for job, reason in replay.examples.items()}
    return _replace(
        prepared,
        replays=tuple(replay.id for replay in replays),
        unfit=unfit,
        more=any(replay.more for replay in replays),
    )


def _read_correction(visit: Visit) -> Mapping[str, Any]:
    """Return the ids that a form puts in place of wrong ones; raise InvalidChange for what is no id."""
    pairs = [f"{name}={text}" for name in ("parentid", "childid") if (text := visit.sent(f"set_{name}"))]
    return parse_correction(pairs) if pairs else {}


def show_act(deps: DashboardDeps, visit: Visit) -> Answer:
    """Show what would be done to which jobs, or once it was done, what became of each."""
    act = _acts(deps).find(str(visit.path_params["token"]), visit.key.name)
    if act.act == "replay":
        return _show_replays(deps, act)
    shown = [job for ids in act.jobs.values() for job in ids][:SHOWN]
    refused = list(act.refused.items())
    return Page(
        "act.html",
        {
            "act": act,
            "shown": deps.runtime.queries.get_jobs(shown),
            "unfit": list(act.unfit.items())[:SHOWN],
            "refused": refused[:SHOWN],
            "reasons": Counter(act.refused.values()).most_common(),
            "done": act.done[:SHOWN],
        },
    )


def _show_replays(deps: DashboardDeps, act: PreparedAct) -> Page:
    replays = [deps.services.replays.find(replay) for replay in act.replays]
    shown = [
        entry.job
        for replay in replays
        for entry in deps.runtime.job_admin.replay_entries(replay.id, 0, SHOWN)
    ]
    return Page(
        "act_replay.html",
        {
            "act": act,
            "replays": replays,
            "shown": list(deps.runtime.queries.get_jobs(shown[:SHOWN]).values()),
            "eligible": sum(replay.eligible for replay in replays),
            "refused": sum((Counter(replay.refused) for replay in replays), Counter[str]()),
        },
    )


def carry_out(deps: DashboardDeps, visit: Visit) -> Answer:
    """Carry a prepared act out, once however often the form is sent; then show its result."""
    acts = _acts(deps)
    act = acts.find(str(visit.path_params["token"]), visit.key.name)
    for account in (*act.jobs, *map(job_account, act.replays)):
        visit.check("replay", account)
    if act.state == "done" or not acts.claim(act.token):
        return SeeOther(f"/acts/{act.token}")
    if act.act == "replay":
        for replay_id in act.replays:
            _start(deps, visit, replay_id)
        acts.save(_replace(act, state="done"))
        return SeeOther(f"/replays/{act.replays[0]}" if len(act.replays) == 1 else f"/acts/{act.token}")
    done, refused = _act(deps, visit, act)
    acts.save(_replace(act, state="done", done=tuple(done), refused=refused))
    return SeeOther(f"/acts/{act.token}")


def _act(deps: DashboardDeps, visit: Visit, act: PreparedAct) -> tuple[list[str], dict[str, str]]:
    """Return the jobs that were acted on, and why others were not."""
    note = visit.sent("note")[:200] or act.words[:200]
    service = {
        "cancel": deps.services.jobs.cancel,
        "dismiss": deps.services.jobs.dismiss,
        "look_up": deps.services.references.look_up,
    }[act.act]
    done, refused, only = list[str](), dict[str, str](), JobFilter(**act.only)
    for account, jobs in act.jobs.items():
        try:
            result = service(account, narrow(jobs, only), by=visit.by, note=note)
        except RelationsError as error:  # of one account; the others are acted on
            refused |= dict.fromkeys(jobs, str(error))
            continue
        done += result.done
        refused |= result.refused
    return done, refused


def _start(deps: DashboardDeps, visit: Visit, replay_id: str) -> None:
    replay = deps.services.replays.find(replay_id)
    for account in replay.accounts:
        visit.check("replay", account)
    operations = deps.operations(visit)
    operations.start_replay(replay_id, by=visit.by)
    operations.enqueue_replay(replay_id)


def resolve_reference(deps: DashboardDeps, visit: Visit) -> Answer:
    """Say which record a reference of a job is; then the change is carried out."""
    job_id = str(visit.path_params["id"])
    account = visit.check("replay", job_account(job_id))
    job, at = deps.runtime.store.get_job(job_id), visit.sent("reference")
    if job is None or not at.isdecimal() or int(at) >= len(job.references):
        raise NotFound(f"there is no job {job_id} with such a reference (any more)")
    record = read_whole(visit.sent("record"))
    if not record or record > MAX_ID:
        raise InvalidChange([Fault("record", "expected the id of a record, a positive whole number")])
    choice = RecordChoice(references={str(job.references[int(at)].reference): record})
    deps.services.references.resolve(account, job_id, choice, by=visit.by)
    return SeeOther(f"/jobs/{job_id}")


# --- replays


def run_replay(deps: DashboardDeps, visit: Visit) -> Answer:
    """Let a prepared or stopped replay run."""
    replay_id = _own_replay(visit)
    _start(deps, visit, replay_id)
    return SeeOther(f"/replays/{replay_id}")


def stop_replay(deps: DashboardDeps, visit: Visit) -> Answer:
    """Stop a replay after the piece that is being worked."""
    replay_id = _own_replay(visit)
    deps.services.replays.stop(replay_id, by=visit.by)
    return SeeOther(f"/replays/{replay_id}")


def _own_replay(visit: Visit) -> str:
    replay_id = str(visit.path_params["id"])
    visit.check("replay", job_account(replay_id))
    return replay_id


def _acts(deps: DashboardDeps) -> PreparedActs:
    return PreparedActs(deps.runtime.client, deps.runtime.settings.prefix)


def _replace(act: PreparedAct, **changes: Any) -> PreparedAct:
    return msgspec.structs.replace(act, **changes)
