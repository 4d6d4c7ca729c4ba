"""A receiver is told of a batch by real workers, also when these and Redis are killed."""

from pathlib import Path

import httpx

from ops.dev.stack import QUICK, Shape, running
from ops.dev.stack_settings import format_settings
from tests.support.callback_receiver import OLD, receive
from tests.support.deploy_work import message
from tests.support.waiting import wait_until

CALLBACK = """
[callbacks.portal]
url = "{url}"
secret = "{secret}"
accounts = ["nord"]
quiet = 1
networks = ["127.0.0.0/8"]
"""
DATA = {
    "account": "nord",
    "batch": "import-7",
    "accepted": 20,
    "succeeded": 20,
    "superseded": 0,
    "failed": 0,
    "failed_jobs": None,
}


def test_a_batch_is_told_although_the_worker_and_redis_are_killed(tmp_path: Path) -> None:
    shape = Shape(accounts=("nord",), defaults={**QUICK, "window": 0.1}, persist="always", concurrency=1)
    with receive() as receiver:
        settings = format_settings(shape.accounts, shape.defaults, key="")
        callback = CALLBACK.format(url=receiver.url, secret=OLD)
        (tmp_path / "relations.toml").write_text(settings + callback, "utf-8")
        with running(tmp_path, shape) as stack:
            changes = [{**message("nord", number), "batch": "import-7"} for number in range(20)]
            headers = {"Authorization": f"Bearer {stack.key}"}
            sent = httpx.post(f"{stack.url}/v1/changes", headers=headers, json=changes, trust_env=False)
            assert sent.status_code == 202
            runtime = stack.runtime(wakes=False)
            store, callbacks = runtime.store, runtime.callbacks
            wait_until(
                lambda: store.batch_counts("nord", "import-7").get("succeeded") == 20,
                "the batch does not end",
            )
            for part in ("worker", "redis"):  # it has ended, and nobody was told yet
                stack.replace(part)

            def is_delivered() -> bool:
                found = callbacks.store.list_messages("nord").entries
                return bool(found) and all(each.state == "delivered" for each in found)

            wait_until(is_delivered, "nobody is told")
    assert len({each.id for each in receiver.received}) == 1
    assert all(each.verify(OLD)["data"] == DATA for each in receiver.received)
