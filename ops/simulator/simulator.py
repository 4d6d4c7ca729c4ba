"""The simulator: a WSGI application over the simulated API and the endpoints that look into it."""

from collections.abc import Iterable
from wsgiref.types import StartResponse, WSGIEnvironment

from ops.simulator import control
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
