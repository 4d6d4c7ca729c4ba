"""The simulator's own endpoints under `/_sim/`, for tests and demos in other processes.

They show accounts by their names, never a token.
"""

import hmac
from collections.abc import Callable
from dataclasses import replace
from urllib.parse import parse_qs

import msgspec

from ops.simulator.crm import GivenValue, Module, Records
from ops.simulator.faults import KINDS, FaultPlan, InjectedFault, Kind, Record
from ops.simulator.log import LogEntry
from ops.simulator.responses import Response, json
from ops.simulator.simulated_api import SimulatedApi
from ops.simulator.switches import Switches

ROOT = "/_sim/"
UNAUTHORIZED = "401 Unauthorized"
_LOG_LIMIT = "1000"


class Edge(msgspec.Struct, forbid_unknown_fields=True):
    """A relation in a body."""

    relationtype: str
    parentid: int
    childid: int
    relationinfo: dict[str, str] = {}

    @property
    def key(self) -> tuple[str, int, int]:
        """(type, parent, child)."""
        return self.relationtype, self.parentid, self.childid


class Seed(msgspec.Struct, forbid_unknown_fields=True):
    """The body of `POST /_sim/seed`; an unknown token with a `secret` becomes an account, called `name`.

    One that is there already may be given by its name instead, as `account`.
    """

    token: str = ""
    account: str = ""
    secret: str | None = None
    name: str = ""
    relations: list[Edge] = []
    drop: list[Edge] = []
    records: Records | None = None
    fields: dict[Module, dict[int, dict[str, GivenValue] | None]] = {}


class Chance(msgspec.Struct, forbid_unknown_fields=True):
    """A random plan."""

    seed: int
    rate: float
    kinds: tuple[InjectedFault | Kind, ...] = KINDS


class RecordFaults(msgspec.Struct, forbid_unknown_fields=True):
    """The fault of every request that names one of these records."""

    records: list[Record]
    kind: InjectedFault | Kind


class Faults(msgspec.Struct, forbid_unknown_fields=True):
    """The body of `POST /_sim/faults`: script, then chance, then records; empty for no more faults."""

    script: list[InjectedFault | Kind | None] = []
    random: Chance | None = None
    records: RecordFaults | None = None
    token: str | None = None
    account: str = ""

    def plan(self) -> FaultPlan:
        """Return the plan it describes."""
        rest = (
            FaultPlan.random(self.random.seed, self.random.rate, self.random.kinds)
            if self.random
            else FaultPlan()
        )
        named = FaultPlan.of_records(self.records.records, self.records.kind).records if self.records else {}
        return replace(rest, entries=FaultPlan.script(self.script).entries, records=named)


def respond(
    simulator: SimulatedApi, route: str, query: str, body: bytes, *, authorization: str = ""
) -> Response:
    """Answer one control request; `route` is method and path."""
    if simulator.key and not _has_key(authorization, simulator.key):
        return json({"error": "send the key of this simulator as `Authorization: Bearer KEY`"}, UNAUTHORIZED)
    work = _ROUTES.get(route)
    if work is None:
        return json({"error": f"no such endpoint: {route}", "endpoints": sorted(_ROUTES)}, "404 Not Found")
    try:
        return json(
            work(simulator, {key: values[-1] for key, values in parse_qs(query).items()}, body or b"{}")
        )
    except KeyError as error:
        return json({"error": f"unknown or missing: {error.args[0]}"}, "404 Not Found")
    except (ValueError, RecursionError) as error:
        return json({"error": str(error)}, "400 Bad Request")


def _has_key(authorization: str, key: str) -> bool:
    scheme, _, given = authorization.partition(" ")
    return scheme.lower() == "bearer" and hmac.compare_digest(given.strip().encode(), key.encode())


def _find_token(simulator: SimulatedApi, token: str, name: str) -> str:
    """Return the token of a known account; raise KeyError, whose text does not repeat it."""
    return simulator.find_token(name or simulator.name_of(token))


def _state(simulator: SimulatedApi, query: dict[str, str], _: bytes) -> object:
    token = _find_token(simulator, query.get("token", ""), query.get("account", ""))
    edges = [Edge(*relation, info) for relation, info in simulator.relations(token).items()]
    return {
        "relations": edges,
        "violations": [Edge(*relation) for relation in simulator.violations(token)],
        "fields": simulator.fields(token),
    }


def _log(simulator: SimulatedApi, query: dict[str, str], _: bytes) -> object:
    log, limit = simulator.log, int(query.get("limit", _LOG_LIMIT))
    return [_log_entry(simulator, entry) for entry in log[max(0, len(log) - max(0, limit)) :]]


def _log_entry(simulator: SimulatedApi, entry: LogEntry) -> dict[str, object]:
    shown = {name: value for name, value in entry._asdict().items() if name != "token"}
    acts = [act._asdict() for act in entry.acts]
    return {**shown, "acts": acts, "account": simulator.name_of(entry.token)}


def _stats(simulator: SimulatedApi, _: dict[str, str], __: bytes) -> object:
    counted = simulator.stats()
    tokens: dict[str, int] = counted.pop("tokens")  # type: ignore[assignment]
    return {**counted, "accounts": {simulator.name_of(token): count for token, count in tokens.items()}}


def _seed(simulator: SimulatedApi, _: dict[str, str], body: bytes) -> object:
    seed = msgspec.json.decode(body, type=Seed)
    if not seed.token and not seed.account:
        raise ValueError("expected a token, or the name of an account")
    if seed.secret is not None and seed.token:
        simulator.account(seed.token, seed.secret, seed.name)
    token = _find_token(simulator, seed.token, seed.account)
    infos = {edge.key: edge.relationinfo for edge in seed.relations}
    drop = [edge.key for edge in seed.drop]
    simulator.seed(token, infos, drop=drop, records=seed.records, fields=seed.fields)
    return {"relations": len(simulator.relations(token))}


def _faults(simulator: SimulatedApi, _: dict[str, str], body: bytes) -> object:
    faults = msgspec.json.decode(body, type=Faults)
    token = simulator.find_token(faults.account) if faults.account else faults.token
    simulator.inject(faults.plan(), token=token)
    return {"script": len(faults.script), "random": faults.random is not None}


def _switches(simulator: SimulatedApi, _: dict[str, str], body: bytes) -> object:
    simulator.switches = msgspec.json.decode(body, type=Switches)
    return simulator.switches


def _land(simulator: SimulatedApi, _: dict[str, str], __: bytes) -> object:
    return {"landed": simulator.land()}


def _reset(simulator: SimulatedApi, _: dict[str, str], __: bytes) -> object:
    simulator.reset()
    return {}


_ROUTES: dict[str, Callable[[SimulatedApi, dict[str, str], bytes], object]] = {
    f"GET {ROOT}state": _state,
    f"GET {ROOT}log": _log,
    f"GET {ROOT}stats": _stats,
    f"POST {ROOT}seed": _seed,
    f"POST {ROOT}faults": _faults,
    f"POST {ROOT}switches": _switches,
    f"POST {ROOT}land": _land,
    f"POST {ROOT}reset": _reset,
}
