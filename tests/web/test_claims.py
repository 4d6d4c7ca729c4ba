"""The claim that onOffice sends a marketplace provider gets into its file and requests, and nowhere else."""

import hashlib
import hmac
import json
import os
import stat
import time
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote_plus, urlencode

import httpx
import pytest

from ops.doctor.accounts import check_account
from ops.doctor.findings import Finding
from producers.services import build_services
from producers.webhooks.fields import drop_claim
from tests.support.http_front import SECRETS, Front
from worker.config import Secret, load_settings
from worker.errors import InvalidSettings
from worker.live_settings import credentials_fingerprint
from worker.ports.pace import Pause
from worker.ports.records import JobFilter

FIRST, SECOND = "claim+of/the==first", "claim+of/the==second"


@pytest.fixture
def claim(front: Front, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let the source `office` keep the claims of two customers in files; return that of acme."""
    settings = front.runtime.settings
    accounts = {
        name: replace(account, extendedclaim=Secret(f"file:{name}.claim", folder=tmp_path))
        for name, account in settings.accounts.items()
    }
    office = replace(
        settings.sources["office"],
        account="",
        account_from="customerWebId",
        accounts={"00001-001": "acme", "2": "beta"},
        keeps_claim=True,
        owners=accounts,
    )
    changed = replace(settings, accounts=accounts, sources={**settings.sources, "office": office})
    monkeypatch.setattr(front.runtime.live_settings, "current", changed)
    return tmp_path / "acme.claim"


def call(
    front: Front, claim: str, *, secret: str = SECRETS["OFFICE_SECRET"], **more: object
) -> httpx.Response:
    """Call the webhook as onOffice does."""
    fields = {
        "apiClaim": claim,
        "customerWebId": "00001-001",
        "estateId": 501,
        "userId": 7,
        "timestamp": int(time.time()),
        **more,
    }
    url = f"{front.url}/webhooks/office"
    query = urlencode(sorted(fields.items()))
    proof = hmac.new(secret.encode(), f"{url}?{query}".encode(), hashlib.sha256).hexdigest()
    return front.client(None).get(f"/webhooks/office?{query}&signature={proof}")


def test_each_call_leaves_the_latest_claim_in_the_file_and_requests_carry_it(
    front: Front, claim: Path
) -> None:
    account, now = front.runtime.settings.account("acme"), int(time.time())
    before = credentials_fingerprint(account, "relations")
    assert account.find_claim() == ""
    assert call(front, FIRST, timestamp=now - 60).status_code == 202
    assert (claim.read_text().strip(), stat.S_IMODE(claim.stat().st_mode)) == (FIRST, 0o600)
    assert not (claim.parent / "beta.claim").exists()
    assert [path.name for path in claim.parent.iterdir()] == ["acme.claim"]
    client = front.runtime.api(account)
    assert client._claim == FIRST  # type: ignore[attr-defined]
    call(front, SECOND, timestamp=now - 30)
    call(front, FIRST, timestamp=now - 45)  # came late
    assert account.find_claim() == SECOND
    assert front.runtime.api(account)._claim == SECOND  # type: ignore[attr-defined]
    assert credentials_fingerprint(account, "relations") != before  # so a pause for rejected ones ends
    assert [event for event, _ in front.events if event.startswith("claim")] == ["claim.written"] * 2
    call(front, SECOND, timestamp=now)
    assert int(claim.stat().st_mtime) == now  # as fresh as its last call
    assert Pause("credentials", fingerprint=before).ends_with(credentials_fingerprint(account, "relations"))


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        ({"secret": "wrong"}, 401),
        ({"timestamp": 1_700_000_000}, 401),
        ({"customerWebId": "9"}, 202),
        ({"claim": ""}, 202),
        ({"claim": "two\nlines"}, 202),
        ({"claim": "x" * 5000}, 202),
    ],
)
def test_nothing_else_is_written(front: Front, claim: Path, sent: dict[str, object], status: int) -> None:
    assert call(front, **{"claim": FIRST, **sent}).status_code == status  # type: ignore[arg-type]
    assert list(claim.parent.iterdir()) == []


def test_a_claim_is_neither_in_redis_nor_in_events_also_of_a_message_that_is_kept(
    front: Front, claim: Path
) -> None:
    assert call(front, FIRST).status_code == 202
    kept = call(front, SECOND, estateId="none").json()["jobs"][0]
    assert kept["state"] == "failed"
    assert front.runtime.job_admin.get_payload(kept["id"])
    client = front.runtime.client
    stored = b"".join(client.dump(key) or b"" for key in client.keys("*"))
    for secret in (FIRST, SECOND, "claim%2Bof", "apiClaim"):
        assert secret.encode() not in stored
        assert secret not in json.dumps(front.events, default=str)
    replay = build_services(front.runtime).replays.prepare(
        "acme", JobFilter(state="failed"), by="ada", correction={"parentid": 501}
    )
    assert replay.eligible == 1  # it is read again without the claim


@pytest.mark.parametrize(
    "name", ["apiClaim", "+apiClaim", "%20apiClaim", "api%43laim", "apiClaim[]", "apiClaim%5Ba"]
)
def test_a_claim_is_dropped_however_its_name_is_written(name: str) -> None:
    assert drop_claim(f"a=1&{name}={quote_plus(FIRST)}&b=2".encode()) == b"a=1&b=2"


def test_a_file_that_cannot_be_written_is_told_and_the_call_is_taken(front: Front, claim: Path) -> None:
    claim.mkdir()
    assert call(front, FIRST).status_code == 202
    [fields] = [fields for event, fields in front.events if event == "claim.lost"]
    assert fields["account"] == "acme"
    assert FIRST not in str(fields)


def test_an_old_claim_is_told(front: Front, claim: Path) -> None:
    call(front, FIRST)
    account = front.runtime.settings.account("acme")

    def find() -> list[Finding]:
        return list(check_account(account, front.runtime.read_health()))

    assert [finding.level for finding in find()] == ["ok"]
    os.utime(claim, (1.0, time.time() - 8 * 86_400))
    assert [(found.level, found.message) for found in find()] == [("warn", "its extendedclaim is 8 days old")]
    text = httpx.get(f"{front.url}/metrics").text
    assert 'relations_trouble{account="acme",severity="ticket",trouble="claim_old"} 1.0' in text
    assert 'relations_claim_age_seconds{account="acme"} 691' in text
    claim.unlink()
    assert [found.message for found in find()] == ["has no extendedclaim yet"]


OFFICE = """
[accounts.acme]
token = "{token}"
secret = "{secret}"
{claim}

[sources.office]
scheme = "{scheme}"
secret = "provider-secret-1"
account = "acme"
keeps_claim = true
rules = [{{ action = "'create'", relationtype = "'t'", parentid = "p", childid = "c" }}]
"""


@pytest.mark.parametrize(
    ("claim", "scheme", "fault"),
    [
        ('extendedclaim = "file:none.claim"', "onoffice", ""),
        ('extendedclaim = "env:CLAIM"', "onoffice", "needs extendedclaim"),
        ("", "onoffice", "needs extendedclaim"),
        ('extendedclaim = "file:none.claim"', "bearer", "belongs to scheme"),
    ],
)
def test_settings_say_where_the_claim_is_kept(tmp_path: Path, claim: str, scheme: str, fault: str) -> None:
    text = OFFICE.format(token="t" * 32, secret="s" * 64, claim=claim, scheme=scheme)
    (tmp_path / "relations.toml").write_text(text)
    if not fault:
        warnings = load_settings({}, tmp_path).warnings
        assert any("accounts.acme.extendedclaim: is not there yet" in warning for warning in warnings)
        return
    with pytest.raises(InvalidSettings, match=f"sources.office.keeps_claim: {fault}"):
        load_settings({"CLAIM": "c" * 20}, tmp_path)
