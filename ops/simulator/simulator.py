"""The simulator: a WSGI application over the simulated API and the endpoints that look into it.

And one whose CRMs outlive their process: in a file, which is written before a request is answered.
"""

import os
import threading
from collections.abc import Iterable
from pathlib import Path
from wsgiref.types import StartResponse, WSGIEnvironment

import msgspec

from ops.simulator import control
from ops.simulator.api import SimulatedAccount
from ops.simulator.control import Edge
from ops.simulator.crm import Module, Records, Value
from ops.simulator.responses import add_common_headers, page
from ops.simulator.simulated_api import SimulatedApi

API_PATH = "/api/stable/api.php"


class Simulator(SimulatedApi):
    """The onOffice API for relation calls and reads of records, as a WSGI application you can look into.

    In one process with your test, without a socket:

        simulator = Simulator({"my-token": "my-secret"})
        client = httpx.Client(transport=InProcess(simulator))       # ops.simulator.inprocess
        client.post("https://api.example.test/api/stable/api.php", json=body)
        assert simulator.relations("my-token") == {("estate:address:buyer", 501, 9001): {}}

    On a socket, for other processes: `with serve(simulator) as server: server.url`; they look into it under
    `/_sim/`. Its options are those of `SimulatedApi`.
    """

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """One HTTP exchange; raises `Dropped` where the connection is to end without an answer."""
        raw = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        path = environ["PATH_INFO"]
        if path.startswith(control.ROOT):
            route, query = f"{environ['REQUEST_METHOD']} {path}", environ.get("QUERY_STRING", "")
            response = control.respond(
                self, route, query, raw, authorization=environ.get("HTTP_AUTHORIZATION", "")
            )
        else:
            response = self.exchange(raw) if path.endswith("/api.php") else page("404 Not Found")
        response = add_common_headers(response, self.clock(), f"{id(self):x}")
        if response.pause:
            self.sleep(response.pause)
        start_response(response.status, list(response.headers))
        return response.pieces(self.sleep)


class KeptAccount(msgspec.Struct):
    """What is kept of an account: secret, relations, what is special about records, their fields, name."""

    secret: str
    relations: list[Edge]
    records: Records
    fields: dict[Module, dict[int, dict[str, Value]]] = {}
    name: str = ""


class KeptSimulator:
    """A simulator as a WSGI application that begins with what the file holds, and keeps it up to date.

    Faults, switches, the log and late requests are not kept.
    """

    def __init__(self, simulator: Simulator, path: Path) -> None:
        self._simulator, self._path, self._lock = simulator, path, threading.Lock()
        self._kept = b""
        if path.exists():
            self._kept = path.read_bytes()
            self._restore(msgspec.json.decode(self._kept, type=dict[str, KeptAccount]))

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request, after what it changed was written; also of one that gets no answer."""
        try:
            return self._simulator(environ, start_response)
        finally:
            self._keep()

    def _restore(self, accounts: dict[str, KeptAccount]) -> None:
        for token, account in accounts.items():
            self._simulator.account(token, account.secret, account.name)
            infos = {edge.key: edge.relationinfo for edge in account.relations}
            self._simulator.seed(token, infos, records=account.records, fields=account.fields)

    def _keep(self) -> None:
        """Write the CRMs if they changed; the file is replaced, so that it is always whole."""
        with self._lock:
            content = msgspec.json.encode(self._simulator.read_accounts(keep_account))
            if content != self._kept:
                beside = self._path.with_name(f".{self._path.name}")
                beside.touch(mode=0o600)  # it holds the tokens
                beside.write_bytes(content)
                os.replace(beside, self._path)
                self._kept = content


def keep_account(name: str, account: SimulatedAccount) -> KeptAccount:
    """Return what is kept of an account."""
    crm = account.crm
    edges = [Edge(*relation, info) for relation, info in crm.relations().items()]
    return KeptAccount(account.secret, edges, crm.records, crm.fields.as_dict(), name)
