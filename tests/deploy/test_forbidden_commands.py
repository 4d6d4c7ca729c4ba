"""A user of Redis without CONFIG, CLIENT, ACL and INFO, as hosted servers give one, is enough to work."""

from pathlib import Path

import pytest
import redis

from ops.dev.processes import free_port
from ops.dev.redis_server import RedisServer, find_binary, start_server
from ops.doctor.server import check_redis
from ops.doctor.workers import check_system
from tests.support.clusters import run_command
from tests.support.http_front import BUYER, set_secrets, settings
from worker.contract import from_message
from worker.wakeups import TaskSender
from worker.wiring import Runtime

FORBIDDEN = ("config", "client", "acl", "info", "debug", "keys", "flushall", "shutdown", "module", "latency")


@pytest.fixture
def limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RedisServer:
    set_secrets(monkeypatch)
    return start_server(find_binary(), tmp_path, persist="no", ports=[free_port()])


def test_changes_are_taken_woken_worked_and_looked_at_without_them(
    limited: RedisServer, tmp_path: Path
) -> None:
    with limited:
        rights = [f"-{name}" for name in FORBIDDEN]
        run_command(limited, "ACL SETUSER", "app", "on", ">pw", "~*", "&*", "+@all", *rights)
        url = limited.url.replace("://", "://app:pw@")
        with pytest.raises(redis.exceptions.NoPermissionError):
            redis.Redis.from_url(url).config_get()
        sender = TaskSender(url, "relations")
        runtime = Runtime(settings(tmp_path, url, "http://127.0.0.1:9"), wake=sender.wake)
        runtime.intake().accept([from_message(BUYER).change])
        assert run_command(limited, "LLEN", "relations.flush") == 1
        assert runtime.flush("acme").next_in is not None  # nobody answers there, so it is tried again
        assert runtime.store.counts("acme")["open"] == 1
        runtime.sweep()
        levels = {finding.subject: finding.level for finding in check_redis(runtime)}
        assert levels == {"redis": "warn", "clock": "ok"}
        assert {finding.subject for finding in check_system(runtime.read_health())} == {"sweep"}
        runtime.client.close()


def test_a_purged_queue_loses_no_change(limited: RedisServer, tmp_path: Path) -> None:
    with limited:
        sender = TaskSender(limited.url, "relations")
        woken: list[str] = []
        runtime = Runtime(
            settings(tmp_path, limited.url, "http://127.0.0.1:9"),
            wake=lambda account, seconds: (woken.append(account), sender.wake(account, seconds))[1],
        )
        runtime.intake().accept([from_message(BUYER).change])
        assert sender.app.control.purge() >= 0
        run_command(limited, "DEL", "relations.flush")
        assert runtime.sweep() == 0  # the message may still be on its way
        run_command(limited, "HSET", "relations:{acme}:wake", "at", runtime.metrics.now() - 10_000_000)
        assert runtime.sweep() == 1
        assert run_command(limited, "LLEN", "relations.flush") == 1
        assert woken == ["acme", "acme"]
        runtime.client.close()
