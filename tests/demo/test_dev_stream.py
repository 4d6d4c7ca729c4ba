"""The stream of `relations dev`: what it says of changes and their ends, and what it keeps to itself."""

import json
import socket
from pathlib import Path

import httpx
import pytest

from ops.dev.processes import KeptPorts, free_port, is_free
from ops.dev.stream import MOST_LINES, JobStream, RefusalStream
from ops.simulator import KeptSimulator, Records, Simulator
from ops.simulator.simulator import keep_account
from tests.support.flow_world import INFO, World, change
from tests.support.simulator_calls import SECRET, TOKEN
from worker.store.queries import RedisQueries
from worker.testing import MemoryStore

BUYER = "estate:address:buyer"


@pytest.fixture
def world() -> World:
    return World(MemoryStore, records=Records(missing=frozenset({("address", 404)})))


def follow(world: World) -> tuple[JobStream, list[str]]:
    assert isinstance(world.store, MemoryStore)
    lines: list[str] = []
    stream = JobStream(RedisQueries(world.store.database), world.accounts, lines.append)
    stream.look()
    return stream, lines


def test_a_change_and_its_end_are_a_line_each_and_what_was_there_before_is_none(world: World) -> None:
    [before] = world.accept(change("create", BUYER, 1, 2))
    stream, lines = follow(world)
    assert lines == []
    [job] = world.accept(change("create", BUYER, 501, 9001, 9002, source="portal"))
    stream.look()
    world.drain()
    stream.look()
    stream.look()
    came, ended = (line[9:] for line in lines)
    assert came == f"acme  in          create {BUYER} 501 → 9001 9002 by portal  {job.job}"
    assert ended == f"acme  succeeded   create {BUYER} 501 → 9001 9002 in 1 request  {job.job}"
    assert before.job not in "".join(lines)


def test_a_failure_says_why_and_a_replay_of_it_is_followed_also_by_a_later_start(world: World) -> None:
    stream, lines = follow(world)
    [job] = world.accept(change("create", BUYER, 501, 404))
    world.drain()
    stream.look()
    assert ": 80 Unknown record" in lines[-1]
    later, again = follow(world)
    world.simulator.seed("token-acme", records=Records())
    world.store.requeue("acme", [job.job])
    for each in (stream, later):
        each.look()
    world.drain()
    for each in (stream, later):
        each.look()
    assert again == lines[-2:]
    assert [line[15:27].split()[0] for line in again] == ["replayed", "succeeded"]


def test_nothing_that_could_name_a_person_is_printed(world: World) -> None:
    stream, lines = follow(world)
    name = "Erika Mustermann"
    world.accept(change("create", "calendar:address", 7, 9001, event_id=name, batch=name))
    world.accept(change("modify", "calendar:address", 7, 9001, info=((INFO, name),)))
    stream.look()
    world.drain()
    stream.look()
    assert len(lines) == 4
    assert "Erika" not in "".join(lines)


def test_of_a_burst_the_lines_are_bounded_and_the_rest_is_counted(world: World) -> None:
    stream, lines = follow(world)
    world.accept(*(change("create", BUYER, 501, child) for child in range(1, 301)))
    stream.look()
    assert len(lines) == MOST_LINES + 1
    assert lines[-1].endswith("acme  and 280 more changes")
    world.drain()
    stream.look()
    assert len(lines) == 2 * (MOST_LINES + 1)
    assert lines[-1].endswith("acme  and 280 more succeeded")


def test_what_webhooks_were_refused_is_said_without_what_they_held(tmp_path: Path) -> None:
    log, lines = tmp_path / "api.log", list[str]()
    log.write_text(json.dumps({"event": "webhook.refused", "source": "old"}) + "\n")
    stream = RefusalStream(log, lines.append)
    refused = {"event": "webhook.refused", "source": "immo", "error": "Unauthorized", "faults": ["Erika"]}
    with log.open("a") as file:
        file.write("no json\n[1]\n" + json.dumps(refused) + "\n" + '{"event": "webhook.ign')
    stream.look()
    with log.open("a") as file:
        file.write('ored", "source": "desk"}\n')
    stream.look()
    assert [line[9:] for line in lines] == [
        "/webhooks/immo  refused (Unauthorized); more in api.log",
        "/webhooks/desk  ignored: there is nothing to do; more in api.log",
    ]


def test_ports_are_kept_unless_somebody_else_has_taken_one(tmp_path: Path) -> None:
    echoed: list[str] = []
    first = KeptPorts(tmp_path).choose("HTTP", 0, echo=echoed.append)
    assert KeptPorts(tmp_path).choose("HTTP", 0, echo=echoed.append) == first
    assert KeptPorts(tmp_path).choose("HTTP", 8080, echo=echoed.append) == 8080
    assert echoed == []
    (tmp_path / "ports.json").write_text("broken")
    assert KeptPorts(tmp_path).choose("HTTP", 0, echo=echoed.append) > 0


def test_a_port_that_is_taken_is_replaced_with_a_word(tmp_path: Path) -> None:
    echoed: list[str] = []
    with socket.socket() as other:
        other.bind(("127.0.0.1", free_port()))
        other.listen()
        taken = other.getsockname()[1]
        assert not is_free(taken)
        KeptPorts(tmp_path).choose("HTTP", taken, echo=echoed.append)
        port = KeptPorts(tmp_path).choose("HTTP", 0, echo=echoed.append)
    assert port != taken
    assert echoed == [f"Port {taken} of the last start is taken: HTTP has {port} now"]


def test_a_kept_simulator_goes_on_with_what_was_written_and_with_what_is_missing(tmp_path: Path) -> None:
    path = tmp_path / "crm.json"
    first = Simulator({TOKEN: SECRET}, records=Records(missing=frozenset({("address", 7)})))
    kept = KeptSimulator(first, path)
    edge = {"relationtype": BUYER, "parentid": 1, "childid": 2, "relationinfo": {"key": "value"}}
    with httpx.Client(transport=httpx.WSGITransport(kept), base_url="http://crm.test") as http:
        seed = {"token": TOKEN, "secret": SECRET, "name": "acme", "relations": [edge]}
        http.post("/_sim/seed", json=seed).raise_for_status()
    second = Simulator({})
    KeptSimulator(second, path)
    assert second.read_accounts(keep_account) == first.read_accounts(keep_account)
    assert second.relations(TOKEN) == {(BUYER, 1, 2): {"key": "value"}}
    assert second.find_token("acme") == TOKEN  # by which a restarted one is asked
