"""Two environments and a foreign Celery application on one Redis, each with a user for its own prefix."""

from contextlib import ExitStack
from pathlib import Path

from celery import Celery

from ops.dev.redis_server import run_server
from ops.dev.stack import QUICK, Shape, Stack, running
from tests.support.clusters import run_command
from tests.support.deploy_work import CHANGE
from tests.support.waiting import wait_until

QUICKER = {**QUICK, "window": 0.1}


def counts_of(stack: Stack) -> dict[str, int]:
    return stack.runtime(wakes=False).store.batch_counts("nord", "mixed")


def test_environments_on_one_redis_see_nothing_of_each_other_nor_of_others(tmp_path: Path) -> None:
    with run_server(tmp_path / "redis") as server, ExitStack() as stacks:
        foreign = ("some-tag", '[{"headers": {}, "properties": {}}, "", "celery"]')
        run_command(server, "ZADD", "unacked_index", 1, foreign[0])
        run_command(server, "HSET", "unacked", *foreign)
        urls = {}
        for prefix, channels in (("relations", ["&relations*"]), ("staging", [])):
            run_command(server, "ACL SETUSER", prefix, "on", ">pw", f"~{prefix}*", *channels, "+@all")
            urls[prefix] = server.url.replace("://", f"://{prefix}:pw@")
        production, staging = (
            stacks.enter_context(
                running(
                    tmp_path / prefix,
                    Shape(
                        accounts=("nord",),
                        defaults={**QUICKER, "mode": mode},
                        parts=("worker", "beat"),
                        prefix=prefix,
                        store=urls[prefix],
                        concurrency=1,
                    ),
                )
            )
            for prefix, mode in (("relations", "write"), ("staging", "observe"))
        )
        producer = Celery(broker=server.url)
        for prefix, children in (("relations", range(1, 4)), ("staging", range(101, 141))):
            for child in children:
                change = {**CHANGE, "childid": child, "batch": "mixed"}
                producer.send_task("relations.accept", [change], queue=f"{prefix}.intake", ignore_result=True)
        wait_until(lambda: counts_of(production).get("succeeded") == 3, "not all was written")
        wait_until(lambda: counts_of(staging).get("accepted") == 40, "not all was taken")
        requests = staging.runtime(wakes=False).queries.list_requests
        wait_until(lambda: bool(requests("nord").entries), "nothing was observed")
        assert counts_of(production) == {"accepted": 3, "succeeded": 3}
        assert counts_of(staging) == {"accepted": 40}

        assert len(production.celery().control.ping(timeout=1.0, limit=2)) == 1
        assert "control.refused" in staging.log("worker").read_text("utf-8")
        others = ("unacked", "unacked_index", "_kombu")
        assert {
            key for key in run_command(server, "KEYS", "*") if not key.startswith((*urls, *others))
        } == set()
        assert run_command(server, "HGETALL", "unacked") == dict([foreign])
        refused = {entry["reason"] for entry in run_command(server, "ACL LOG")}
        assert refused <= {"channel"}
