"""`relations dev`: run the whole system on this machine until Ctrl-C, and print how to talk to it."""

import json
import shlex
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from secrets import token_urlsafe
from typing import Final, NoReturn

from rich.console import Console

from ops.dev.processes import occupy, require_free_port, write_private
from ops.dev.stack import Shape, Stack, running
from ops.dev.supervisor import Supervisor
from producers.errors import CannotStart
from worker.errors import RelationsError

POLL: Final = 0.5
ENVIRONMENT: Final = "env.sh"
CHANGE: Final = {
    "account": "nord",
    "action": "create",
    "relationtype": "estate:address:buyer",
    "parentid": 501,
    "childid": [9001, 9002],
}


def run(*, directory: Path | None = None, port: int = 8080, simulator_port: int = 8090) -> int:
    """Run the system; return 0 after Ctrl-C or SIGTERM, 1 if a part did not start or kept ending.

    2 stands for a port or a directory that another process uses.

    Data and logs are in `directory`, by default a new one that is removed at the end. Port 0 takes any free
    one.
    """
    console = Console(highlight=False, soft_wrap=True)
    # SIGINT, too: a script that runs the stack in the background starts it with SIGINT ignored.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    shape = Shape(api_port=port, simulator_port=simulator_port, password=token_urlsafe(24))
    try:
        require_free_port(port, "--port")
        require_free_port(simulator_port, "--simulator-port")
        with (
            _data_directory(directory) as data,
            occupy(data),
            running(data, shape, echo=console.print) as stack,
        ):
            write_private(stack.directory / ENVIRONMENT, environment(stack))
            console.print(welcome(stack))
            _supervise(stack, echo=console.print)
    except RelationsError as error:
        sys.stderr.write(f"{error}\n")
        return 2 if isinstance(error, CannotStart) else 1
    except KeyboardInterrupt:
        return 0


def welcome(stack: Stack) -> str:
    """Return the text that says what runs where and how to use it."""
    pids = ", ".join(f"{name} {process.pid}" for name, process in stack.processes.items())
    logs = ", ".join(f"{name}.log" for name in stack.processes)
    return f"""
Accounts           {", ".join(stack.credentials)}
Key                {stack.key}
Processes          {pids}
Settings           {stack.directory / "relations.toml"}
Logs               {stack.directory}: {logs}
Data               gone when you stop, unless you named a directory
Another terminal   . {shlex.quote(str(stack.directory / ENVIRONMENT))}   lets the other commands find all this

Send a change:
  curl -s {stack.url}/v1/changes -H 'Authorization: Bearer {stack.key}' -H 'Content-Type: application/json' \\
    -d '{json.dumps(CHANGE)}'
What the CRM holds then:
  curl -s '{stack.simulator}/_sim/state?account=nord'

Ctrl-C stops everything."""


def environment(stack: Stack) -> str:
    """Return what a shell sources to talk to it: every setting, and URL, SIMULATOR and KEY."""
    ours = {name: value for name, value in stack.environ.items() if name.startswith(("RELATIONS_", "DEMO_"))}
    variables = {
        **ours,
        "URL": stack.url,
        "SIMULATOR": stack.simulator,
        "KEY": stack.key,
        "RELATIONS_KEY": stack.key,
    }
    return "".join(f"export {name}={shlex.quote(value)}\n" for name, value in variables.items())


def _supervise(stack: Stack, *, echo: Callable[[str], None]) -> NoReturn:
    """Keep all parts running until Ctrl-C, or until one cannot be kept running."""
    supervisor = Supervisor(stack, echo=echo)
    while True:
        supervisor.tend()
        time.sleep(POLL)


@contextmanager
def _data_directory(directory: Path | None) -> Iterator[Path]:
    if directory:
        directory.mkdir(parents=True, exist_ok=True)
        yield directory
        return
    with tempfile.TemporaryDirectory(prefix="relations-dev-", ignore_cleanup_errors=True) as temporary:
        yield Path(temporary)
