"""POST /v1/changes on a real socket: a change becomes a job, or its faults are named by their paths."""

import codecs
import gzip
import json
import socket
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from producers.portals.http.body import ZSTD
from tests.support.http_front import BUYER, KEYS, SECRETS, Front, problem, request_head, running, sha256
from worker.contract import MAX_BODY


def change(**other: object) -> dict[str, object]:
    return {**BUYER, **other}


def paths(document: dict[str, Any]) -> list[str]:
    return [error["path"] for error in document["errors"]]


def accepted(front: Front, account: str = "acme") -> int:
    return front.store.counts(account).get("accepted", 0)


def ndjson(*messages: object) -> dict[str, Any]:
    return {
        "content": "\n".join(map(json.dumps, messages)),
        "headers": {"Content-Type": "application/x-ndjson"},
    }


def test_a_single_change_becomes_a_job_that_can_be_found_where_the_answer_says(
    front: Front, http: httpx.Client
) -> None:
    answer = http.post("/v1/changes", json=BUYER)
    assert answer.status_code == 202
    (job,) = answer.json()["jobs"]
    assert job == {"id": job["id"], "state": "queued", "duplicate": False}
    assert answer.headers["location"] == f"/v1/jobs/{job['id']}"
    assert http.get(answer.headers["location"]).json()["id"] == job["id"]
    assert front.woken == ["acme"]


def test_an_array_and_ndjson_are_answered_in_their_order_without_a_location(
    front: Front, http: httpx.Client
) -> None:
    messages = [change(childid=child) for child in (1, 2, 3)]
    for answer in (http.post("/v1/changes", json=messages), http.post("/v1/changes", **ndjson(*messages))):
        jobs = [front.job(job["id"]) for job in answer.json()["jobs"]]
        assert [job.children for job in jobs] == [(1,), (2,), (3,)]
        assert "location" not in answer.headers


def test_a_correction_is_noted(http: httpx.Client) -> None:
    (job,) = http.post("/v1/changes", json=change(relationtype="complex:estate:units")).json()["jobs"]
    assert job["notes"] == ["complex:estate:units is another name of estate:estateUnit"]


def test_every_fault_is_named_by_its_path_and_nothing_is_accepted(front: Front, http: httpx.Client) -> None:
    document = problem(
        http.post("/v1/changes", json=[BUYER, change(parentid="x", acton=1), change(childid=[1, 0])]), 422
    )
    assert paths(document) == ["[1].acton", "[1].parentid", "[2].childid[1]"]
    assert accepted(front) == 0


@pytest.mark.parametrize(
    ("body", "kind", "path"),
    [
        (
            json.dumps(change(action="modify", relationinfo={"statusTerminbestaetigung": "gesendet"})),
            "application/json",
            "action",
        ),
        (
            json.dumps([BUYER, change(occurred_at="2020-01-01T00:00:00Z")]),
            "application/json",
            "[1].occurred_at",
        ),
        (
            f"{json.dumps(BUYER)}\n\n{json.dumps(change(occurred_at='2200-01-01T00:00:00Z'))}\n",
            "application/x-ndjson",
            "line 3.occurred_at",
        ),
        (
            json.dumps(change(occurred_at="2200-01-01T00:00:00Z"), indent=2),
            "application/json; charset=utf-8",
            "occurred_at",
        ),
    ],
)
def test_what_intake_refuses_is_named_by_its_place_in_the_body(
    front: Front, http: httpx.Client, body: str, kind: str, path: str
) -> None:
    assert paths(problem(http.post("/v1/changes", content=body, headers={"Content-Type": kind}), 422)) == [
        path
    ]
    assert accepted(front) == 0


def test_the_same_event_id_is_the_same_job_and_with_other_content_a_fault(http: httpx.Client) -> None:
    first = http.post("/v1/changes", json=change(event_id="e-1")).json()["jobs"][0]
    second = http.post("/v1/changes", json=change(event_id="e-1")).json()["jobs"][0]
    assert second == {"id": first["id"], "state": "queued", "duplicate": True}
    document = problem(
        http.post("/v1/changes", json=[change(childid=1), change(event_id="e-1", childid=2)]), 422
    )
    assert paths(document) == ["[1].event_id"]
    assert first["id"] in document["detail"]


def test_the_same_idempotency_key_is_the_same_jobs(front: Front, http: httpx.Client) -> None:
    body, headers = [change(childid=1), change(childid=2, event_id="own")], {"Idempotency-Key": "retry-7"}
    first = http.post("/v1/changes", json=body, headers=headers).json()["jobs"]
    second = http.post("/v1/changes", json=body, headers=headers).json()["jobs"]
    assert [job["id"] for job in first] == [job["id"] for job in second]
    assert [job["duplicate"] for job in first + second] == [False, False, True, True]
    assert {front.job(job["id"]).event_id for job in first} == {
        "retry-7:0",
        "own",
    }
    problem(http.post("/v1/changes", json=change(childid=3), headers=headers), 422)
    assert paths(
        problem(http.post("/v1/changes", json=BUYER, headers={"Idempotency-Key": "k" * 181}), 422)
    ) == ["Idempotency-Key"]


def test_a_body_for_two_accounts_is_answered_in_its_order(front: Front, http: httpx.Client) -> None:
    answer = http.post(
        "/v1/changes", json=[change(childid=1), change(account="beta", childid=2), change(childid=3)]
    )
    assert answer.status_code == 202
    assert [job["id"].rpartition("-")[0] for job in answer.json()["jobs"]] == ["acme", "beta", "acme"]
    assert sorted(front.woken) == ["acme", "beta"]


def test_one_accounts_fault_leaves_the_other_accounts_part_accepted_and_the_answer_says_which(
    front: Front, http: httpx.Client
) -> None:
    late = change(account="beta", occurred_at="2200-01-01T00:00:00Z")
    document = problem(http.post("/v1/changes", json=[change(account="beta"), BUYER, late]), 422)
    assert paths(document) == ["[2].occurred_at"]
    assert [job and job["duplicate"] for job in document["jobs"]] == [None, False, None]
    assert (accepted(front), accepted(front, "beta")) == (1, 0)


def test_a_curable_fault_decides_the_status_so_that_a_retry_delivers_the_rest(
    front: Front, http: httpx.Client
) -> None:
    beyond_backlog = [change(account="beta", childid=child, event_id=f"b{child}") for child in range(1, 5)]
    late = change(occurred_at="2200-01-01T00:00:00Z")
    for body, expected in (
        ([*beyond_backlog, change(event_id="a")], ["[0].account"]),
        ([late, *beyond_backlog], ["[0].occurred_at", "[1].account"]),
    ):
        answer = http.post("/v1/changes", json=body)
        assert paths(problem(answer, 429)) == expected
        assert int(answer.headers["retry-after"]) >= 1
    second = http.post("/v1/changes", json=[*beyond_backlog[:3], change(event_id="a")]).json()["jobs"]
    assert [job["duplicate"] for job in second] == [False, False, False, True]


def test_without_a_key_or_with_a_wrong_one_nothing_is_read(front: Front) -> None:
    http = front.client(None)
    for headers in (
        {},
        {"Authorization": "Bearer nobody"},
        {"Authorization": KEYS["portal"][0]},
        {"Authorization": "Bearer \xff"},
    ):
        answer = http.post(
            "/v1/changes", content=b"{", headers={k: v.encode("latin-1") for k, v in headers.items()}
        )
        problem(answer, 401)
        assert answer.headers["www-authenticate"] == "Bearer"


def test_a_key_is_good_for_its_own_accounts_and_rights_only(front: Front) -> None:
    problem(front.client("viewer").post("/v1/changes", json=BUYER), 403)
    only_acme = front.client("acme")
    problem(only_acme.post("/v1/changes", json=change(account="beta")), 403)
    document = problem(
        only_acme.post("/v1/changes", json=[change(account="beta"), BUYER, change(account="nobody")]), 403
    )
    assert paths(document) == ["[0].account", "[2].account"]
    assert (accepted(front), accepted(front, "beta")) == (1, 0)


def test_a_key_that_was_taken_away_stops_working_without_a_restart(
    front: Front, tmp_path: Path, redis_url: str
) -> None:
    with running(tmp_path, redis_url) as other:
        http, file = other.client("acme"), tmp_path / "relations.toml"
        assert http.post("/v1/changes", json=BUYER).status_code == 202
        file.write_text(file.read_text("utf-8").replace(sha256(KEYS["acme"][0]), "0" * 64), "utf-8")
        problem(http.post("/v1/changes", json=BUYER), 401)


@pytest.mark.parametrize(
    "headers",
    [{"Content-Type": "text/xml"}, {}, {"Content-Type": "application/json", "Content-Encoding": "br"}],
)
def test_a_body_of_another_kind_is_not_read(http: httpx.Client, headers: dict[str, str]) -> None:
    problem(http.post("/v1/changes", content=b"[]", headers=headers), 415)


def test_two_idempotency_keys_are_refused_and_nothing_is_accepted(front: Front, http: httpx.Client) -> None:
    headers = [("Idempotency-Key", "a"), ("Idempotency-Key", "b"), ("Content-Type", "application/json")]
    answer = http.post("/v1/changes", content=json.dumps(BUYER).encode(), headers=headers)
    assert problem(answer, 422)["errors"] == [
        {"path": "Idempotency-Key", "message": "is given twice; which one counts?"}
    ]
    assert front.runtime.store.counts("acme").get("accepted", 0) == 0


def test_a_name_that_stands_twice_is_refused(front: Front, http: httpx.Client) -> None:
    twice = json.dumps(BUYER)[:-1] + ', "childid": 9009}'
    answer = http.post("/v1/changes", content=f"[{twice}]", headers={"Content-Type": "application/json"})
    assert [fault["path"] for fault in problem(answer, 422)["errors"]] == ["[0].childid"]
    form = b'{"account": "acme", "account": "second"}'
    headers = {"Content-Type": "application/json"}
    answer = front.client("admin").post("/v1/jobs/cancel", content=form, headers=headers)
    assert [fault["path"] for fault in problem(answer, 422)["errors"]] == ["account"]


BODY = json.dumps([BUYER]).encode()
RAW = zlib.compressobj(wbits=-15)
COMPRESSED = [
    ("gzip", gzip.compress(BODY)),
    ("X-GZIP", gzip.compress(BODY[:20]) + gzip.compress(BODY[20:])),
    ("deflate", zlib.compress(BODY)),
    ("deflate", RAW.compress(BODY) + RAW.flush()),
    ("identity, gzip", gzip.compress(BODY)),
    ("Identity", BODY),
    *([("zstd", ZSTD.compress(BODY))] if ZSTD else []),
]


@pytest.mark.parametrize(("coding", "body"), COMPRESSED, ids=range(len(COMPRESSED)))
def test_a_compressed_body_is_read(http: httpx.Client, coding: str, body: bytes) -> None:
    headers = {"Content-Type": "application/json", "Content-Encoding": coding}
    assert len(http.post("/v1/changes", content=body, headers=headers).json()["jobs"]) == 1
    if coding != "Identity":
        for damaged in (body[:-1], body[:9], b"[]" + body):
            answer = http.post("/v1/changes", content=damaged, headers=headers)
            assert "cannot be read as" in problem(answer, 422)["detail"]


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_a_byte_order_mark_before_a_body_does_not_count(
    http: httpx.Client, pack: Callable[[bytes], bytes]
) -> None:
    coding = {"Content-Encoding": "gzip"} if pack is gzip.compress else {}
    for kind in ("application/json", "application/x-ndjson"):
        body = pack(codecs.BOM_UTF8 + json.dumps(BUYER).encode())
        answer = http.post("/v1/changes", content=body, headers={"Content-Type": kind, **coding})
        assert len(answer.json()["jobs"]) == 1


@pytest.mark.parametrize("body", [b"", b"   ", b"[", b'"text"', b"\xff", b"[" * 5000, b'{"account": 1e999}'])
def test_what_is_no_change_is_a_fault_not_a_crash(http: httpx.Client, body: bytes) -> None:
    problem(http.post("/v1/changes", content=body, headers={"Content-Type": "application/json"}), 422)


def test_no_changes_are_no_jobs(http: httpx.Client) -> None:
    answer = http.post("/v1/changes", json=[])
    assert (answer.status_code, answer.json()) == (202, {"jobs": []})


@pytest.mark.parametrize("announced", [True, False])
def test_an_oversized_body_is_refused_while_it_is_still_coming(front: Front, announced: bool) -> None:
    parts = urlsplit(front.url)
    chunk = b"100000\r\n" + b" " * 2**20 + b"\r\n"
    with socket.create_connection((parts.hostname, parts.port), timeout=10) as connection:
        if announced:
            connection.sendall(request_head(f"Content-Length: {MAX_BODY + 1}"))
        else:
            connection.sendall(
                request_head("Transfer-Encoding: chunked") + chunk * (MAX_BODY // 2**20) + b"1\r\n \r\n"
            )
        assert connection.recv(64).startswith(b"HTTP/1.1 413 ")


def test_a_large_body_is_taken_whole(front: Front, http: httpx.Client) -> None:
    answer = http.post("/v1/changes", **ndjson(*(change(childid=child) for child in range(1, 3001))))
    assert len({job["id"] for job in answer.json()["jobs"]}) == accepted(front) == 3000


def test_many_clients_at_once_get_each_their_own_jobs(front: Front) -> None:
    def send(number: int) -> tuple[int, str]:
        return number, clients[number % 8].post(
            "/v1/changes", json=change(childid=number, event_id=f"e{number}")
        ).json()["jobs"][0]["id"]

    clients = [front.client() for _ in range(8)]
    with ThreadPoolExecutor(8) as senders:
        sent = dict(senders.map(send, [number for number in range(1, 101) for _ in range(2)]))
    assert {number: front.job(job).children for number, job in sent.items()} == {
        number: (number,) for number in range(1, 101)
    }
    assert accepted(front) == 100


ONE_SPELLING = "write it with single slashes, and without one at its end"
ALL_THERE_ARE = "GET /openapi.json has all that there are"


@pytest.mark.parametrize(
    ("path", "advice"),
    [
        ("/v1/changes/", ONE_SPELLING),
        ("//v1/changes", ONE_SPELLING),
        ("/v1//jobs/acme-1/", ONE_SPELLING),
        ("//webhooks/desk/canary-of-a-path", ONE_SPELLING),
        ("/v1/change", f"{ALL_THERE_ARE}; did you mean /v1/changes?"),
        ("/V1/Changes", f"{ALL_THERE_ARE}; did you mean /v1/changes?"),
        ("/webhook/desk/canary-of-a-path", ALL_THERE_ARE),
        ("/", "this address takes no POST; use GET, HEAD, OPTIONS"),
    ],
)
def test_what_is_sent_to_no_address_is_told_what_to_do(http: httpx.Client, path: str, advice: str) -> None:
    answer = http.post(f"{http.base_url}{path}", json=BUYER)
    detail = problem(answer, 405 if "takes no" in advice else 404)["detail"]
    assert detail.removeprefix("nothing is at this address; ") == advice


def test_unknown_addresses_and_methods_are_problems_too(http: httpx.Client) -> None:
    problem(http.get("/v2"), 404)
    answer = http.delete("/v1/changes")
    assert problem(answer, 405)["detail"] == "this address takes no DELETE; use OPTIONS, POST"
    assert "POST" in answer.headers["allow"]
    assert "a redirect, as from http to https" in problem(http.get("/v1/changes"), 405)["detail"]


@pytest.mark.parametrize("header", ["{}", "Basic {}", "Token {}"])
def test_a_key_that_is_sent_in_another_way_is_told_in_which(front: Front, header: str) -> None:
    headers = {"Authorization": header.format(KEYS["portal"][0])}
    detail = problem(front.client(None).post("/v1/changes", json=BUYER, headers=headers), 401)["detail"]
    assert (
        detail == "there is no key behind `Bearer`; send a key of this server as `Authorization: Bearer KEY`"
    )


@pytest.mark.parametrize("header", ["Bearer Bearer {}", "Bearer token={0} {0}"])
def test_a_field_for_the_key_alone_in_which_the_scheme_stands_too_is_told_so(
    front: Front, header: str
) -> None:
    """n8n, Postman and others put `Bearer` in front of what is typed."""
    headers = {"Authorization": header.format(KEYS["portal"][0])}
    detail = problem(front.client(None).post("/v1/changes", json=BUYER, headers=headers), 401)["detail"]
    assert detail.endswith("there is a blank in it, is `Bearer` there twice?")


def test_no_answer_repeats_a_secret_even_one_that_was_sent(front: Front) -> None:
    http = front.client()
    for account in front.runtime.settings.accounts.values():
        account.token.reveal()
        account.secret.reveal()
    bodies = [
        change(relationtype=secret, event_id=secret * 20)
        for secret in [KEYS["portal"][0], SECRETS["ACME_TOKEN"]]
    ]
    text = http.post("/v1/changes", json=bodies).text
    text += (
        front.client(None)
        .post("/v1/changes", json=bodies, headers={"Authorization": f"Bearer {SECRETS['ACME_SECRET']}"})
        .text
    )
    text += http.get("/v1/jobs", params={KEYS["portal"][0]: "1", "account": SECRETS["ACME_TOKEN"]}).text
    assert text.count("***") >= 3
    assert "canary" not in text


SECRET_OF_ACME = SECRETS["ACME_TOKEN"]


@pytest.mark.parametrize("field", ["event_id", "source", "batch"])
@pytest.mark.parametrize("secret", [SECRET_OF_ACME, KEYS["viewer"][0], f"x {SECRET_OF_ACME} y"])
def test_a_secret_as_a_label_is_refused_without_repeating_it(
    front: Front, http: httpx.Client, field: str, secret: str
) -> None:
    front.runtime.api(front.runtime.settings.account("acme"))  # its secrets are known from now on
    answer = http.post("/v1/changes", json={**BUYER, field: secret})
    document = problem(answer, 422)
    assert document["errors"][0]["path"] == field
    assert "holds a secret" in document["errors"][0]["message"]
    assert secret not in answer.text
    assert not list(front.runtime.client.scan_iter(f"*{secret[:20]}*"))
    assert front.store.counts("acme")["backlog"] == 0


def test_a_secret_as_correlation_or_idempotency_key_is_refused_without_repeating_it(
    front: Front, http: httpx.Client
) -> None:
    front.runtime.api(front.runtime.settings.account("acme"))
    for header in ("X-Correlation-Id", "X-Request-Id", "Idempotency-Key"):
        answer = http.post("/v1/changes", json=BUYER, headers={header: SECRET_OF_ACME})
        problem(answer, 422)
        assert SECRET_OF_ACME not in answer.text + str(answer.headers)
