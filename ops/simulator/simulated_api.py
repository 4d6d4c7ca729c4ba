"""The simulated API behind its HTTP: accounts, clock, faults and log, all of which tests may inspect."""

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from hashlib import sha256
from types import MappingProxyType
from typing import Final, TypeVar

from ops.simulator.api import (
    ApiAnswer,
    SimulatedAccount,
    answer,
    decode,
    refuse,
    requested_actions,
    token_of,
)
from ops.simulator.catalogue import KNOWN_TYPES, ApiRefusal
from ops.simulator.crm import Crm, FieldChanges, Info, Module, Records, Value
from ops.simulator.faults import FaultPlan, InjectedFault, Record
from ops.simulator.log import Log, LogEntry
from ops.simulator.responses import Response, json, respond
from ops.simulator.switches import Switches
from worker.contract import Relation

_EVERYONE = ""
Result = TypeVar("Result")

NOTHING: Final[Mapping[str, str]] = MappingProxyType({})


@dataclass(slots=True)
class _PlanPosition:
    """A plan, and for how many requests it was asked."""

    plan: FaultPlan
    drawn: int = 0

    def draw(self, named: Iterable[Record]) -> InjectedFault | None:
        fault = self.plan.at(self.drawn) or self.plan.of(named)
        self.drawn += 1
        return fault


@dataclass(frozen=True, slots=True)
class _LateRequest:
    """A request that was not answered and reaches the CRM at `due`."""

    due: float
    number: int
    token: str
    body: object


class SimulatedApi:
    """The accounts with their CRMs, and what happens to the body of one request to the API.

    Every token has a CRM of its own until `share` joins them. `switches` chooses among the behaviours the
    documentation leaves open; `inject` makes requests go wrong; `records` says which ids are missing, not
    writable, or brokers (for every CRM; `seed` sets it for one). `clock` gives the time signatures are
    checked against and the `Date` header shows; `sleep` waits for the faults `latency` and `drip`.
    `known_types` maps short names of relation types to the modules of parent and child. `history` bounds the
    log. Other processes are shown `names` (by token) instead of tokens, and have to send the `key`, if there
    is one. All methods may be called from any thread.
    """

    def __init__(
        self,
        accounts: Mapping[str, str],
        *,
        switches: Switches | None = None,
        faults: FaultPlan | None = None,
        records: Records | None = None,
        known_types: Mapping[str, tuple[str, str]] = KNOWN_TYPES,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
        history: int = 10_000,
        names: Mapping[str, str] = NOTHING,
        key: str = "",
    ) -> None:
        self.switches = switches or Switches()
        self.clock, self.sleep = clock, sleep
        self._types, self._records, self._history = known_types, records or Records(), history
        self.key, self._names = key, dict(names)
        self._lock = threading.RLock()
        self._accounts = {
            token: SimulatedAccount(secret, self._empty()) for token, secret in accounts.items()
        }
        self._plans = {_EVERYONE: _PlanPosition(faults or FaultPlan())}
        self._start()

    # Inspecting

    @property
    def log(self) -> tuple[LogEntry, ...]:
        """The last requests, oldest first."""
        with self._lock:
            return tuple(self._log.entries)

    def relations(self, token: str) -> dict[Relation, dict[str, str]]:
        """Return what the CRM of this token holds now: relation → info.

        A `Relation` equals its plain (type, parent, child) tuple.
        """
        with self._lock:
            self._land_due()
            return self._accounts[token].crm.relations()

    def fields(self, token: str) -> dict[Module, dict[int, dict[str, Value]]]:
        """Return the fields of the records: module → id → field → value."""
        with self._lock:
            return self._accounts[token].crm.fields.as_dict()

    def read_accounts(self, read: Callable[[str, SimulatedAccount], Result]) -> dict[str, Result]:
        """Return of every token what is read of its account, by the name that it was given, at one moment."""
        with self._lock:
            return {
                token: read(self._names.get(token, ""), account) for token, account in self._accounts.items()
            }

    def violations(self, token: str) -> tuple[Relation, ...]:
        """Return every delete that left an estate without a broker, and create of a second building."""
        with self._lock:
            return tuple(self._accounts[token].crm.violations)

    def stats(self) -> dict[str, object]:
        """Return counters over all requests since the start or the last reset, and what is there now."""
        with self._lock:
            crms = {id(account.crm): account.crm for account in self._accounts.values()}.values()
            now = {
                "pending": len(self._late),
                "relations": sum(map(len, crms)),
                "violations": sum(len(crm.violations) for crm in crms),
            }
            return asdict(self._log.totals) | now

    def name_of(self, token: str) -> str:
        """Return what an account is called where its token is not to be shown."""
        with self._lock:
            if not token or token in self._names:
                return self._names.get(token, "")
        return f"account-{sha256(token.encode()).hexdigest()[:8]}"

    def find_token(self, name: str) -> str:
        """Return the token of the account of this name; raise KeyError, which does not repeat it."""
        with self._lock:
            for token in self._accounts:
                if self.name_of(token) == name:
                    return token
        raise KeyError("account")

    # Preparing

    def account(self, token: str, secret: str, name: str = "") -> None:
        """Add an account with an empty CRM, or change the secret, and if one is given the name, of one."""
        with self._lock:
            self._accounts.setdefault(token, SimulatedAccount(secret, self._empty())).secret = secret
            if name:
                self._names[token] = name

    def share(self, token: str, other: str) -> None:
        """From now on `other` works on the CRM of `token`."""
        with self._lock:
            self._accounts[other].crm = self._accounts[token].crm

    def seed(
        self,
        token: str,
        relations: Iterable[tuple[str, int, int]] | Mapping[tuple[str, int, int], Info] = (),
        *,
        drop: Iterable[tuple[str, int, int]] = (),
        records: Records | None = None,
        fields: FieldChanges = MappingProxyType({}),
    ) -> None:
        """Add relations (with their info, if a mapping) and remove those of `drop`, past all rules.

        So do people who edit in the CRM's own windows. `records` replaces what is special about records;
        `fields` sets the fields that it names and takes away those, and those records, that are None.
        """
        infos = relations if isinstance(relations, Mapping) else {relation: {} for relation in relations}
        with self._lock:
            crm = self._accounts[token].crm
            crm.records = records or crm.records
            crm.fields.change(fields)
            for relation in drop:
                crm.drop(Relation(*relation))
            for relation, info in infos.items():
                crm.put(Relation(*relation), info)

    def inject(self, plan: FaultPlan, *, token: str | None = None) -> None:
        """Inject faults by this plan from the next request on.

        For one token, or for every token that has no plan of its own.
        """
        with self._lock:
            self._plans[token or _EVERYONE] = _PlanPosition(plan)

    def land(self) -> int:
        """Execute all late requests now and return how many; signatures count as of their own time."""
        with self._lock:
            return self._land_due(early=True)

    def reset(self) -> None:
        """Accounts, switches and records with their fields stay; all else goes, log and counters too."""
        with self._lock:
            for account in self._accounts.values():
                account.crm.clear()
            self._plans = {_EVERYONE: _PlanPosition(FaultPlan())}
            self._start()

    # One exchange

    def _start(self) -> None:
        self._log = Log(self._history)
        self._late: list[_LateRequest] = []
        self._count = 0

    def _empty(self) -> Crm:
        return Crm(types=self._types, records=self._records)

    def exchange(self, raw: bytes) -> Response:
        """Answer the body of one request; raises `Dropped` where the connection ends without an answer."""
        try:
            body = decode(raw)
        except ApiRefusal as refused:
            return self._reject(refused)
        with self._lock:
            self._land_due()
            fault = self._plans.get(token_of(body), self._plans[_EVERYONE]).draw(self._records_of(body))
            result = self._run(body, fault)
        return respond(result, fault)

    def _reject(self, refused: ApiRefusal) -> Response:
        with self._lock:
            self._log.add(LogEntry(self._number(), self.clock(), "", (), "", executed=False))
        return json(refuse(refused).body)

    def _records_of(self, body: object) -> Iterator[Record]:
        """Yield the records that a request names."""
        for act in requested_actions(body):
            for module, ids in zip(self._types.get(act.type, ()), (act.parents, act.children), strict=False):
                yield from ((module, number) for number in ids)

    def _number(self) -> int:
        self._count += 1
        return self._count - 1

    def _run(self, body: object, fault: InjectedFault | None) -> ApiAnswer:
        number, now, token, kind = self._number(), self.clock(), token_of(body), fault.kind if fault else ""
        executes = fault is None or fault.executes
        if executes:
            result = answer(
                body, now, accounts=self._accounts, switches=self.switches, half=kind == "half_star"
            )
        else:
            result = ApiAnswer({}, requested_actions(body))
        if fault and fault.kind == "late":
            self._late.append(_LateRequest(now + fault.seconds, number, token, body))
        self._log.add(LogEntry(number, now, token, result.acts, kind, executes))
        return result

    def _land_due(self, *, early: bool = False) -> int:
        """Execute late requests as of their own time and in its order, however much later this is called."""
        if not self._late:
            return 0
        now = self.clock()
        landing = sorted((late for late in self._late if early or late.due <= now), key=lambda late: late.due)
        self._late = [late for late in self._late if not early and late.due > now]
        for late in landing:
            at = min(late.due, now)
            acts = answer(late.body, at, accounts=self._accounts, switches=self.switches).acts
            self._log.add(LogEntry(late.number, at, late.token, acts, "late", executed=True, landed=True))
        return len(landing)
