"""`relations dev`: a workbench. The whole system on this machine until Ctrl-C, and what happens in it.

The directory keeps the data, the simulated CRM and the ports: the next start goes on where this ended.
"""

import json
import os
import shlex
import signal
import sys
import tempfile
import threading
import time
import webbrowser
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from secrets import token_urlsafe
from types import FrameType
from typing import Final

from rich.console import Console

from ops.dev.processes import KeptPorts, occupy, require_free_port, write_private
from ops.dev.stack import Shape, Stack, running
from ops.dev.stream import JobStream, RefusalStream
from ops.dev.supervisor import Supervisor
from producers.errors import CannotStart
from worker.errors import RelationsError

POLL: Final = 0.5
ENVIRONMENT: Final = "env.sh"
STREAM_FOLLOWS: Final = "\nWhat comes in, and what becomes of it (--no-stream: nothing):"
ACCOUNTS: Final = ("acme", "berg")  # as the how-tos call them
NOBODY: Final = 404  # an address that the simulated CRMs do not have
CHANGE: Final = {
    "account": ACCOUNTS[0],
    "action": "create",
    "relationtype": "estate:address:buyer",
    "parentid": 501,
    "childid": [9001, 9002],
}


def run(
    *,
    directory: Path | None = None,
    port: int = 8080,
    simulator_port: int = 8090,
    stream: bool = True,
    opens: bool | None = False,
) -> int:
    """Run the system; return 0 after Ctrl-C or SIGTERM, 1 if a part did not start or kept ending.

    2 stands for a port or a directory that another process uses.

    Everything is kept in `directory`, by default a new one that is removed at the end. Port 0 takes any free
    one, at the next start the same. With `stream`, changes and their ends are printed as they happen; with
    `opens`, the pages are opened in a browser (None: where there is a screen).
    """
    console, stopped = Console(highlight=False, soft_wrap=True), threading.Event()

    def stop(number: int, frame: FrameType | None) -> None:
        # Python drops an exception that is raised in a finalizer, but nobody drops the event.
        stopped.set()
        signal.default_int_handler(number, frame)

    # SIGINT, too: a script that runs the stack in the background starts it with SIGINT ignored.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)

    def echo(text: str) -> None:
        console.print(text, markup=False)

    try:
        require_free_port(port, "--port")
        require_free_port(simulator_port, "--simulator-port")
        with (
            _data_directory(directory) as data,
            occupy(data),
            running(data, _make_shape(data, port, simulator_port, echo=echo), echo=echo) as stack,
        ):
            write_private(stack.directory / ENVIRONMENT, environment(stack))
            echo(welcome(stack))
            if has_screen() if opens is None else opens:
                webbrowser.open(stack.url)
            if stream:
                echo(STREAM_FOLLOWS)
            _supervise(stack, stopped, echo=echo, stream=stream)
    except RelationsError as error:
        sys.stderr.write(f"{error}\n")
        return 2 if isinstance(error, CannotStart) else 1
    except KeyboardInterrupt:
        pass
    return 0


def has_screen() -> bool:
    """Return whether a person sits at this terminal, and a browser would have somewhere to show itself."""
    screen = sys.platform == "darwin" or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    return sys.stdout.isatty() and bool(screen)


def _make_shape(directory: Path, port: int, simulator_port: int, *, echo: Callable[[str], None]) -> Shape:
    ports = KeptPorts(directory)
    return Shape(
        accounts=ACCOUNTS,
        api_port=ports.choose("HTTP", port, echo=echo),
        simulator_port=ports.choose("simulator", simulator_port, echo=echo),
        redis_port=ports.choose("Redis", 0, echo=echo),
        password=token_urlsafe(24),
        keep_crm=True,
        missing=(("address", NOBODY),),
    )


def welcome(stack: Stack) -> str:
    """Return the text that says what runs where, and a first lesson."""
    account, environment_file = ACCOUNTS[0], shlex.quote(str(stack.directory / ENVIRONMENT))
    pids = ", ".join(f"{name} {process.pid}" for name, process in stack.processes.items())
    logs = ", ".join(f"{name}.log" for name in stack.processes)
    return f"""
Pages              {stack.url}   sign in with the key
Accounts           {", ".join(stack.credentials)}
Key                {stack.key}
Processes          {pids}
Settings           {stack.directory / "relations.toml"}
Logs               {stack.directory}: {logs}
Data               stays in {stack.directory}: the next start goes on with it; remove it to begin anew
Another terminal   . {environment_file}   lets the commands below find all this

Make one change fail, see why, and replay it:
{lesson(account)}
Send a change as a program does, and see what the CRM holds then:
  curl -s {stack.url}/v1/changes -H 'Authorization: Bearer {stack.key}' -H 'Content-Type: application/json' \\
    -d '{json.dumps(CHANGE)}'
  curl -s '{stack.simulator}/_sim/state?account={account}'

Ctrl-C stops everything."""


def lesson(account: str) -> str:
    """Return the commands that make a change fail, show why, and replay it."""
    return f"""\
  relations send create estate:address:buyer 501 {NOBODY} --account {account}
  relations errors        # there is no address {NOBODY} in the simulated CRM; this lets there be one:
  curl -s "$SIMULATOR/_sim/seed" -d '{{"account": "{account}", "records": {{}}}}'
  relations replay --account {account} --error 80 --yes
  relations explain estate:address:buyer 501 {NOBODY} --account {account}
"""


def environment(stack: Stack) -> str:
    """Return what a shell sources to talk to it: every setting, and URL, SIMULATOR and KEY.

    The program that runs comes first in PATH.
    """
    ours = {name: value for name, value in stack.environ.items() if name.startswith(("RELATIONS_", "DEMO_"))}
    variables = {
        **ours,
        "URL": stack.url,
        "SIMULATOR": stack.simulator,
        "KEY": stack.key,
        "RELATIONS_KEY": stack.key,
    }
    path = f'export PATH={shlex.quote(str(Path(sys.executable).parent))}:"$PATH"\n'
    return path + "".join(f"export {name}={shlex.quote(value)}\n" for name, value in variables.items())


def _supervise(stack: Stack, stopped: threading.Event, *, echo: Callable[[str], None], stream: bool) -> None:
    """Keep all parts running until it is stopped, or until one cannot be kept running."""
    supervisor = Supervisor(stack, echo=echo)
    looks: list[Callable[[], None]] = []
    if stream:
        jobs = JobStream(stack.runtime(wakes=False).queries, ACCOUNTS, echo)
        looks = [jobs.look, RefusalStream(stack.log("api"), echo).look]
    while not stopped.is_set():
        supervisor.tend()
        for look in looks:
            look()
        time.sleep(POLL)


@contextmanager
def _data_directory(directory: Path | None) -> Iterator[Path]:
    if directory:
        try:
            directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RelationsError(
                f"{directory} cannot be made: {error.strerror}; name another by --directory"
            ) from None
        yield directory
        return
    with tempfile.TemporaryDirectory(prefix="relations-dev-", ignore_cleanup_errors=True) as temporary:
        yield Path(temporary)
