"""The ports of a directory's stack, the same at every start, so that what was told of them stays true."""

import json
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from ops.dev.processes import free_port

FILE: Final = "ports.json"


class KeptPorts:
    """Chooses ports by name and writes them into a directory."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / FILE
        self._ports: dict[str, int] = {}
        with suppress(OSError, ValueError):
            self._ports = {
                name: int(port) for name, port in json.loads(self._path.read_text("utf-8")).items()
            }

    def choose(self, name: str, wanted: int, *, echo: Callable[[str], None]) -> int:
        """Return the wanted port; for 0 the one of the last start, or if that is taken any free one."""
        port, last = wanted, self._ports.get(name, 0)
        if not port:
            port = last if last and is_free(last) else free_port()
            if last and port != last:
                echo(f"Port {last} of the last start is taken: {name} has {port} now")
        self._ports[name] = port
        self._path.write_text(json.dumps(self._ports), "utf-8")
        return port


def is_free(port: int) -> bool:
    """Return whether nobody listens on this port of 127.0.0.1."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
