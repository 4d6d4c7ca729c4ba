"""Celery configures the application late: nothing happens at import, and faulty settings are one message."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.waiting import HANGS_AFTER
from worker.celery_config import sender_config, worker_config
from worker.config import load_settings

FAULTY = '[defaults]\nrate = "fast"\n[accounts.acme]\ntoken = "env:NOWHERE"\nsecret = "env:NOWHERE"\n'
MESSAGE = """The settings cannot be used:
  defaults.rate: expected a positive number, got "fast"
  accounts.acme.token: env:NOWHERE is empty or not set
  accounts.acme.secret: env:NOWHERE is empty or not set
"""
IMPORTING = """
import kombu.transport.redis, logging, sys
before = kombu.transport.redis.Transport.Channel, list(logging.getLogger().handlers)
import worker.tasks
from celery import signals
assert before == (kombu.transport.redis.Transport.Channel, logging.getLogger().handlers)
assert not worker.tasks.app.configured
assert not [name for name in ("setup_logging", "worker_ready") if getattr(signals, name).receivers]
"""
NAMING = """
import sys
import worker.celery_config, worker.wakeups
assert not {"celery", "kombu"} & set(sys.modules), "slow to import, and most producers never need them"
"""
CONFIGURING = """
import kombu.transport.redis
from worker.app import app
queues = [queue.name for queue in app.conf.task_queues]
assert queues == ["relations.intake", "relations.flush", "relations.ops"]
assert app.connection_for_read().transport.Channel.__module__ == "worker.celery_broker"
assert sorted(name for name in app.tasks if name.startswith("relations.")) == []
app.loader.import_default_modules()
assert sorted(name for name in app.tasks if name.startswith("relations.")) == [
    "relations.accept", "relations.flush", "relations.replay", "relations.sweep"
]
"""
LISTENING = """
from worker.app import app
app.Worker(pool="solo")
print(app.amqp.queues["celery"].name, sorted(app.amqp.queues.consume_from))
"""
SENDING = """
import kombu.transport.redis
from celery import Celery
from worker.wakeups import TaskSender
before = kombu.transport.redis.Transport.Channel
own = TaskSender("redis://127.0.0.1:1/0", "relations").app.connection_for_write()
assert own.transport.Channel.__module__ == "worker.celery_broker"
assert Celery(broker="redis://127.0.0.1:1/0").connection().transport.Channel is before is (
    kombu.transport.redis.Transport.Channel
), "a program around the SDK keeps its own Celery"
"""


def run(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a command of this Python in the folder, with no settings but those in the folder."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("RELATIONS_")}
    return subprocess.run(
        [sys.executable, *command], cwd=folder, env=env, capture_output=True, text=True, timeout=HANGS_AFTER
    )


@pytest.fixture
def faulty(tmp_path: Path) -> Path:
    """Return a folder with settings that cannot be used."""
    (tmp_path / "relations.toml").write_text(FAULTY)
    return tmp_path


@pytest.mark.parametrize("command", ["worker", "beat", "inspect ping"])
def test_faulty_settings_are_one_message_with_every_fault_and_exit_code_2(faulty: Path, command: str) -> None:
    ended = run(faulty, "-m", "celery", "-A", "worker.app", *command.split())
    assert (ended.returncode, ended.stderr) == (2, MESSAGE)


def test_a_worker_for_a_queue_that_there_is_not_says_which_there_are(tmp_path: Path) -> None:
    ended = run(tmp_path, "-m", "celery", "-A", "worker.app", "worker", "-Q", "relations.flush,ops")
    assert ended.returncode == 2
    assert ended.stderr.splitlines()[-1] == (
        "Error: -Q: there is no queue ops; there are relations.intake, relations.flush, relations.ops"
    )
    assert "Traceback" not in ended.stderr


def test_a_worker_that_sends_to_a_queue_of_others_takes_nothing_from_it(tmp_path: Path) -> None:
    ended = run(tmp_path, "-c", LISTENING)
    assert ended.stdout == "celery ['relations.flush', 'relations.intake', 'relations.ops']\n"


@pytest.mark.parametrize("script", [IMPORTING, NAMING, SENDING], ids=["importing", "naming", "sending"])
def test_nothing_is_read_patched_or_set_up_at_import(faulty: Path, script: str) -> None:
    ended = run(faulty, "-c", script)
    assert (ended.returncode, ended.stderr) == (0, "")


def test_the_application_is_configured_when_celery_asks_for_it(tmp_path: Path) -> None:
    ended = run(tmp_path, "-c", CONFIGURING)
    assert (ended.returncode, ended.stderr) == (0, "")


def test_a_message_comes_back_later_than_the_longest_flush_and_a_worker_ends_after_it(tmp_path: Path) -> None:
    account = '[accounts.{}]\ntoken = "env:T"\nsecret = "env:T"\ntimeout = {}\n'
    (tmp_path / "relations.toml").write_text(account.format("fast", 5) + account.format("slow", 60))
    config = worker_config(load_settings({"T": "t"}, tmp_path))
    assert config["broker_transport_options"]["visibility_timeout"] == 20.0 + 60.0 + 30.0
    assert config["worker_soft_shutdown_timeout"] == 70.0
    assert config["broker_transport_options"]["unacked_key"] == "relations/unacked"
    assert config["worker_disable_prefetch"]


def test_rabbitmq_redelivers_by_itself(tmp_path: Path) -> None:
    config = worker_config(load_settings({"RELATIONS_BROKER_URL": "amqps://u:p@rabbit//"}, tmp_path))
    assert config["broker_transport_options"] == {"confirm_publish": True}
    assert not config["worker_disable_prefetch"]


def test_a_sender_connects_to_the_same_broker_and_gives_up_soon() -> None:
    config = sender_config("redis+sentinel://a,b/main", "relations")
    assert config["broker_url"] == "sentinel://a:26379/0;sentinel://b:26379/0"
    assert config["broker_transport_options"]["master_name"] == "main"
    assert config["broker_connection_timeout"] == 5.0
