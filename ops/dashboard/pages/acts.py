"""What operators do to jobs, in two steps: a preview with a fixed set, kept for an hour, and the act.

Each set has a token of its own, so that a form that is sent twice acts once, and both see the same result.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from secrets import token_urlsafe
from typing import Any, Final, Literal, get_args
from urllib.parse import unquote_plus

import msgspec

from ops.dashboard.page import Answer, DashboardDeps, Page, SeeOther, Visit, get, post
from ops.dashboard.pages.jobs import JobQueryView, describe_query, pick_accounts, read_job_query
from ops.dashboard.pages.replays import start_replay
from producers.job_admin.cancel_dismiss import CANCELLABLE, DISMISSABLE
from producers.job_admin.resolve import PARKED
from producers.job_admin.selection import OF_RELATIONS, Selection, narrow, select_jobs
from producers.portals.http.endpoint import job_account
from producers.replay.resend import parse_correction
from worker.config import holds_secret, refuse_secrets
from worker.errors import Fault, InvalidChange, NotFound, RelationsError
from worker.ports.records import JobFilter, JobState
from worker.ports.replays import Replay
from worker.redis.client import Client, translate_errors

LIFETIME: Final = 3600  # seconds
CLAIMED: Final = 120  # seconds that carrying out may take; whoever died meanwhile, another may after that
Act = Literal["cancel", "dismiss", "look_up", "replay"]


class PreparedAct(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is to be done to which jobs, by account; `words` say how they were chosen.

    `only` says which failed relations of the jobs are meant, as the fields of a filter. `unfit` are those
    that were chosen and cannot be acted on, with the reason. `more` if there are further ones. A replay has
    `replays` instead of jobs. `chosen_on` is the path of the page they were chosen on. After it was
    carried out, `done` and `refused` say what became of each job.
    """

    token: str
    key: str
    act: Act
    words: str
    jobs: Mapping[str, tuple[str, ...]] = {}
    only: Mapping[str, Any] = {}
    unfit: Mapping[str, str] = {}
    replays: tuple[str, ...] = ()
    more: bool = False
    chosen_on: str = "/jobs"
    state: Literal["prepared", "done"] = "prepared"
    done: tuple[str, ...] = ()
    refused: Mapping[str, str] = {}

    @property
    def count(self) -> int:
        """How many jobs are in the set."""
        return sum(map(len, self.jobs.values()))


class PreparedActs:
    """Keeps prepared acts in Redis, so that any process can carry them out."""

    def __init__(self, client: Client, prefix: str) -> None:
        self._redis: Any = client
        self._prefix = prefix

    def save(self, act: PreparedAct) -> None:
        """Keep the act, or what became of it."""
        with translate_errors():
            self._redis.set(self._key(act.token), msgspec.json.encode(act), ex=LIFETIME)

    def find(self, token: str, key: str) -> PreparedAct:
        """Return the act; raise NotFound if it was forgotten, or another key prepared it."""
        with translate_errors():
            text = self._redis.get(self._key(token))
        act = msgspec.json.decode(text, type=PreparedAct) if text else None
        if act is None or act.key != key:
            raise NotFound("there is no such preview (any more); they are kept for an hour")
        return act

    def claim(self, token: str) -> bool:
        """Return whether the caller carries it out, and nobody else does now."""
        with translate_errors():
            return bool(self._redis.set(self._begun(token), 1, nx=True, ex=CLAIMED))

    def is_claimed(self, token: str) -> bool:
        """Return whether somebody carries it out, or has begun lately."""
        with translate_errors():
            return bool(self._redis.exists(self._begun(token)))

    def _key(self, token: str) -> str:
        return f"{self._prefix}:act:{{{token}}}"

    def _begun(self, token: str) -> str:
        return f"{self._key(token)}:begun"


MAX_JOBS: Final = 10_000  # of one act; the preview says whether there are more
ACTS: Final[tuple[Act, ...]] = get_args(Act)
SHOWN: Final = 100  # jobs that a preview and a result name
STATES: Final[Mapping[str, Sequence[JobState]]] = {
    "cancel": CANCELLABLE,
    "dismiss": DISMISSABLE,
    "look_up": PARKED,
}
DEFAULT_STATES: Final = {"dismiss": "failed", "replay": "failed", "look_up": "parked"}


@post("/acts")
def prepare_act(deps: DashboardDeps, visit: Visit) -> Answer:
    """Fix the set of jobs that a form chose, and go to its preview."""
    act = _read_act(visit.sent("act"))
    state = visit.sent("state") or DEFAULT_STATES.get(act, "")
    query = read_job_query(visit, {**visit.form, "state": [state]})
    if query.faults:
        raise InvalidChange([Fault("filter", fault) for fault in query.faults])
    refuse_secrets(**query.given)
    chosen, words = choose(deps, visit, query)
    for account in chosen:
        visit.check("replay", account)
    prepared = PreparedAct(
        token=token_urlsafe(18),
        key=visit.key.name,
        act=act,
        words=words,
        only=picked_relations(visit, query),
        chosen_on="/jobs" if holds_secret(unquote_plus(visit.came_from)) else visit.came_from or "/jobs",
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


def group_by_account(ids: Sequence[str]) -> Mapping[str, list[str]]:
    """Return ids of jobs by account."""
    found: dict[str, list[str]] = {}
    for job_id in ids:
        found.setdefault(job_account(job_id), []).append(job_id)
    return found


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
        found = select_jobs(deps.runtime.queries, account, selection, STATES[prepared.act], most=left)
        jobs[account], left = found.jobs, left - len(found.jobs)
        unfit |= found.refused
        more = more or found.more
    return _replace(prepared, jobs={name: ids for name, ids in jobs.items() if ids}, unfit=unfit, more=more)


def _prepare_replays(
    deps: DashboardDeps, visit: Visit, prepared: PreparedAct, chosen: Mapping[str, Selection]
) -> PreparedAct:
    """Return the act with a prepared replay of each account that has anything to replay."""
    correction = _read_correction(visit)
    replays = list[Replay]()
    for account, selection in chosen.items():
        replay = deps.operations.prepare_replay(
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


@get("/acts/{token}", "replay")
def show_act(deps: DashboardDeps, visit: Visit) -> Answer:
    """Show what would be done to which jobs, or once it was done, what became of each."""
    acts = _acts(deps)
    act = acts.find(visit.named("token"), visit.key.name)
    begun = act.state == "prepared" and acts.is_claimed(act.token)
    if act.act == "replay":
        return _show_replays(deps, act, begun)
    shown = [job for ids in act.jobs.values() for job in ids][:SHOWN]
    refused = list(act.refused.items())
    return Page(
        "act.html",
        {
            "act": act,
            "begun": begun,
            "shown": deps.runtime.queries.get_jobs(shown),
            "unfit": list(act.unfit.items())[:SHOWN],
            "refused": refused[:SHOWN],
            "reasons": Counter(act.refused.values()).most_common(),
            "done": act.done[:SHOWN],
        },
    )


def _show_replays(deps: DashboardDeps, act: PreparedAct, begun: bool) -> Page:
    replays = [deps.operations.find_replay(replay) for replay in act.replays]
    shown = [
        entry.job
        for replay in replays
        for entry in deps.runtime.job_admin.replay_entries(replay.id, 0, SHOWN)
    ]
    return Page(
        "act_replay.html",
        {
            "act": act,
            "begun": begun,
            "replays": replays,
            "shown": list(deps.runtime.queries.get_jobs(shown[:SHOWN]).values()),
            "eligible": sum(replay.eligible for replay in replays),
            "refused": sum((Counter(replay.refused) for replay in replays), Counter[str]()),
        },
    )


@post("/acts/{token}")
def carry_out(deps: DashboardDeps, visit: Visit) -> Answer:
    """Carry a prepared act out, once however often the form is sent; then show its result."""
    acts = _acts(deps)
    act = acts.find(visit.named("token"), visit.key.name)
    for account in (*act.jobs, *map(job_account, act.replays)):
        visit.check("replay", account)
    if act.state == "done" or not acts.claim(act.token):
        return SeeOther(f"/acts/{act.token}")
    if act.act == "replay":
        for replay_id in act.replays:
            start_replay(deps, visit, replay_id)
        acts.save(_replace(act, state="done"))
        return SeeOther(f"/replays/{act.replays[0]}" if len(act.replays) == 1 else f"/acts/{act.token}")
    done, refused = _act(deps, visit, act)
    acts.save(_replace(act, state="done", done=tuple(done), refused=refused))
    return SeeOther(f"/acts/{act.token}")


def _act(deps: DashboardDeps, visit: Visit, act: PreparedAct) -> tuple[list[str], dict[str, str]]:
    """Return the jobs that were acted on, and why others were not."""
    note = visit.sent("note")[:200] or act.words[:200]
    service = {
        "cancel": deps.operations.cancel,
        "dismiss": deps.operations.dismiss,
        "look_up": deps.operations.look_up,
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


def _acts(deps: DashboardDeps) -> PreparedActs:
    return PreparedActs(deps.runtime.client, deps.runtime.settings.prefix)


def _replace(act: PreparedAct, **changes: Any) -> PreparedAct:
    return msgspec.structs.replace(act, **changes)
