"""The simulator's own endpoints under `/_sim/`, for tests and demos in other processes."""

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

import msgspec

from ops.simulator.crm import Records
from ops.simulator.faults import KINDS, FaultPlan, InjectedFault, Kind, Record
from ops.simulator.responses import Response, json
from ops.simulator.switches import Switches

if TYPE_CHECKING:
    from ops.simulator.simulator import Simulator

ROOT = "/_sim/"
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
    """The body of `POST /_sim/seed`; an unknown token with a `secret` becomes an account."""

    token: str
    secret: str | None = None
    relations: list[Edge] = []
    drop: list[Edge] = []
    records: Records | None = None


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

    def plan(self) -> FaultPlan:
        """Return the plan it describes."""
        rest = (
            FaultPlan.random(self.random.seed, self.random.rate, self.random.kinds)
            if self.random
            else FaultPlan()
        )
        named = FaultPlan.of_records(self.records.records, self.records.kind).records if self.records else {}
        return replace(rest, entries=FaultPlan.script(self.script).entries, records=named)


def respond(simulator: "Simulator", route: str, query: str, body: bytes) -> Response:
    """Answer one control request; `route` is method and path."""
    work = _ROUTES.get(route)
    if work is None:
        return json({"error": f"no such endpoint: {route}", "endpoints": sorted(_ROUTES)}, "404 Not Found")
    try:
        return json(
            work(simulator, {key: values[-1] for key, values in parse_qs(query).items()}, body or b"{}")
        )
    except KeyError as error:
        return json({"error": f"unknown or missing: {error.args[0]}"}, "404 Not Found")
    except ValueError as error:
        return json({"error": str(error)}, "400 Bad Request")


def _state(simulator: "Simulator", query: dict[str, str], _: bytes) -> object:
    relations = simulator.relations(query["token"])
    edges = [Edge(*relation, info) for relation, info in relations.items()]
    return {
        "relations": edges,
        "violations": [Edge(*relation) for relation in simulator.violations(query["token"])],
    }


def _log(simulator: "Simulator", query: dict[str, str], _: bytes) -> object:
    limit = int(query.get("limit", _LOG_LIMIT))
    return [
        entry._asdict() | {"acts": [act._asdict() for act in entry.acts]} for entry in simulator.log[-limit:]
    ]


def _stats(simulator: "Simulator", _: dict[str, str], __: bytes) -> object:
    return simulator.stats()


def _seed(simulator: "Simulator", _: dict[str, str], body: bytes) -> object:
    seed = msgspec.json.decode(body, type=Seed)
    if seed.secret is not None:
        simulator.account(seed.token, seed.secret)
    infos = {edge.key: edge.relationinfo for edge in seed.relations}
    simulator.seed(seed.token, infos, drop=[edge.key for edge in seed.drop], records=seed.records)
    return {"relations": len(simulator.relations(seed.token))}


def _faults(simulator: "Simulator", _: dict[str, str], body: bytes) -> object:
    faults = msgspec.json.decode(body, type=Faults)
    simulator.inject(faults.plan(), token=faults.token)
    return {"script": len(faults.script), "random": faults.random is not None}


def _switches(simulator: "Simulator", _: dict[str, str], body: bytes) -> object:
    simulator.switches = msgspec.json.decode(body, type=Switches)
    return simulator.switches


def _land(simulator: "Simulator", _: dict[str, str], __: bytes) -> object:
    return {"landed": simulator.land()}


def _reset(simulator: "Simulator", _: dict[str, str], __: bytes) -> object:
    simulator.reset()
    return {}


_ROUTES: dict[str, Callable[["Simulator", dict[str, str], bytes], object]] = {
    f"GET {ROOT}state": _state,
    f"GET {ROOT}log": _log,
    f"GET {ROOT}stats": _stats,
    f"POST {ROOT}seed": _seed,
    f"POST {ROOT}faults": _faults,
    f"POST {ROOT}switches": _switches,
    f"POST {ROOT}land": _land,
    f"POST {ROOT}reset": _reset,
}
