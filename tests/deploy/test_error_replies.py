"""What a server answers in place of its work: it is told in plain words, waited for, and nothing is lost."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path

import pytest

from ops.dev.redis_server import RedisServer, run_server
from ops.dev.stack import QUICK, Shape, Stack
from ops.dev.stack import running as running_stack
from tests.support.cli_runner import make_cli, make_environ, write_settings
from tests.support.deploy_work import CHANGE
from tests.support.error_replies import Command, ErrorReplies
from tests.support.http_front import BUYER, Front, problem, running
from tests.support.waiting import wait_until
from worker.errors import StoreUnavailable
from worker.ports.pace import Pause

WRITES = (
    *(
        "BRPOP",
        "LPUSH",
        "RPUSH",
        "EVAL",
        "EVALSHA",
        "HSET",
        "HDEL",
        "HINCRBY",
        "ZADD",
        "ZREM",
        "SADD",
        "SREM",
    ),
    *("SET", "DEL", "EXPIRE", "PUBLISH"),
)


def is_write(command: Command) -> bool:
    return command[0].decode().upper() in WRITES


def is_any(_command: Command) -> bool:
    return True


def is_called(*names: str) -> Callable[[Command], bool]:
    return lambda command: command[0].decode().upper() in names


MISCONF = (
    "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk. "
    "Commands that may modify the data set are disabled, because this instance is configured to report "
    "errors during writes if RDB snapshotting fails (stop-writes-on-bgsave-error option). "
    "Please check the Redis logs for details about the RDB error."
)
REPLIES = {
    "NOREPLICAS Not enough good replicas to write.": (is_write, "too few replicas keep up"),
    MISCONF: (is_write, "it cannot write to its disk"),
    "MISCONF Errors writing to the AOF file: No space left on device": (is_write, "it cannot write"),
    "READONLY You can't write against a read only replica.": (is_write, "it is a replica"),
    "OOM command not allowed when used memory > 'maxmemory'.": (is_write, "it is full"),
    "LOADING Redis is loading the dataset in memory": (is_any, "it is loading its data"),
    "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.": (
        is_any,
        "a replica without a master",
    ),
    "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.": (
        is_any,
        "a script runs too long",
    ),
    "WRONGPASS invalid username-password pair or user is disabled.": (is_any, "user and password in the URL"),
    "DENIED Redis is running in protected mode because no password is set for the default user.": (
        is_any,
        "it has no password, so it serves its own machine alone",
    ),
    "NOPERM User app has no permissions to run the 'evalsha' command": (
        is_called("EVALSHA", "EVAL"),
        "its user lacks a right",
    ),
    "NOPERM No permissions to access a key": (is_write, "its user lacks a right"),
    "CLUSTERDOWN The cluster is down": (is_any, "a slot that nobody serves"),
    "ERR unknown command 'EVALSHA', with args beginning with: ": (
        is_called("EVALSHA", "EVAL"),
        "it lacks a command",
    ),
    "ERR max requests limit exceeded. Limit: 10000, Usage: 10001.": (is_any, "it takes no more"),
}
TOLD = ("broker.lost", "store.unavailable", "sweep.failed", "wake.failed")
MOST_REFUSALS = 60  # a second, of a worker, beat and whom they answer
CASES = [pytest.param(reply, *case, id=f"{reply[:24]}-{case[0].__name__}") for reply, case in REPLIES.items()]


@pytest.fixture
def front(tmp_path: Path, redis_url: str) -> Iterator[tuple[Front, ErrorReplies]]:
    with ErrorReplies(RedisServer(redis_url)) as replies, running(tmp_path, replies.url) as made:
        yield made, replies


@pytest.mark.parametrize(("reply", "refuses", "meaning"), CASES)
def test_a_refusal_is_told_wherever_it_is_met_and_what_was_accepted_is_done_when_it_is_over(
    reply: str,
    refuses: Callable[[Command], bool],
    meaning: str,
    front: tuple[Front, ErrorReplies],
    tmp_path: Path,
) -> None:
    served, replies = front
    runtime = served.runtime
    accepted = served.client().post("/v1/changes", json=BUYER)
    assert accepted.status_code == 202
    replies.answer(reply, refuses)

    answer = served.client().post("/v1/changes", json={**BUYER, "childid": 9002})
    assert meaning in problem(answer, 503)["detail"]
    assert int(answer.headers["Retry-After"]) > 0
    for act in (
        lambda: runtime.flush("acme"),
        lambda: runtime.limiter.book("acme", rate=1.0, burst=1, max_wait=0.0),
        lambda: runtime.store.pause("acme", Pause("operator")),
    ):
        with pytest.raises(StoreUnavailable, match="Redis cannot be used: "):
            act()
    wait_until(lambda: meaning in problem(served.client().get("/readyz"), 503)["detail"], "it is not told")
    for path in ("/v1/jobs?account=acme", "/v1/errors?account=acme", "/metrics"):
        assert served.client("admin").get(path).status_code in (200, 503), path
    assert "request.failed" not in [event for event, _ in served.events]

    cli = make_cli(make_environ(write_settings(tmp_path, "http://127.0.0.1:1", "acme"), replies.url))
    sent = cli("send", "create", "estate:address:buyer", "1", "2", "--account", "acme", code=2)
    assert meaning in sent.stderr
    assert meaning in cli("doctor", code=1).stdout

    replies.recover()
    served.drain()
    assert served.job(accepted.json()["jobs"][0]["id"]).state == "succeeded"


@pytest.mark.parametrize("first", range(1, 10))
def test_a_flush_that_is_refused_in_the_middle_ends_and_the_next_one_goes_on(
    first: int, front: tuple[Front, ErrorReplies]
) -> None:
    served, replies = front
    accepted = served.client().post("/v1/changes", json=[BUYER, {**BUYER, "childid": 9002}]).json()["jobs"]
    numbers = count(1)

    def is_its_turn(command: Command) -> bool:
        return is_write(command) and first <= next(numbers) < first + 2

    replies.answer("NOPERM User app has no permissions to run the 'evalsha' command", is_its_turn)
    with suppress(StoreUnavailable):
        served.runtime.flush("acme")
    replies.recover()
    served.drain()
    assert {served.job(each["id"]).state for each in accepted} == {"succeeded"}


@pytest.fixture(scope="module")
def behind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Stack, ErrorReplies]]:
    """Run a stack whose server answers as it is told."""
    folder = tmp_path_factory.mktemp("behind")
    with run_server(folder / "redis") as server, ErrorReplies(server) as replies:
        shape = Shape(accounts=("nord",), defaults={**QUICK, "window": 0.1}, store=replies.url, concurrency=1)
        with running_stack(folder / "stack", shape) as stack:
            yield stack, replies


def read_troubles(stack: Stack) -> list[str]:
    """Return what worker and beat said of a server that refuses."""
    lines = [
        json.loads(line)
        for part in ("worker", "beat")
        for line in stack.log(part).read_text("utf-8").splitlines()
    ]
    return [line["error"] for line in lines if line["event"] in TOLD]


@pytest.mark.parametrize(
    ("reply", "refuses"),
    [
        ("NOREPLICAS Not enough good replicas to write.", is_write),
        ("NOPERM User app has no permissions to run the 'brpop' command", is_called("BRPOP")),
        ("ERR unknown command 'EVAL', with args beginning with: ", is_called("EVAL", "EVALSHA")),
    ],
    ids=lambda case: case.split()[0] if isinstance(case, str) else "",
)
def test_worker_and_beat_outlive_a_refusal_say_it_once_and_do_not_hammer_the_server(
    reply: str, refuses: Callable[[Command], bool], behind: tuple[Stack, ErrorReplies]
) -> None:
    (stack, replies), batch = behind, reply.partition(" ")[0]
    headers, earlier = {"Authorization": f"Bearer {stack.key}"}, len(read_troubles(stack))
    children = count(1)

    def send() -> int:
        change = {**CHANGE, "childid": next(children), "batch": batch}
        return stack.http.post(f"{stack.url}/v1/changes", json=change, headers=headers).status_code

    assert send() == 202
    replies.answer(reply, refuses)
    replies.refused.clear()
    accepted = [202, *(send() for _ in range(4))].count(202)
    began = time.monotonic()
    wait_until(lambda: len(read_troubles(stack)) > earlier, "it is not told")
    replies.recover()
    assert replies.refused.total() < MOST_REFUSALS * (1 + time.monotonic() - began)
    wait_until(lambda: send() == 202, "nothing is accepted", seconds=5)
    counts = stack.runtime(wakes=False).store.batch_counts
    wait_until(lambda: counts("nord", batch).get("succeeded", 0) == accepted + 1, "lost")
    assert not stack.ended()
    assert len(read_troubles(stack)) <= earlier + 4, read_troubles(stack)
    assert "Traceback" not in "".join(stack.log(part).read_text("utf-8") for part in ("worker", "beat"))
