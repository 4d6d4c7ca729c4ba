"""Every command of operators says and does the same over HTTP as straight on Redis.

Two accounts are treated alike: what is acted on `acme` straight on Redis is acted on `berg` over HTTP. Ids
and times differ from run to run, so both outputs are compared with these taken out.
"""

import json
import re
from base64 import b64decode
from collections import Counter
from collections.abc import Iterator
from datetime import UTC
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import msgspec
import pytest
from click.testing import Result
from hypothesis import given
from hypothesis import strategies as st

from ops.cli.commands.requests import describe_request
from ops.cli.context import CommandContext
from ops.cli.errors import Exit
from ops.operations.filters import write_filter
from ops.operations.http import HttpOperations
from ops.operations.http_calls import HttpCalls
from ops.serializers.drift import read_drifted, serialize_drift_page
from ops.serializers.replays import ReplayDict, read_replay, serialize_replay
from ops.simulator import Records, Simulator, serve
from ops.web.forms import DriftedForm, RepairForm
from ops.web.routes import operator_routes
from producers.portals import Relations
from producers.portals.http.application import application
from producers.portals.http.query import JobQuery, read_query
from producers.portals.http.server import Server
from producers.portals.serializers import job_json, read_job
from producers.services import build_services
from producers.webhooks.record import make_delivery_id, map_delivery, record_delivery, record_refusal
from producers.webhooks.signatures import WebhookDelivery
from tests.support.cli_runner import MISSING, TOKEN, Cli, make_cli
from tests.support.http_front import YESTERDAY, sha256
from tests.support.store_steps import claim_all
from tests.support.store_values import make_request
from worker.config import load_settings
from worker.contract import Reference, Relation, from_message
from worker.errors import RelationsError
from worker.ports.drift import DriftedRelation, DriftPage
from worker.ports.records import Dismissal, Failure, JobFilter, JobRecord
from worker.ports.references import JobReference, Parking
from worker.ports.replays import Replay
from worker.ports.store import UnreadableMessage
from worker.wiring import Runtime

BUYER = "estate:address:buyer"
FIELDS: Any = {
    "estate": {501: {"objektnr_extern": "PC910"}},
    "address": {21: {"email": "two@example.test"}, 22: {"email": "two@example.test"}},
}
PARKED = {"parentid": "estate:objektnr_extern=PC910"}
ALSO_MISSING = 8888  # an address the simulator does not have
KEY, READ_ONLY, SEND_ONLY = "canary-operator", "canary-reader", "canary-sender"
KEYS = f"""
[keys.operator]
sha256 = "{sha256(KEY)}"
accounts = ["acme", "berg", "unrouted"]
can = ["send", "read", "replay", "admin"]
[keys.reader]
sha256 = "{sha256(READ_ONLY)}"
accounts = ["acme"]
can = ["read"]
[keys.sender]
sha256 = "{sha256(SEND_ONLY)}"
accounts = ["acme"]
can = ["send"]
"""
ID = re.compile(r"\b[0-9a-hj-km-np-tv-z]{18}\b")
TIME = re.compile(
    r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)?|\b\d\d:\d\d:\d\d\b|\b\d+\.\d\d+\b"
)


COUNTS = st.dictionaries(st.sampled_from(["applied", "failed", "stale"]), st.integers(0, 9))


class Ways(NamedTuple):
    """The same command line twice: straight on Redis, and over HTTP; and the store that both work on."""

    direct: Cli
    remote: Cli
    runtime: Runtime
    env: dict[str, str]
    url: str


@pytest.fixture
def ways(two_accounts: dict[str, str], tmp_path: Path, simulator: Simulator) -> Iterator[Ways]:
    missing = frozenset({("address", MISSING), ("address", ALSO_MISSING)})
    simulator.seed(TOKEN, records=Records(missing=missing), fields=FIELDS)
    with Path(two_accounts["RELATIONS_CONFIG"]).open("a") as file:
        file.write(KEYS)
    settings = load_settings(two_accounts, tmp_path)
    runtime = Runtime(settings, wake=lambda *_: None, emit=lambda *_, **__: None)
    routes = operator_routes(
        runtime, send_replay=lambda id_: build_services(runtime).replays.run(id_) and None
    )
    nowhere = {
        **dict.fromkeys(two_accounts, ""),
        "RELATIONS_CONFIG": "/nowhere.toml",
        "RELATIONS_REDIS_URL": "redis://127.0.0.1:1/0",
        "RELATIONS_KEY": KEY,
    }
    with Server(application(runtime, more_routes=routes), port=0) as server:
        remote = make_cli({**nowhere, "RELATIONS_URL": server.url})
        direct = make_cli({**two_accounts, "RELATIONS_KEY": ""})
        yield Ways(direct, remote, runtime, two_accounts, server.url)
    runtime.client.close()


def send(runtime: Runtime, account: str, *children: int | str | list[int], **more: Any) -> list[str]:
    change = {"account": account, "action": "create", "relationtype": BUYER, "parentid": 501}
    changes = [from_message({**change, "childid": child, **more}).change for child in children]
    return [receipt.job for receipt in runtime.intake().accept(changes)]


def drain(runtime: Runtime, account: str) -> None:
    while runtime.flush(account).next_in == 0.0:
        pass


def prepare(runtime: Runtime, account: str) -> dict[str, str]:
    """Make jobs of every kind for the account; return them by name."""
    done, failed = send(runtime, account, 1, MISSING, batch="b1")
    [other] = send(runtime, account, MISSING, parentid=502)
    drain(runtime, account)
    [several] = send(runtime, account, [MISSING, ALSO_MISSING], parentid=503)
    drain(runtime, account)
    [held] = send(runtime, account, 41)
    for _ in range(5):  # a flush that finds the breaker open takes changes and sends nothing
        runtime.limiter.report(account, "failed")
    runtime.flush(account)
    runtime.limiter.reset(account)
    parked, alike, never = send(
        runtime,
        account,
        *("address:email=two@example.test", "address:email=two@example.test", "address:KdNr=7"),
        **PARKED,
    )
    drain(runtime, account)
    queued, second = send(runtime, account, 21, 22, batch="b2")
    unread = runtime.intake().reject(
        UnreadableMessage(
            account=account,
            source="desk",
            event_id="m1",
            faults=("parentid: expected a positive integer",),
            body=b'{"parentid": "caf\xe9"}',
        )
    )
    return {
        "done": done,
        "failed": failed,
        "other": other,
        "several": several,
        "held": held,
        "queued": queued,
        "second": second,
        "unread": unread.job,
        "parked": parked,
        "alike": alike,
        "never": never,
    }


def clean(text: str) -> str:
    return TIME.sub("<time>", ID.sub("<id>", text)).replace("berg", "acme")


def without_ids(result: Result) -> tuple[int, str, str]:
    return result.exit_code, clean(result.stdout), clean(result.stderr)


READS = (
    "accounts list",
    "accounts show acme",
    "accounts show",
    "accounts show acmee",
    "jobs list --account acme",
    "jobs list",
    "jobs list --limit 3",
    "jobs list --account acme --limit 2",
    "jobs list --account acme --state failed --error 80",
    "jobs list --account acme --since 2h --batch b2",
    "jobs list --account acme --error nonsense",
    f"jobs list --account acme --parent 503 --child {MISSING} --type {BUYER}",
    "jobs list --account acme --state held",
    "jobs list --account acmee",
    "jobs list --account unrouted",
    "jobs show {done}",
    "jobs show {failed}",
    "jobs show {queued}",
    "jobs show {held}",
    "jobs show {several}",
    "jobs show {parked}",
    "jobs list --account acme --state parked",
    "jobs list --account acme --reference address:email=two@example.test",
    "jobs list --account acme --reference email=two@example.test",
    "jobs resolve {parked}",
    "jobs resolve {parked} --parent 501",
    "jobs resolve {parked} --child 21 --all",
    "jobs resolve {parked} --reference address:KdNr=8=21",
    "jobs resolve {parked} --reference nonsense",
    "jobs resolve {done} --child 21",
    "jobs resolve acme-0f3k9x2b7c1d4e5g6h --child 21",
    "jobs look-up --state parked --account acme",
    "jobs look-up --account acme",
    "jobs look-up {queued}",
    "jobs show {unread}",
    "jobs show {unread} --payload",
    "jobs show {queued} --payload",
    "jobs show acme-0f3k9x2b7c1d4e5g6h",
    "jobs watch {done} {failed}",
    "jobs watch --account acme --batch b1",
    "jobs watch {queued} {done} --timeout 0.1",
    "jobs cancel --account acme --batch b2",
    "jobs cancel {done}",
    "jobs cancel {held} {done}",
    "jobs cancel {held} --child 41",
    "jobs cancel {held} --child 41 --yes",
    "jobs cancel {held} --state held",
    "jobs cancel --account acme",
    "jobs cancel --account acme --parent 501",
    f"jobs dismiss {{several}} --child {MISSING}",
    "jobs dismiss {several} --child 51",
    "jobs dismiss {several} --child 51 --yes",
    "jobs dismiss --account acme --error 80",
    "jobs dismiss elsewhere-0f3k9x2b7c1d4e5g6h",
    "batch b1 --account acme",
    "batch b9 --account acme",
    "errors",
    "errors --account acme",
    f"explain {BUYER} 501 1 --account acme",
    f"explain {BUYER} 501 {MISSING} --account acme",
    f"explain {BUYER} 501 999 --account acme",
    f"explain {BUYER} 501 1",
    "requests list --account acme",
    "requests list --account acme --failed",
    "requests show nosuch --account acme",
    "audit --account acme --limit 2",
    "replays list --account acme",
    "replays show acme-0f3k9x2b7c1d4e5g6h",
    "replays run acme-0f3k9x2b7c1d4e5g6h",
    "replay acme-0f3k9x2b7c1d4e5g6h",
    "replay --account acme",
    "erase address 1 --account acme",
    "erase nonsense 1 --account acme",
    "accounts check acme",
    "accounts pause nobody",
)


GONE = (
    "jobs show {}",
    "jobs show {} --payload",
    "jobs cancel {} --yes",
    "jobs dismiss {}",
    "jobs look-up {}",
    "jobs resolve {} --child 5",
    "jobs watch {}",
    "replay {}",
    "replay {} --yes",
    "replays show {}",
    "replays run {}",
    "replays stop {}",
    "callbacks show {}",
    "callbacks resend {}",
    "deliveries show {}",
    "deliveries redeliver {}",
    "requests show {} --account acme",
    "accounts show {}",
    "batch {} --account acme",
    "drift acme --type {}",
    "jobs list --account acme --type {}",
)


def test_what_is_looked_up_is_the_same_both_ways(ways: Ways) -> None:
    jobs = prepare(ways.runtime, "acme")
    prepare(ways.runtime, "berg")
    for line in READS:
        words = [word.format(**jobs) for word in line.split()]
        direct, remote = ways.direct(*words, code=None), ways.remote(*words, code=None)
        assert timeless(remote) == timeless(direct), line
        if direct.exit_code == Exit.OK:
            direct, remote = ways.direct(*words, "--json"), ways.remote(*words, "--json")
            assert timeless(remote) == timeless(direct), line


@pytest.mark.parametrize("account", ["acme-", "nobody-", ""])
def test_what_is_not_there_is_not_found_both_ways(ways: Ways, account: str) -> None:
    lines = [words.format(f"{account}0f3k9x2b7c1d4e5g6h") for words in GONE]
    codes = {line: [cli(*line.split(), code=None).exit_code for cli in ways[:2]] for line in lines}
    assert codes == {line: [Exit.NOT_FOUND, Exit.NOT_FOUND] for line in lines}


@pytest.mark.parametrize("words", ["jobs show acme-1", "jobs list", "batch b1 --account acme", "audit"])
def test_a_path_where_no_interface_is_never_says_that_something_is_not_there(ways: Ways, words: str) -> None:
    with serve(Simulator({})) as other:
        for url in (other.url.replace("/api/stable/api.php", ""), f"{ways.url}/elsewhere"):
            refused = ways.remote(*words.split(), RELATIONS_URL=url, code=Exit.USAGE)
            assert "is no path of the interface (HTTP 404); is this its address?" in refused.stderr


@pytest.mark.parametrize(
    "url",
    ["ftp://here", "localhost:8080", "http://", "http://[::1", "http://h/?a=b", "http://h#x", "http://u:p@h"],
)
def test_an_address_that_is_none_is_a_wrong_command_line(ways: Ways, url: str) -> None:
    assert "--url" in ways.remote("jobs", "list", "--url", url, code=Exit.USAGE).stderr


def test_json_of_something_else_is_no_answer(ways: Ways) -> None:
    elsewhere = httpx.MockTransport(lambda _: httpx.Response(200, json={"hello": "world"}))
    operations = HttpOperations(HttpCalls("http://elsewhere", KEY, elsewhere), "http://elsewhere", zone=UTC)
    for ask in (
        operations.account_names,
        lambda: operations.get_job("acme-1"),
        lambda: operations.find_jobs("acme", JobFilter()),
        lambda: operations.list_failures("acme")["errors"],
    ):
        with pytest.raises(RelationsError, match="is this its address"):
            ask()


@pytest.mark.parametrize(
    ("location", "leads_to"),
    [
        ("https://u:secret@there.example/v1/accounts?x=secret", "https://there.example"),
        ("//there.example:8443/login", "http://there.example:8443"),
        ("/login", "http://elsewhere"),
    ],
)
def test_a_redirect_says_where_it_leads(location: str, leads_to: str) -> None:
    answer = httpx.Response(301, headers={"Location": location})
    calls = HttpCalls("http://elsewhere", KEY, httpx.MockTransport(lambda _: answer))
    operations = HttpOperations(calls, "http://elsewhere", zone=UTC)
    with pytest.raises(RelationsError) as refused:
        operations.account_names()
    assert str(refused.value).endswith(f" and leads to {leads_to}; give the address of the interface")
    assert "secret" not in str(refused.value)


SURROUNDINGS = (
    ({"ALL_PROXY": "socks5://u:secret@here", "NO_PROXY": ""}, "needs `pip install socksio`"),
    ({"HTTP_PROXY": "ftp://u:secret@here", "NO_PROXY": ""}, "an address in HTTP_PROXY"),
    ({"HTTP_PROXY": "http://here:port", "NO_PROXY": ""}, "an address in HTTP_PROXY"),
)


@pytest.mark.parametrize(("surroundings", "reason"), SURROUNDINGS)
def test_proxies_that_cannot_be_used_are_named(
    ways: Ways, tmp_path: Path, surroundings: dict[str, str], reason: str
) -> None:
    file = tmp_path / "a.ndjson"
    file.write_text("{}\n")
    for words in ("accounts list", f"import {file} --account acme"):
        refused = ways.remote(*words.split(), **surroundings, code=Exit.FAILED)
        assert reason in refused.stderr
        assert "secret" not in refused.output


@pytest.mark.parametrize("words", ["jobs show", "deliveries show", "requests show --account acme"])
@pytest.mark.parametrize("id_", ["../x", "a/b", ".."])
def test_what_can_be_no_id_is_not_there_in_the_same_words_both_ways(ways: Ways, words: str, id_: str) -> None:
    here, there = (way(*words.split(), id_, code=Exit.NOT_FOUND).stderr for way in (ways.direct, ways.remote))
    assert here == there
    assert f" {id_}; " in there


def test_what_a_key_may_not_read_is_refused_and_not_missing(ways: Ways) -> None:
    [job] = send(ways.runtime, "acme", 1)
    refused = ways.remote("jobs", "show", job, RELATIONS_KEY=SEND_ONLY, code=Exit.FAILED)
    assert refused.stderr == 'key "sender" has no right to read\n'


def start(env: dict[str, str], folder: Path) -> Runtime:
    return Runtime(load_settings(env, folder), wake=lambda *_: None, emit=lambda *_, **__: None)


def keep_deliveries(runtime: Runtime) -> str:
    """Keep deliveries of every outcome, and return one that a corrected rule reads."""
    source = runtime.settings.sources["immo"]
    sale = {"estate": 501, "person": 77}
    for number, payload in enumerate(
        ({**sale, "type": "sale"}, {**sale, "type": "other"}, "x", {"type": "ping"})
    ):
        sent = WebhookDelivery("https://here/webhooks/immo", {"x-event": "new"}, json.dumps(payload).encode())
        runtime.deliveries.keep(record_delivery(source, map_delivery(source, sent, f"m{number}"), []))
    runtime.deliveries.keep(record_refusal(source, "r1", reason="secret", faults=["no"], size=3))
    return make_delivery_id("immo", "m1")


SOURCE = """
[sources.immo]
account = "acme"
scheme = "bearer"
secret = "immo-secret-of-the-tests"
[[sources.immo.ignore]]
when = "type == 'ping'"
because = "a ping"
[[sources.immo.rules]]
when = "type == 'sale' || type == '{}'"
action = "'create'"
relationtype = "'estate:address:buyer'"
parentid = "estate"
childid = "person"
"""
DELIVERIES = (
    "deliveries list",
    "deliveries list --limit 2",
    "deliveries list --source immo --outcome no_rule --since 2h",
    "deliveries list --source immo --until 2h",
    "deliveries list --since never",
    "deliveries list --source nobody",
    "deliveries show {delivery}",
    "deliveries show {delivery} --payload",
    "deliveries show immo-r1",
    "deliveries show immo-r1 --payload",
    "deliveries show nobody-1",
    "deliveries redeliver nobody-1",
    "deliveries redeliver {delivery}",
    "deliveries redeliver {delivery} immo-r1 nobody-1",
    "deliveries remap",
    "deliveries remap --source immo",
    "deliveries remap --outcome refused",
    "deliveries remap --source nobody",
)


def test_deliveries_are_looked_up_and_read_again_alike_both_ways(
    two_accounts: dict[str, str], tmp_path: Path
) -> None:
    config = Path(two_accounts["RELATIONS_CONFIG"])
    text = config.read_text() + KEYS
    config.write_text(text + SOURCE.format("-"))
    delivery = keep_deliveries(start(two_accounts, tmp_path))
    config.write_text(text + SOURCE.format("other"))
    runtime = start(two_accounts, tmp_path)
    routes = operator_routes(runtime, send_replay=lambda _: None)
    with Server(application(runtime, more_routes=routes), port=0) as server:
        direct = make_cli(two_accounts)
        remote = make_cli({**two_accounts, "RELATIONS_URL": server.url, "RELATIONS_KEY": KEY})
        for line in DELIVERIES:
            words = line.format(delivery=delivery).split()
            for more in ((), ("--json",)):
                here, there = (cli(*words, *more, code=None) for cli in (direct, remote))
                assert timeless(there) == timeless(here), line
        raw, kept = (
            direct("deliveries", "show", delivery, "--payload", *more).stdout_bytes
            for more in ((), ("--json",))
        )
        document = json.loads(kept)
        assert b64decode(document.pop("request")) == raw
        assert document == json.loads(direct("deliveries", "show", delivery, "--json").stdout)
        for words in (("redeliver", delivery), ("remap", "--source", "immo")):
            made, again = (cli("deliveries", *words, "--yes", code=None) for cli in (remote, direct))
            assert "new as acme-" in made.stdout or words[0] == "remap"
            assert ", is acme-" in again.stdout
    runtime.client.close()


def timeless(result: Result) -> tuple[int, str, str]:
    """Return the output of a read, word by word; only what differs between two looks is taken out."""
    took = re.compile(r"(?<=in )\d+\.\d\d s")
    who = "key is for" if "key is for" in result.stderr else "settings have"
    return (
        result.exit_code,
        took.sub("", result.stdout),
        took.sub("", result.stderr).replace(who, "there are"),
    )


ACTS = (
    "accounts pause {account} --why move",
    "accounts list",
    "accounts show {account}",
    "jobs show {held}",
    "jobs list --account {account} --json",
    f"explain {BUYER} 501 21 --account {{account}}",
    "accounts resume {account}",
    "accounts resume {account}",
    "jobs cancel {held} --yes",
    "jobs cancel {held} --yes --json",
    "jobs show {held}",
    "jobs cancel {queued}",
    "jobs cancel {queued} --yes",
    "jobs cancel {queued} --yes",
    "jobs cancel --account {account} --batch b2 --yes --json",
    "jobs look-up {parked} {done}",
    "jobs look-up {parked} --json",
    "jobs look-up --account {account} --reference address:email=two@example.test --yes",
    "jobs resolve {parked} --child 21",
    "jobs resolve {parked} --child 21 --json",
    "jobs resolve {parked} --child 22",
    "jobs show {parked} --json",
    "jobs resolve {alike} --reference address:email=two@example.test=22 --all --yes",
    "jobs resolve {never} --child 22 --all --json",
    "replay {failed}",
    "replay --account {account} --error 80 --json",
    "replay {failed} --set childid=31 --yes",
    "replay {several} --set childid=32",
    f"replay {{several}} --child {MISSING} --set childid=32 --yes",
    "jobs show {several}",
    f"jobs dismiss {{several}} --child {ALSO_MISSING} --error 80 --yes",
    "jobs show {several} --json",
    "replay {unread} --set parentid=5 --set childid=6",
    "replay {done} --yes",
    "replay {other} --force --yes",
    "replays list --account {account}",
    "jobs list --account {account}",
    "jobs dismiss {unread} --yes",
    "jobs show {unread}",
    "send create estate:address:buyer 601 98765041 42 --account {account} --event-id e1",
    "send create estate:address:buyer 601 98765041 42 --account {account} --event-id e1",
    "send create estate:address:buyer 601 43 --account {account} --event-id e1",
    "send create nonsense 601 98765041 --account {account}",
    "erase address 98765041 --account {account} --yes",
    "erase address 98765041 --account {account} --yes --json",
    "erase address 42 --account {account} --yes --only-account",
    "erase address 42 --account {account} --yes --only-account --json",
    "erase address 43 --account {account} --yes --json",
    "errors --account {account}",
    "replay {failed} --yes --background",
)


def test_what_is_done_is_the_same_both_ways(ways: Ways) -> None:
    jobs = {account: prepare(ways.runtime, account) for account in ("acme", "berg")}
    for line in ACTS:
        direct, remote = (
            without_ids(
                cli(*line.format(account=account, **jobs[account]).split(), code=None, LOGNAME="operator")
            )
            for cli, account in ((ways.direct, "acme"), (ways.remote, "berg"))
        )
        assert remote == direct, line
    direct, remote = (
        [(entry["by"], entry["act"], entry["count"]) for entry in json.loads(result.stdout)["deeds"]]
        for result in (
            ways.direct("audit", "--account", "acme", "--json"),
            ways.remote("audit", "--account", "berg", "--json"),
        )
    )
    assert remote == direct
    assert len(direct) > 10


DRIFT_LINES = (
    "drift {account}",
    "drift {account} --json",
    f"drift {{account}} --type {BUYER} --child 52 --prepare",
    "drift {account} --sample 50 --since 1d",
    "drift {account} --parent 502",
    "drift {account} --cursor nonsense",
    "drift {account} --sample 2 --cursor 1.0.0",
    "drift {account} --type nonsense",
    "drift nobody",
    "accounts pause {account}",
    "drift {account}",
    "accounts resume {account}",
)


def test_drift_is_shown_and_repaired_the_same_both_ways(ways: Ways, simulator: Simulator) -> None:
    for account in ("acme", "berg"):
        send(ways.runtime, account, [51, 52, 53], occurred_at=YESTERDAY)
        drain(ways.runtime, account)
    gone = [(BUYER, 501, 51), (BUYER, 501, 52)]
    simulator.seed(TOKEN, drop=gone)  # both accounts are of one customer
    for line in DRIFT_LINES:
        direct, remote = (
            without_ids(cli(*line.format(account=account).split(), code=None, LOGNAME="operator"))
            for cli, account in ((ways.direct, "acme"), (ways.remote, "berg"))
        )
        assert remote == direct, line
    shown = [
        json.loads(text)
        for text in ways.direct("drift", "acme", "--json", code=Exit.DRIFTED).stdout.splitlines()
    ]
    assert [(each["parentid"], each["childid"], each["state"]) for each in shown[:-1]] == [
        (501, 51, "missing"),
        (501, 52, "missing"),
    ]
    summary = {
        "account": "acme",
        "missing": 2,
        "returned": 0,
        "same": 1,
        "unknown": 0,
        "open": 0,
        "next": None,
    }
    assert shown[-1] == {"summary": summary}
    ways.direct("drift", "acme", "--child", "53")
    *_, repair, _ = ways.remote("drift", "acme", "--prepare", "--json", code=Exit.DRIFTED).stdout.splitlines()
    ways.remote("replays", "run", json.loads(repair)["repair"]["id"])
    drain(ways.runtime, "acme")
    ways.remote("drift", "acme")
    assert len(simulator.relations(TOKEN)) == 3


def test_an_interrupted_drift_read_says_how_to_go_on_and_prepares_what_it_has_found(
    ways: Ways, simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    send(ways.runtime, "acme", [51, 52])
    drain(ways.runtime, "acme")
    simulator.seed(TOKEN, drop=[(BUYER, 501, 51)])
    read_drift, pages = Runtime.read_drift, count()

    def interrupt(self: Runtime, *args: Any, **options: Any) -> DriftPage:
        if next(pages):
            raise KeyboardInterrupt
        return read_drift(self, *args, **options)._replace(next="1.0.7")

    monkeypatch.setattr(Runtime, "read_drift", interrupt)
    stopped = ways.direct("drift", "acme", "--prepare", code=Exit.INTERRUPTED)
    assert "To go on: relations drift acme --cursor 1.0.7" in stopped.stderr
    assert "To act: relations replays run acme-" in stopped.stdout


def leave_without_answer(runtime: Runtime, account: str, child: int) -> None:
    """Leave a request that was begun, and of which nobody knows whether it was carried out."""
    send(runtime, account, child)
    lease = runtime.store.lease(account, "gone")
    assert lease is not None
    claim_all(lease)
    lease.begin("r1", make_request([Relation(BUYER, 501, child)]))
    lease.release()


def test_an_erasure_that_waits_says_why_and_has_the_same_proof_both_ways(ways: Ways, tmp_path: Path) -> None:
    ended = []
    for cli, account in ((ways.direct, "acme"), (ways.remote, "berg")):
        leave_without_answer(ways.runtime, account, 98765041)
        proof = tmp_path / f"{account}.json"
        words = f"erase address 98765041 --account {account} --yes --rewrite-aof --json --proof {proof}"
        result = cli(*words.split(), LOGNAME="operator", code=Exit.FAILED)
        document = json.loads(clean(proof.read_text()))
        assert document.pop("append_only_file").startswith("is being rewritten")
        ended.append((without_ids(result), document))
    direct, remote = ended
    assert remote == direct
    assert json.loads(direct[0][2])["error"] == "Unavailable"
    assert direct[1]["accounts"][0]["waits"]["relations"] == 1


@given(COUNTS, COUNTS)
def test_an_erasure_over_http_waits_as_often_as_it_is_told_to_and_adds_up_what_each_attempt_did(
    first: dict[str, int], second: dict[str, int]
) -> None:
    answers = [
        {"kind": "Unavailable", "detail": "later", "proof": make_proof(first, "one")},
        {"account": "acme", "proof": make_proof(second, "two")},
    ]
    server = httpx.MockTransport(
        lambda _: httpx.Response(
            503 if len(answers) == 2 else 200, headers={"Retry-After": "0"}, json=answers.pop(0)
        )
    )
    operations = HttpOperations(HttpCalls("http://server", KEY, server), "http://server", zone=UTC)
    reasons = list[str]()
    proof, waiting = operations.erase(
        "acme", "address", 1, by="", on_wait=lambda error: reasons.append(str(error))
    )
    assert (reasons, waiting, proof.begun_at, proof.audit_entry) == (["later"], None, "one", "two")
    assert proof.erased == proof.accounts[0].erased == Counter(first) + Counter(second)


def make_proof(counts: dict[str, int], text: str) -> dict[str, Any]:
    texts = dict.fromkeys(("module", "fingerprint", "audit_entry", "account", "by", "begun_at"), text)
    account = {"account": "acme", "looked_at": counts, "erased": counts}
    more = {"finished_at": text, "complete": True, "append_only_file": text}
    return {**texts, **more, "erased": counts, "accounts": [account]}


def test_files_are_sent_and_imported_over_http(ways: Ways, tmp_path: Path) -> None:
    lines = "".join(
        json.dumps({"action": "create", "relationtype": BUYER, "parentid": 501, "childid": child}) + "\n"
        for child in range(1, 1201)
    )
    (tmp_path / "good.ndjson").write_text(lines)
    (tmp_path / "mixed.ndjson").write_text(lines[: lines.index("\n") + 1] + '{"action": "create"}\n')
    results = []
    for cli, account in ((ways.direct, "acme"), (ways.remote, "berg")):
        words = ["--account", account]
        sent = [
            cli("send", str(tmp_path / name), *words, *more, code=None)
            for name in ("good.ndjson", "mixed.ndjson")
            for more in ([], ["--json"])
        ]
        results.append(list(map(without_ids, sent)))
    assert results[0] == results[1]
    assert "1,200 accepted, 0 known already" in results[0][0][2]
    imported = ways.remote("import", str(tmp_path / "good.ndjson"), "--account", "berg", "--json")
    assert json.loads(imported.stdout)["accepted"] + json.loads(imported.stdout)["known"] == 1200


def test_a_part_of_a_body_that_is_refused_is_named_and_the_other_is_accepted(ways: Ways) -> None:
    link = {"action": "create", "relationtype": BUYER, "parentid": 501, "event_id": "same"}
    first = [{**link, "account": "acme", "childid": 1}]
    both = [{**link, "account": "acme", "childid": 2}, {**link, "account": "berg", "childid": 3}]
    for cli, event in ((ways.direct, "a"), (ways.remote, "b")):
        body = "".join(json.dumps({**change, "event_id": event}) + "\n" for change in first)
        cli("send", "-", stdin=body.encode())
    outputs = []
    for cli, event in ((ways.direct, "a"), (ways.remote, "b")):
        body = "".join(json.dumps({**change, "event_id": event}) + "\n" for change in both)
        outputs.append(without_ids(cli("send", "-", stdin=body.encode(), code=Exit.PARTLY)))
    assert outputs[1][1:] == tuple(text.replace("'a'", "'b'") for text in outputs[0][1:])
    assert "line 1" in outputs[0][2]


def test_a_key_that_may_not_read_may_send(ways: Ways) -> None:
    words = ("send", "create", BUYER, "501", "1", "--account")
    ways.remote(*words, "acme", RELATIONS_KEY=SEND_ONLY)
    refused = ways.remote(*words, "berg", RELATIONS_KEY=SEND_ONLY, code=Exit.FAILED)
    assert 'key "sender" is not for account "berg"' in refused.stderr


def test_what_a_key_may_not_do_is_said_in_one_line(ways: Ways) -> None:
    refused = ways.remote("accounts", "pause", "acme", RELATIONS_KEY=READ_ONLY, code=Exit.FAILED)
    assert refused.stderr == 'key "reader" has no right to admin\n'
    unread = prepare(ways.runtime, "acme")["unread"]
    shown = ways.remote("jobs", "show", unread, RELATIONS_KEY=READ_ONLY)
    assert "parentid: expected a positive integer" in shown.stdout
    assert shown.stderr == 'The message is not shown: key "reader" has no right to replay.\n'
    ways.remote("jobs", "show", unread, "--payload", RELATIONS_KEY=READ_ONLY, code=Exit.FAILED)
    unknown = ways.remote("accounts", "list", "--json", RELATIONS_KEY="nobody-knows-it", code=Exit.FAILED)
    assert json.loads(unknown.stderr)["error"] == "Unauthorized"
    assert "nobody-knows-it" not in unknown.output


def test_the_key_may_be_in_a_file_and_is_never_an_argument(ways: Ways, tmp_path: Path) -> None:
    (tmp_path / "key").write_text(KEY + "\n")
    ways.remote("accounts", "list", RELATIONS_KEY="", RELATIONS_KEY_FILE=str(tmp_path / "key"))
    missing = ways.remote("accounts", "list", RELATIONS_KEY="", code=Exit.USAGE)
    assert "set RELATIONS_KEY, or RELATIONS_KEY_FILE" in missing.stderr


def test_a_server_that_is_away_or_has_no_redis_ends_as_a_redis_that_is_away_does(ways: Ways) -> None:
    away = ways.remote("jobs", "list", RELATIONS_URL="http://127.0.0.1:1", code=Exit.USAGE)
    assert "http://127.0.0.1:1 cannot be reached" in away.stderr
    direct = ways.direct("jobs", "list", RELATIONS_REDIS_URL="redis://127.0.0.1:1/0", code=Exit.USAGE)
    assert "Start it" in direct.stderr


@pytest.mark.parametrize(
    "command",
    ["dev", "demo", "api", "simulator", "doctor", "doctor --store acme", "keys new x", "sources list"],
)
def test_what_works_on_this_machine_only_says_so_in_one_line(ways: Ways, command: str) -> None:
    refused = ways.direct(*command.split(), "--url", "http://127.0.0.1:1", code=Exit.USAGE)
    path = command.partition(" --")[0].removesuffix(" x")
    *_, line = refused.stderr.splitlines()
    assert line == f"Error: relations {path} works on this machine only: leave out --url."


def test_a_key_that_is_not_for_unrouted_messages_has_no_such_inbox(ways: Ways) -> None:
    rejected = UnreadableMessage("unrouted", "desk", "m1", faults=("broken",), body=b"?")
    job = ways.runtime.intake().reject(rejected).job
    mine, foreign = {"RELATIONS_KEY": KEY}, {"RELATIONS_KEY": READ_ONLY}
    for words in ("jobs list --account unrouted", f"jobs dismiss {job} --yes", f"jobs show {job}"):
        refused = ways.remote(*words.split(), **foreign, code=Exit.NOT_FOUND)
        assert refused.stderr.startswith("there is no ")
        ways.remote(*words.split(), **mine)


def test_an_account_that_cannot_be_read_is_one_all_the_same_both_ways(ways: Ways) -> None:
    jobs = send(ways.runtime, "acme", 9001)
    ways.runtime.client.hset("relations:{berg}:counts", "accepted", "x")
    for cli in (ways.direct, ways.remote):
        assert "Say which account with --account" in cli("accounts", "show", code=Exit.USAGE).stderr
        told = cli("accounts", "show", "berg", code=None).stderr
        assert told.startswith("what is stored of account berg cannot be read. `relations doctor --store")
        listed = cli("accounts", "list")
        assert "acme" in listed.stdout
        assert "account berg cannot be read: relations doctor --store berg" in listed.stderr
        assert jobs[0] in cli("jobs", "list", "--account", "acme").stdout


@pytest.mark.parametrize("label", [".", "..", "...", "../b", "a/./b", "%2e"])
def test_a_batch_label_of_dots_is_no_step_in_the_path(ways: Ways, label: str) -> None:
    send(ways.runtime, "acme", 1, 2, batch=label)
    for cli in (ways.direct, ways.remote):
        counted = json.loads(cli("batch", label, "--account", "acme", "--json").stdout)
        assert (counted["batch"], counted["accepted"]) == (label, 2)
    with Relations(ways.url, KEY) as relations:
        assert relations.batch("acme", label)["accepted"] == 2


# --- options before the command


def test_json_and_url_may_stand_before_the_command(ways: Ways) -> None:
    for words in ("--json accounts list", "accounts --json list", "accounts list --json"):
        (acme, _) = json.loads(ways.direct(*words.split()).stdout)["accounts"]
        assert acme["account"] == "acme"
    nowhere = {"RELATIONS_URL": "http://127.0.0.1:1"}
    for words in (f"--url {ways.url} accounts list", f"accounts --url {ways.url} list"):
        ways.remote(*words.split(), **nowhere)
        ways.remote("--url", nowhere["RELATIONS_URL"], "accounts", "list", "--url", ways.url)
    assert "expected an address" in ways.remote("--url", "x", "jobs", "list", code=Exit.USAGE).stderr
    assert ways.direct("--url", ways.url, "doctor", code=Exit.USAGE).stderr.endswith("leave out --url.\n")


def test_a_word_of_an_option_that_says_json_asks_for_none(ways: Ways) -> None:
    shown = ways.direct("accounts", "pause", "acme", "--why", "--json").stdout
    assert shown.startswith("acme is paused")


@pytest.mark.parametrize("words", ["--account acme jobs list", "jobs --account acme list"])
def test_an_option_before_its_command_is_told_where_to_stand(ways: Ways, words: str) -> None:
    refused = ways.direct(*words.split(), code=Exit.USAGE).stderr
    assert "COMMAND --account" in refused
    document = json.loads(ways.direct("--json", *words.split(), code=Exit.USAGE).stderr)
    assert "COMMAND --account" in document["message"]


# --- what is shown is read back as it was


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
IDS = st.lists(st.integers(1, 9999), min_size=1, max_size=3).map(tuple)
INSTANTS = st.integers(1, 2**52)
INFOS = st.dictionaries(TEXTS, TEXTS, max_size=2).map(lambda pairs: tuple(pairs.items()))
RELATIONS = st.builds(Relation, st.just(BUYER), st.integers(1, 9), st.integers(1, 9))
DISMISSALS = st.none() | st.builds(Dismissal, INSTANTS, TEXTS, TEXTS)
FAILURES = st.builds(Failure, RELATIONS, st.integers(0, 200), TEXTS, TEXTS, DISMISSALS)
REFERENCES = st.sampled_from(
    [
        Reference("estate", (("objektnr_extern", "00815"),)),
        Reference("address", (("KdNr", "a=b & c"), ("email", "x@example.test"))),
    ]
)
NAMED = st.builds(
    JobReference,
    st.sampled_from(["parent", "child"]),
    REFERENCES,
    st.integers(0, 9),
    st.just(0) | INSTANTS,
    IDS,
    TEXTS,
)
JOBS = st.builds(
    JobRecord,
    id=TEXTS,
    account=TEXTS,
    state=st.sampled_from(["queued", "parked", "held", "failed", "succeeded"]),
    action=st.sampled_from(["create", "modify", "delete"]),
    type=st.just(BUYER),
    parents=IDS,
    children=IDS,
    info=INFOS,
    source=TEXTS,
    event_id=TEXTS,
    batch=TEXTS,
    occurred_at=INSTANTS,
    accepted_at=INSTANTS,
    finished_at=st.just(0) | INSTANTS,
    attempts=st.integers(0, 9),
    total=st.integers(0, 9),
    counts=COUNTS,
    refusal=st.none()
    | st.tuples(st.integers(0, 200), TEXTS, TEXTS, st.sampled_from(["", str(Relation(BUYER, 1, 2))])),
    requests=st.lists(TEXTS, max_size=2).map(tuple),
    failures=st.lists(FAILURES, max_size=3).map(tuple),
    by=TEXTS,
    dismissed=DISMISSALS,
    replays=TEXTS,
    replayed_by=st.lists(TEXTS, max_size=2).map(tuple),
    replay=TEXTS,
    correlation=TEXTS,
    allow_empty=st.booleans(),
    references=st.lists(NAMED, max_size=3).map(tuple),
    parked=st.none() | st.builds(Parking, INSTANTS, INSTANTS, st.integers(1, 99), TEXTS, st.integers(0, 9)),
)


@given(JOBS)
def test_a_job_is_read_as_it_is_shown(job: JobRecord) -> None:
    assert read_job(job_json(job)) == job


def test_a_request_that_an_older_server_shows_has_neither_kind_nor_searches() -> None:
    action: Any = {
        "action": "create",
        "relationtype": BUYER,
        "parentid": [1],
        "childid": [2],
        "relationinfo": {},
        "asked": [],
        "answer": {"verdict": "ok", "code": 0, "message": ""},
    }
    request: Any = {
        "id": "r1",
        "at": "2026-11-21T09:00:00Z",
        "status": 200,
        "seconds": 0.5,
        "message": "",
        "observed": False,
        "correlations": [],
        "actions": [action],
    }
    head, number, line = describe_request(CommandContext(), request)
    assert head.startswith("r1  ")
    assert head.endswith("  changes  HTTP 200 after 0.50 s")
    assert (number, line) == ("  1 action", f"  create  {BUYER}  1 → 2: ok")


@given(
    st.builds(
        DriftedRelation,
        relation=st.builds(Relation, st.just(BUYER), st.integers(1, 9), st.integers(1, 9)),
        state=st.sampled_from(["missing", "returned"]),
        occurred_at=INSTANTS,
        job=TEXTS,
        read_at=INSTANTS,
    ),
    TEXTS,
)
def test_what_has_drifted_is_read_as_it_is_shown(drifted: DriftedRelation, text: str) -> None:
    page = serialize_drift_page(DriftPage(9, 3, 1, (drifted,), (drifted.relation,), 1, text, text, 0.5))
    assert list(map(read_drifted, page["drifted"])) == [drifted]
    form = RepairForm(account="acme", relations=(msgspec.convert(page["drifted"][0], DriftedForm),))
    assert form.drifted() == [drifted]


@given(
    st.builds(
        Replay,
        id=TEXTS,
        account=TEXTS,
        by=TEXTS,
        what=TEXTS,
        forced=st.booleans(),
        correction=st.dictionaries(TEXTS, TEXTS | st.integers(0, 9), max_size=2),
        eligible=st.integers(0, 9),
        refused=COUNTS,
        examples=st.dictionaries(TEXTS, TEXTS, max_size=2),
        state=st.sampled_from(["previewed", "running", "stopped", "done"]),
        made_at=INSTANTS,
        run_at=st.just(0) | INSTANTS,
        done=st.integers(0, 9),
        missed=COUNTS,
    )
)
def test_a_replay_is_read_as_it_is_shown(replay: Replay) -> None:
    shown = serialize_replay(replay)
    assert shown.keys() == ReplayDict.__required_keys__
    assert read_replay(shown) == replay


@given(
    st.builds(
        JobFilter,
        state=st.sampled_from(["", "failed"]),
        type=st.sampled_from(["", BUYER]),
        parent=st.integers(0, 9),
        child=st.integers(0, 9),
        error=st.sampled_from(["", "80", "record"]),
        batch=st.sampled_from(["", "b ü"]),
        reference=st.sampled_from([None, Reference("address", (("email", "a=b+c@example.test"),))]),
        since=st.just(0) | INSTANTS,
        failed_until=st.just(0) | INSTANTS,
    )
)
def test_a_filter_is_read_by_the_interface_as_it_was_given(wanted: JobFilter) -> None:
    parameters = [
        ("account", "acme"),
        *((name, str(value)) for name, value in write_filter(wanted).items()),
    ]
    expected = msgspec.structs.replace(wanted, state="failed") if wanted.failed_until else wanted
    assert read_query(parameters, JobQuery).filter() == expected


def test_an_act_on_more_jobs_than_one_call_takes_is_on_all_of_them(
    ways: Ways, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ops.web.handlers.jobs.MAX_JOBS", 2)
    jobs = send(ways.runtime, "acme", *range(1, 6))
    answer = ways.remote("jobs", "cancel", "--account", "acme", "--state", "queued", "--yes", "--json")
    assert sorted(json.loads(answer.stdout)["jobs"]) == sorted(jobs)
    assert {ways.runtime.store.get_job(job).state for job in jobs} == {"superseded"}
