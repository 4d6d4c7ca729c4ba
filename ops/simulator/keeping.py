"""A simulator whose CRMs outlive their process: in a file, which is written before a request is answered."""

import os
import threading
from collections.abc import Iterable
from pathlib import Path
from wsgiref.types import StartResponse, WSGIEnvironment

import msgspec

from ops.simulator.api import SimulatedAccount
from ops.simulator.control import Edge
from ops.simulator.crm import Module, Records, Value
from ops.simulator.simulator import Simulator


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
