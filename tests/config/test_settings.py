"""Loading the settings: what is good comes out typed, and everything wrong is named at once."""

import os
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path

import pytest

from worker.config import Callback, Settings, checks, load_settings, loader
from worker.config.secret import Secret
from worker.config.table import keys_of
from worker.config.text_file import MAX_FILE
from worker.config.values import Account, AccountLimits
from worker.errors import InvalidSettings, NotFound

ROOT = Path(__file__).parents[2]
ENVIRON = {
    "ACME_TOKEN": "t" * 32,
    "ACME_SECRET": "s" * 64,
    "IMMO_SECRET": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    "FORMS_SECRET": "forms-secret-of-the-tests",
    "CALLBACK_SECRET": "whsec_Y2FuYXJ5LW9sZC1pbW1vLXNlY3JldA==",
}
ACME = '[accounts.acme]\ntoken = "env:ACME_TOKEN"\nsecret = "env:ACME_SECRET"\n'
RULE = "action = 'a'\nrelationtype = 't'\nparentid = 'p'\nchildid = 'c'\n"
SOURCE = (
    "[sources.immo]\naccount = 'acme'\nscheme = 'bearer'\nsecret = 'env:IMMO_SECRET'\n"
    f"[[sources.immo.rules]]\n{RULE}"
)
Read = Callable[..., Settings]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Load these settings from a file, with the example's secrets in the environment."""

    def read_text(text: str, variables: Mapping[str, str] = {}) -> Settings:
        (tmp_path / "relations.toml").write_text(text, "utf-8")
        return load_settings({**ENVIRON, **variables}, tmp_path)

    return read_text


@pytest.fixture
def faults(read: Read) -> Callable[..., list[str]]:
    """Return the faults of such settings."""

    def find(text: str, variables: Mapping[str, str] = {}) -> list[str]:
        with pytest.raises(InvalidSettings) as raised:
            read(text, variables)
        return [str(fault) for fault in raised.value.faults]

    return find


Faults = Callable[..., list[str]]


def test_without_file_and_environment_everything_has_its_default(tmp_path: Path) -> None:
    settings = load_settings({}, tmp_path)
    assert settings == Settings(warnings=settings.warnings)
    assert settings.warnings[1:] == (
        "accounts: there is none, so every change is refused; add an [accounts.NAME] table",
    )


def test_the_shipped_example_is_valid_and_shows_every_default(tmp_path: Path) -> None:
    example = ROOT / "ops/samples/relations.example.toml"
    settings = load_settings({**ENVIRON, "RELATIONS_CONFIG": str(example)}, tmp_path)
    assert set(tomllib.loads(example.read_text("utf-8"))["defaults"]) == set(keys_of(AccountLimits))
    acme = settings.account("acme")
    assert acme == Account(name="acme", token=acme.token, secret=acme.secret, rate=2.0)
    assert acme.token.reveal() == ENVIRON["ACME_TOKEN"]
    assert settings.types["estate:address:contactPerson"].order == "create_first"
    assert settings.keys["portal"].can == ("send",)
    assert settings.sources["immo"].rules[0].childid == "data.person_ids"
    assert settings.sources["forms"].accounts == {"00001-001": "acme"}
    portal = settings.callbacks["portal"]
    assert portal == Callback(name="portal", url=portal.url, secrets=portal.secrets, accounts=("acme",))
    assert settings.warnings == ()


def test_the_last_one_is_kept_only_where_creates_go_first(faults: Faults) -> None:
    (fault,) = faults("[types.'estate:estateUnit']\norder = 'delete_first'\nlast_one = 'keep'\n")
    reason = '"keep" needs order = "create_first", not "delete_first"; leave order out'
    assert fault == f'types."estate:estateUnit".last_one: {reason}'


def test_the_reference_page_names_every_limit_with_its_default() -> None:
    page = (ROOT / "docs/reference/settings.md").read_text("utf-8")
    documented = dict(re.findall(r"^\| `(\w+)` \| `([^`]+)` \|", page, re.MULTILINE))
    assert {name: tomllib.loads(f"x = {documented[name]}")["x"] for name in keys_of(AccountLimits)} == {
        name: list(default) if isinstance(default, tuple) else default
        for name, default in asdict(AccountLimits()).items()
    }


def test_an_account_stands_on_the_defaults_and_overrides_them(read: Read) -> None:
    settings = read(f"[defaults]\nrate = 2\nburst = 3\n{ACME}burst = 5\nbackoff = [2, 60]\n")
    acme = settings.account("acme")
    assert (acme.rate, acme.burst, acme.backoff) == (2.0, 5, (2.0, 60.0))


def test_the_environment_names_the_servers(read: Read) -> None:
    settings = read(
        ACME,
        {
            "RELATIONS_REDIS_URL": "redis://h:6380/1",
            "RELATIONS_BROKER_URL": "amqp://h//",
            "RELATIONS_API_URL": "http://127.0.0.1:9/api",
            "RELATIONS_PREFIX": "staging:rel",
            "RELATIONS_LOG": "console",
        },
    )
    assert (settings.redis_url, settings.broker_url, settings.log) == (
        "redis://h:6380/1",
        "amqp://h//",
        "console",
    )
    assert (settings.prefix, settings.account("acme").api_url) == ("staging:rel", "http://127.0.0.1:9/api")


def test_the_broker_is_the_store_unless_named_and_empty_variables_are_not_set(read: Read) -> None:
    settings = read(
        ACME, {"RELATIONS_REDIS_URL": "redis://h:6380/1", "RELATIONS_BROKER_URL": "", "RELATIONS_LOG": " "}
    )
    assert (settings.broker_url, settings.log) == ("redis://h:6380/1", "json")


@pytest.mark.parametrize(
    ("variable", "url"),
    [
        ("RELATIONS_REDIS_URL", "redis://redis..internal:6379/0"),
        ("RELATIONS_BROKER_URL", f"amqp://{'a' * 64}.example//"),
        ("RELATIONS_API_URL", "https://api..onoffice.de/api/stable/api.php"),
    ],
)
def test_a_host_that_nobody_can_have_is_a_fault_and_no_error_of_the_first_that_connects(
    faults: Faults, variable: str, url: str
) -> None:
    [fault] = faults("", {variable: url})
    assert fault.startswith(f"{variable}: expected a")


def test_every_fault_is_named_at_once(faults: Faults) -> None:
    text = """
    [defaults]
    window = 61
    [accounts.acme]
    token = "env:NOT_THERE"
    rate = "fast"
    max_ids = 501
    brust = 3
    [accounts.beta]
    secret = "file:no/such/file"
    [keys.portal]
    sha256 = "abc"
    accounts = ["acne"]
    can = ["sned"]
    [source.x]
    """
    assert sorted(faults(text, {"RELATIONS_REDIS_URL": "http://h"})) == sorted(
        [
            "RELATIONS_REDIS_URL: expected a URL that begins with redis://, rediss://, redis+sentinel://, "
            "rediss+sentinel://, unix://, redis+cluster://, rediss+cluster://",
            "defaults.window: expected a number from 0 to 60, got 61",
            "accounts.acme.token: env:NOT_THERE is empty or not set",
            "accounts.acme.secret: is missing; expected env:NAME, file:PATH or the secret itself",
            'accounts.acme.rate: expected a positive number, got "fast"',
            "accounts.acme.max_ids: expected a whole number from 1 to 500, got 501",
            'accounts.acme.brust: is unknown; did you mean "burst"?',
            "accounts.beta.token: is missing; expected env:NAME, file:PATH or the secret itself",
            "accounts.beta.secret: file:no/such/file cannot be read: No such file or directory",
            "keys.portal.sha256: expected the 64 hexadecimal digits that `relations keys new` prints",
            'keys.portal.accounts: there is no account "acne"; did you mean "acme"?',
            'keys.portal.can: expected a list of "send", "read", "replay", "admin", got ["sned"]',
            'source: is unknown; did you mean "sources"?',
        ]
    )


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("rate = 0", "rate: expected a positive number, got 0"),
        ("rate = true", "rate: expected a positive number, got true"),
        ("rate = nan", "rate: expected a positive number, got NaN"),
        ("burst = 1.5", "burst: expected a whole number from 1 to 1000, got 1.5"),
        ("max_actions = 0", "max_actions: expected a whole number from 1 to 500, got 0"),
        ('mode = "read"', 'mode: expected one of "write", "observe", got "read"'),
        ("mode = [1]", 'mode: expected one of "write", "observe", got [1]'),
        (
            "backoff = [5, 1]",
            "backoff: expected [first, longest] with 0 < first <= longest <= 86400, got [5, 1]",
        ),
        ("backoff = 5", "backoff: expected [first, longest] with 0 < first <= longest <= 86400, got 5"),
        ("doubt = 149", "doubt: expected at least 150, the signature's 120 s + timeout (rule R14), got 149"),
        (
            "doubt = 150\ntimeout = 60",
            "doubt: expected at least 180, the signature's 120 s + timeout (rule R14), got 150",
        ),
        (
            "give_up_after = 100",
            "give_up_after: expected at least doubt (150), or relations are given up unread, got 100",
        ),
        (
            "hold_for = 700\ngive_up_after = 600",
            "hold_for: expected at most give_up_after (600), or what was held is given up as it may go, "
            "got 700",
        ),
        ('api_url = "ftp://h"', "api_url: expected an https:// or http:// URL without user and password"),
        (
            'api_url = "https://u:p@h"',
            "api_url: expected an https:// or http:// URL without user and password",
        ),
    ],
)
def test_a_limit_that_cannot_hold_says_what_is_expected(faults: Faults, line: str, fault: str) -> None:
    assert faults(f"{ACME}{line}\n") == [f"accounts.acme.{fault}"]


def test_a_fault_of_the_defaults_is_not_repeated_for_every_account(faults: Faults) -> None:
    assert faults(f"[defaults]\ndoubt = 130\n{ACME}{ACME.replace('acme', 'beta')}") == [
        "defaults.doubt: expected at least 150, the signature's 120 s + timeout (rule R14), got 130"
    ]


@pytest.mark.parametrize("doubt", ["130", "'x'"])
def test_an_account_inherits_no_default_that_is_at_fault(faults: Faults, doubt: str) -> None:
    (fault,) = faults(f"[defaults]\ndoubt = {doubt}\n{ACME}timeout = 60\n")
    assert fault.startswith("defaults.doubt: ")


def test_doubt_follows_the_timeout_where_nobody_set_it(read: Read) -> None:
    assert read(f"[defaults]\ntimeout = 20\n{ACME}timeout = 60\n").account("acme").doubt == 180


@pytest.mark.parametrize(("give_up_after", "expected"), [(86_400, 3600), (600, 600)])
def test_a_change_is_held_for_an_hour_or_as_long_as_it_may_live_where_nobody_set_it(
    read: Read, give_up_after: int, expected: int
) -> None:
    settings = read(f"[defaults]\ngive_up_after = 900\n{ACME}give_up_after = {give_up_after}\n")
    assert settings.account("acme").hold_for == expected


def test_a_refused_secret_or_url_is_not_repeated(faults: Faults) -> None:
    found = faults(
        '[accounts.acme]\ntoken = ["hunter2"]\nsecret = 4711\n',
        {"RELATIONS_BROKER_URL": "kafka://u:hunter2@h"},
    )
    assert len(found) == 3
    assert not any("hunter2" in fault or "4711" in fault for fault in found)


@pytest.mark.parametrize("name", ["a.b", "ä", "", "a b", "{a}", "x" * 41])
def test_a_name_that_cannot_stand_in_urls_is_a_fault(faults: Faults, name: str) -> None:
    key = f'[keys."{name}"]\nsha256 = "{"0" * 64}"\naccounts = ["acme"]\ncan = ["send"]\n'
    (fault,) = faults(ACME + key)
    wanted = "a name (1 to 40 letters, digits, - and _, a letter or digit first)"
    assert fault.endswith(f': expected {wanted}, got "{name}"')


def test_without_a_name_the_file_is_looked_for_here_and_then_in_etc(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    etc, here = tmp_path / "etc", tmp_path / "here"
    for folder in (etc, here):
        folder.mkdir()
    monkeypatch.setattr(loader, "SYSTEM_FOLDER", etc)
    secrets = {"ACME_TOKEN": "t" * 32, "ACME_SECRET": "s" * 64}
    nothing = load_settings({}, here)
    assert nothing.file is None
    assert nothing.warnings[0] == (
        "RELATIONS_CONFIG: names no settings file, and there is neither "
        f"{here / 'relations.toml'} nor {etc / 'relations.toml'}"
    )
    (etc / "relations.toml").write_text(ACME)
    assert load_settings(secrets, here).file == etc / "relations.toml"
    (here / "relations.toml").write_text(ACME)
    assert load_settings(secrets, here).file == here / "relations.toml"
    (here / "relations.toml").unlink()
    (here / "relations.toml").symlink_to(here / "nowhere")  # is meant, and not passed over
    with pytest.raises(InvalidSettings, match=r"here/relations\.toml cannot be read"):
        load_settings({}, here)


def make_large(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(MAX_FILE + 1)  # takes no room


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (os.mkfifo, "it is no file; a pipe or a device cannot be read again"),
        (lambda path: path.symlink_to("/dev/zero"), "it is no file"),
        (Path.mkdir, "Is a directory"),
        (make_large, r"it has 16,777,217 bytes, and may have 16,777,216"),
    ],
    ids=["pipe", "device", "folder", "large"],
)
def test_what_is_no_file_of_text_is_a_fault_and_no_wait(
    tmp_path: Path, make: Callable[[Path], None], why: str
) -> None:
    make(tmp_path / "odd")
    with pytest.raises(InvalidSettings, match=f"RELATIONS_CONFIG: .*odd cannot be read: {why}"):
        load_settings({"RELATIONS_CONFIG": "odd"}, tmp_path)
    with pytest.raises(InvalidSettings, match=f"file:odd: cannot be read: {why}"):
        Secret("file:odd", folder=tmp_path).reveal()


def test_no_settings_file_can_be_asked_for(tmp_path: Path) -> None:
    (tmp_path / "relations.toml").write_text("not read")
    assert dict(load_settings({"RELATIONS_CONFIG": os.devnull}, tmp_path).accounts) == {}


def test_a_named_file_must_be_there_and_any_file_must_be_toml(tmp_path: Path, faults: Faults) -> None:
    with pytest.raises(
        InvalidSettings, match=r"RELATIONS_CONFIG: .*elsewhere\.toml cannot be read: No such file"
    ):
        load_settings({"RELATIONS_CONFIG": "elsewhere.toml"}, tmp_path)
    assert faults("[accounts\n")[0].startswith("relations.toml: is not valid TOML: ")
    assert faults("accounts = 3\n") == ["accounts: expected a table, got a number"]
    assert faults("[accounts]\ntoken = 'x'\n") == ["accounts.token: expected a table, got text"]


def test_the_file_is_utf_8_whatever_the_locale(read: Read) -> None:
    assert read(ACME + SOURCE.replace("'a'", "'Straße'")).sources["immo"].rules[0].action == "Straße"


@pytest.mark.parametrize("scheme", ["redis+cluster", "rediss+cluster"])
def test_a_redis_cluster_needs_another_broker(faults: Faults, scheme: str) -> None:
    assert faults(ACME, {"RELATIONS_REDIS_URL": f"{scheme}://h:7000"})[0].startswith(
        "RELATIONS_BROKER_URL: is missing"
    )


@pytest.mark.parametrize(
    "url",
    [
        "redis://h",
        "rediss://u:p@h:1/0",
        "redis+sentinel://h1:26379,h2:26379/main/0?sentinel_username=u&sentinel_password=p",
        "rediss+sentinel://h1:26379,h2:26379/main/0?ssl_ca_certs=/ca.pem&sentinel_password=p",
        "unix:///run/redis.sock",
        "redis://[::1]:6379",
        "redis://u:p%40@h/1?db=1&password=p%40&username=u",
        "redis://h/?db=2",
        "redis+sentinel://u:p@[::1]:26379,[::2]/main/0?max_age=60",
        "redis+sentinel://h1:26379,h2:26379/main/0/",
    ],
)
def test_every_kind_of_store_is_taken(read: Read, url: str) -> None:
    assert read(ACME, {"RELATIONS_REDIS_URL": url}).redis_url == url


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        (
            "rediss://h?ssl_cert_reqs=always",
            "the option ssl_cert_reqs expects one of required, optional, none",
        ),
        ("rediss://h?ssl_certs=x", "the option ssl_certs is unknown; known are db, "),
        ("redis://h?ssl_ca_certs=x", "ssl_ options belong to rediss://"),
        ("redis+sentinel://h?ssl_ca_certs=x", "ssl_ options belong to rediss://"),
        ("redis+sentinel://h?db=1", "the option db is unknown; known are client_name, "),
        ("redis://h?sentinel_password=x", "the option sentinel_password is unknown; known are db, "),
        ("redis://h/zero", "expected the number of a database"),
        ("redis://h/1?db=2", "db is given twice, and not the same; leave one out"),
        ("redis://h?db=1&db=2", "db is given twice"),
        ("rediss://u:p%40@h?password=p", "password is given twice"),
        ("unix://u:p@/run/redis.sock?username=v", "username is given twice"),
        ("unix:///run/redis.sock?db=x", "the option db expects the number of a database"),
        ("redis://h?socket_timeout=-1", "the option socket_timeout expects a positive number"),
        ("redis://a:1,b:2/0", "expected one host; several are redis+sentinel:// or redis+cluster://"),
        (
            "redis+sentinel://:pw/x@a,b/main/0",
            "expected HOST:PORT,HOST:PORT after redis+sentinel://; in user",
        ),
        ("redis+sentinel://a,b/main/zero", "expected a service and the number of a database after the hosts"),
    ],
)
@pytest.mark.parametrize("variable", ["RELATIONS_REDIS_URL", "RELATIONS_BROKER_URL"])
def test_an_option_of_a_url_that_cannot_be_used_is_a_fault(
    faults: Faults, variable: str, url: str, reason: str
) -> None:
    assert faults(ACME, {variable: url})[0].startswith(f"{variable}: cannot be used: {reason}")


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("timeout=5", "the option timeout is unknown; known are heartbeat, login_method"),
        ("Hunter2=1", "the option is unknown; known are heartbeat, login_method"),
        ("virtual_host=x", "the option virtual_host is unknown"),
        ("heartbeat=often", "the option heartbeat expects a number of seconds"),
        ("ssl_ca_certs=x", "TLS is asked for by amqps:// alone; SSL_CERT_FILE names an authority for it"),
        ("ssl=true", "TLS is asked for by amqps:// alone; SSL_CERT_FILE names an authority for it"),
    ],
)
@pytest.mark.parametrize("url", ["amqp://u:p@h/v", "amqps://a//;amqps://b//"])
def test_an_option_of_a_rabbitmq_that_cannot_be_used_is_a_fault(
    read: Read, faults: Faults, url: str, query: str, reason: str
) -> None:
    [fault] = faults(ACME, {"RELATIONS_BROKER_URL": f"{url}?{query}"})
    assert fault.startswith(f"RELATIONS_BROKER_URL: cannot be used: {reason}")
    known = f"{url}?heartbeat=30&login_method=PLAIN"
    assert read(ACME, {"RELATIONS_BROKER_URL": known}).broker_url == known


@pytest.mark.parametrize(
    "url",
    [
        "redis://:pass?w0rd@h:6379/0",
        "redis://u:12?hunter&foo@h",
        "amqp://u:12?hunter;foo@h",
        "amqp://u:12?hunter=1&b@h",
    ],
)
def test_a_part_of_a_password_is_not_taken_for_the_name_of_an_option(faults: Faults, url: str) -> None:
    (fault,) = faults(ACME, {"RELATIONS_BROKER_URL": url})
    assert not re.search("w0rd|hunter|foo", fault)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        (
            "h.redis.cache.windows.net:6380,password=hunter2=,ssl=True",
            "; this is Azure's form; write rediss://:",
        ),
        ("rediss://h:6380,password=hunter2=,ssl=True,abortConnect=False", ": this is Azure's form; write "),
        ("redis://:a,hunter2/b@h:6379/0", "in user and password, write what is no letter or digit as %"),
        ("redis://:hunter2#b@h:6379/0", "in user and password, write what is no letter or digit as %"),
        (
            "redis+sentinel://:hunter2/b@a:26379,b:26379/main/0",
            "in user and password, write what is no letter",
        ),
        ("redis://::1:6379/0", "an address of version 6 stands in brackets"),
        ("redis://fd00:1::1", "an address of version 6 stands in brackets"),
        ("redis+cluster://:hunter2/b@a:26379,b:26379", "in user and password, write what is no letter"),
        ('"redis://:hunter2@h:6379/0"', "; leave out the quotation marks"),
        ("redis:6379", "; write redis:// before the host"),
        ("valkeys://:hunter2@h", "; valkeys:// is written rediss://"),
    ],
)
def test_what_is_wrong_with_the_url_that_a_host_shows_is_said_without_its_password(
    faults: Faults, url: str, reason: str
) -> None:
    (fault,) = faults(ACME, {"RELATIONS_REDIS_URL": url, "RELATIONS_BROKER_URL": "redis://h"})
    assert reason in fault
    assert "hunter2" not in fault


def test_a_broker_of_several_sentinels_is_not_written_as_celery_has_it(faults: Faults) -> None:
    (fault,) = faults(ACME, {"RELATIONS_BROKER_URL": "sentinel://a:26379;sentinel://b:26379"})
    assert "expected HOST:PORT,HOST:PORT after sentinel://" in fault


def test_blanks_around_a_variable_do_not_count(read: Read) -> None:
    assert read(ACME, {"RELATIONS_REDIS_URL": " redis://h:1/0\n"}).redis_url == "redis://h:1/0"


@pytest.mark.parametrize("url", ["h:6379", "redis://", "redis://h:port", "redis://[::1", "unix://"])
def test_what_is_no_url_is_a_fault(faults: Faults, url: str) -> None:
    assert faults(ACME, {"RELATIONS_REDIS_URL": url})[0].startswith("RELATIONS_REDIS_URL: expected a URL")


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (("account = 'acme'", ""), "account: expected either account, or account_from with accounts"),
        (("'acme'", "'acne'"), 'account: there is no account "acne"; did you mean "acme"?'),
        (
            ("account = 'acme'", "account_from = 'x'"),
            "accounts: belongs to account_from: each value it may find, and the account it stands for",
        ),
        (
            ("account = 'acme'", "account_from = 'x'\naccounts = { a = 'acne' }"),
            'accounts.a: there is no account "acne"; did you mean "acme"?',
        ),
        (
            ("'bearer'", "'hmac'"),
            "header: is missing; expected the name of the header that carries the signature",
        ),
        (
            ("secret =", "prefix = 'v1='\nsecret ="),
            'prefix: belongs to scheme "hmac"; scheme "bearer" has no use for it',
        ),
        (
            ("'bearer'", "'hmac'\nheader = 'X-Sign'\nsignature_in = 'query:s'"),
            "signature_in: says what header says, too; leave one of them out",
        ),
        (
            ("'bearer'", "'hmac'\nheader = 'X-Sign'\ntimestamp_in = 'query:t'\ntimestamp_header = 'X-Time'"),
            "timestamp_in: says what timestamp_header says, too; leave one of them out",
        ),
        (
            ("'bearer'", "'hmac'\nheader = 'X-Sign'\nsecret_from = 'header:X-Secret'"),
            'secret_from: needs secret = "file:…", to write there what the sender hands over',
        ),
        (
            ("secret =", "answer = 204\nanswer_body = 'OK'\nsecret ="),
            "answer_body: cannot be sent with answer = 204, which has no body",
        ),
        (("'env:IMMO_SECRET'", "['env:IMMO_SECRET', 'env:OLD']"), "secret: env:OLD is empty or not set"),
        (
            ("'env:IMMO_SECRET'", "[]"),
            "secret: expected env:NAME, file:PATH or the secret itself, or a list of them",
        ),
        (("action = 'a'", ""), "rules[0].action: is missing; expected a JMESPath expression as text"),
        (("childid = 'c'", "childid = 3"), "rules[0].childid: expected a JMESPath expression as text, got 3"),
        (
            ("parentid =", "parentId = ''\nparentid ="),
            'rules[0].parentId: is unknown; did you mean "parentid"?',
        ),
        ((f"[[sources.immo.rules]]\n{RULE}", ""), "rules: is missing; add a [[sources.immo.rules]] table"),
    ],
)
def test_a_source_that_cannot_work_says_why(faults: Faults, change: tuple[str, str], fault: str) -> None:
    assert faults(ACME + SOURCE.replace(*change)) == [f"sources.immo.{fault}"]


def test_a_standard_webhooks_secret_must_be_base64(faults: Faults) -> None:
    source = SOURCE.replace("bearer", "standard-webhooks")
    assert faults(ACME + source, {"IMMO_SECRET": "whsec_???"}) == [
        "sources.immo.secret: expected whsec_ and base64, as scheme standard-webhooks has it"
    ]


CALLBACK = (
    "[callbacks.portal]\nurl = 'https://portal.example/hook'\nsecret = 'env:CALLBACK_SECRET'\n"
    "accounts = ['acme']\nnetworks = '10.0.0.0/8'\n"
)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (("['acme']", "['acne']"), 'accounts: there is no account "acne"; did you mean "acme"?'),
        (("['acme']", "[]"), "accounts: expected a list of names, got []"),
        (("'10.0.0.0/8'", "['10.0.0.1/8']"), "networks: expected networks such as"),
        (("https://portal", "https://ada:pw@portal"), "url: expected an https:// or http:// URL without"),
        (("env:CALLBACK_SECRET", "no base 64"), "secret: expected whsec_ and base64"),
        (("env:CALLBACK_SECRET", "env:NOWHERE"), "secret: env:NOWHERE is empty or not set"),
        (("networks", "quiet = 0\nnetworks"), "quiet: expected a number from 1 to 3600, got 0"),
        (("networks", "hosts = 'x'\nnetworks"), "hosts: is unknown"),
    ],
)
def test_a_callback_that_cannot_work_says_why(
    faults: Faults, read: Read, change: tuple[str, str], fault: str
) -> None:
    found = [text for text in faults(ACME + CALLBACK.replace(*change)) if "warn" not in text]
    assert found[0].startswith(f"callbacks.portal.{fault}")
    assert "pw" not in "".join(found)
    assert read(ACME + CALLBACK).callbacks["portal"].networks == ("10.0.0.0/8",)


def test_a_faulty_callback_stops_only_what_sends_it(tmp_path: Path) -> None:
    text = ACME + CALLBACK.replace("env:CALLBACK_SECRET", "no base 64")
    (tmp_path / "relations.toml").write_text(text, "utf-8")
    settings = load_settings(ENVIRON, tmp_path, spare=True)
    assert (list(settings.accounts), settings.callbacks) == (["acme"], {})
    assert "callbacks.portal.secret" in "".join(settings.spared)


def test_a_callback_that_others_can_read_is_warned_about(read: Read) -> None:
    warnings = read(ACME + CALLBACK.replace("https:", "http:")).warnings
    assert warnings == (
        "callbacks.portal.url: is not encrypted: what is done can be read on the way; use https://",
    )


def test_an_unknown_relation_type_is_named_with_all_other_faults(faults: Faults) -> None:
    unknown, rate = faults("[types.'estate:adress:owner']\norder = 'free'\n[defaults]\nrate = 0\n")[::-1]
    assert unknown.startswith('types."estate:adress:owner": ')
    assert "did you mean" in unknown
    assert rate == "defaults.rate: expected a positive number, got 0"


def test_a_whole_number_may_be_written_with_a_point(read: Read) -> None:
    assert read(f"{ACME}burst = 5.0\n").account("acme").burst == 5


def test_two_names_for_one_key_are_a_fault(faults: Faults) -> None:
    keys = "".join(
        f'[keys.{name}]\nsha256 = "{"a" * 64}"\naccounts = ["acme"]\ncan = ["read"]\n'
        for name in ("one", "two")
    )
    assert faults(ACME + keys) == [
        "keys.two.sha256: is the same key as keys.one; make another with `relations keys new`"
    ]


@pytest.mark.parametrize(
    ("text", "variables", "warning"),
    [
        (
            ACME,
            {"ACME_TOKEN": "t" * 64, "ACME_SECRET": "s" * 32},
            "accounts.acme.token: looks swapped with the secret: a token has 32 characters, a secret 64",
        ),
        (ACME, {"ACME_TOKEN": "short-token"}, "accounts.acme.token: has 11 characters; onOffice's have 32"),
        (
            f"{ACME}[accounts.berg]\ntoken = 'env:ACME_TOKEN'\nsecret = 'env:ACME_SECRET'\n",
            {},
            "accounts.berg.token: is the token of accounts.acme: both write into one CRM, each with a pace "
            "and an order of its own",
        ),
        (
            ACME.replace("env:ACME_TOKEN", "t" * 32),
            {},
            "accounts.acme.token: is written in the settings file; keep it in env:NAME or file:PATH instead",
        ),
        (
            f'{ACME}api_url = "http://far.example"',
            {},
            "accounts.acme.api_url: is not encrypted: the token can be read on the way; use https://",
        ),
        (
            ACME,
            {"RELATIONS_API_URL": "http://far.example"},
            "RELATIONS_API_URL: is not encrypted: the token can be read on the way; use https://",
        ),
        (
            ACME,
            {"RELATIONS_REDIS_ULR": "redis://h"},
            'RELATIONS_REDIS_ULR: is not read; did you mean "RELATIONS_REDIS_URL"?',
        ),
    ],
)
def test_what_works_but_is_doubtful_is_a_warning(
    read: Read, text: str, variables: dict[str, str], warning: str
) -> None:
    assert read(text, variables).warnings == (warning,)


def test_no_secret_shows_in_the_repr_of_the_settings(read: Read) -> None:
    text = ACME.replace("env:ACME_TOKEN", "t" * 32) + SOURCE
    settings = read(
        text,
        {
            "RELATIONS_REDIS_URL": "rediss://u:hunter2@h",
            "RELATIONS_BROKER_URL": "redis://h?password=hunter2&db=1",
        },
    )
    for secret in (*ENVIRON.values(), "hunter2"):
        assert secret not in repr(settings)
    assert "env:ACME_SECRET" in repr(settings)


def test_an_unknown_account_is_answered_with_the_nearest_one(read: Read) -> None:
    with pytest.raises(NotFound, match='there is no account "acne"; did you mean "acme"'):
        read(ACME).account("acne")


@pytest.mark.parametrize(
    ("secret", "scheme", "fault", "warning"),
    [
        ("", "bearer", "sources.immo.secret: env:IMMO_SECRET is empty or not set", ""),
        ("12345", "bearer", "sources.immo.secret: has 5 characters", ""),
        ("whsec_", "standard-webhooks", "sources.immo.secret: is empty", ""),
        ("whsec_MTIzNDU=", "standard-webhooks", "sources.immo.secret: has 5 characters", ""),
        ("123456", "bearer", "", "sources.immo.secret: can be guessed"),
        ("whsec_MTIzNDU2", "standard-webhooks", "", "sources.immo.secret: can be guessed"),
        ("0123456789abcdef", "bearer", "", ""),
        ("0123456789abcdef", "hmac", "", "sources.immo.timestamp_header: is missing, so a copy"),
    ],
)
def test_a_webhook_with_an_empty_or_short_secret_or_without_a_time_is_a_fault_or_a_warning(
    read: Read, faults: Callable[..., list[str]], secret: str, scheme: str, fault: str, warning: str
) -> None:
    text = ACME + SOURCE.replace(
        "'bearer'", f"'{scheme}'" + ("\nheader = 'X-Sign'" if scheme == "hmac" else "")
    )
    if fault:
        assert [found[: len(fault)] for found in faults(text, {"IMMO_SECRET": secret})] == [fault]
    else:
        warnings = read(text, {"IMMO_SECRET": secret}).warnings
        assert [found[: len(warning)] for found in warnings] == ([warning] if warning else [])


@pytest.mark.parametrize(
    "signed", ["", "x", "{timestamp}", "{url}", "{body", "{body:}", "{body}{cookie:a}", "{header:}{body}"]
)
def test_what_is_signed_is_put_together_of_what_is_known(
    faults: Callable[..., list[str]], signed: str
) -> None:
    text = SOURCE.replace("'bearer'", f"'hmac'\nheader = 'X-Sign'\nsigned = '{signed}'")
    assert faults(ACME + text)[0].startswith("sources.immo.signed: expected a text with {body}, {form} or")


@pytest.mark.parametrize(
    ("written", "fault"),
    [
        ("challenge_in = 'query:c'\nchallenge_answer = 'a {hmac} {challenge}'", ""),
        ("challenge_in = 'query:c'", "challenge_answer: is missing"),
        ("challenge_answer = '{challenge}'", "challenge_in: is missing"),
        ("challenge_in = 'query:c'\nchallenge_answer = 'yes'", "challenge_answer: expected a text with"),
        ("challenge_in = 'path'\nchallenge_answer = '{hmac}'", 'challenge_in: expected "header:NAME"'),
        (
            "challenge_in = 'query:c'\nchallenge_answer = '{hmac}'\nscheme = 'basic'",
            'challenge_answer: can have an {hmac} with scheme "hmac" only',
        ),
    ],
)
def test_the_answer_to_a_challenge_says_what_it_answers(
    faults: Callable[..., list[str]], read: Read, written: str, fault: str
) -> None:
    scheme = "" if "scheme" in written else "scheme = 'hmac'\nheader = 'X-Sign'\n"
    text = ACME + SOURCE.replace("scheme = 'bearer'\n", f"{scheme}{written}\n")
    secret = {"IMMO_SECRET": "0123456789abcdef"}
    if fault:
        assert [each for each in faults(text, secret) if each.startswith(f"sources.immo.{fault}")]
    else:
        assert read(text, secret).sources["immo"].signs_challenge


@pytest.mark.parametrize(
    ("written", "fault"),
    [
        ("signed = '{url}{form}'\ndigest_in = 'query:h'", ""),
        ("signed = '{digest}'\ndigest_in = 'header:Digest'", ""),
        ("signed = '{body}{header:Digest}'\ndigest_in = 'header:Digest'", ""),
        ("signed = '{digest}'", "signed: has a {digest}"),
        ("signed = '{body}{params}'", "signature_field: is missing"),
        ("digest_in = 'header:Digest'", "digest_in: is not signed itself"),
        ("signed = '{url}{form}'\ndigest_in = 'header:Digest'", "digest_in: is not signed itself"),
        ("signed = '{body}{query:a}'\ndigest_in = 'query:h'", "digest_in: is not signed itself"),
        ("signed = '{digest}'\ndigest_in = 'body:h'", 'digest_in: expected "header:NAME" or "query:NAME"'),
    ],
)
def test_a_hash_that_stands_for_the_body_is_signed_itself(
    faults: Callable[..., list[str]], read: Read, written: str, fault: str
) -> None:
    text = ACME + SOURCE.replace("'bearer'", f"'hmac'\nheader = 'X-Sign'\n{written}")
    secret = {"IMMO_SECRET": "0123456789abcdef"}
    if fault:
        assert faults(text, secret)[0].startswith(f"sources.immo.{fault}")
    else:
        assert not any("does not cover" in each for each in read(text, secret).warnings)


def test_a_secret_by_which_another_source_signs_challenges_is_warned_about(read: Read) -> None:
    signed = "scheme = 'hmac'\nheader = 'X-Sign'\n"
    challenge = "challenge_in = 'query:c'\nchallenge_answer = '{hmac}'\n"
    one = SOURCE.replace("scheme = 'bearer'\n", signed + challenge)
    secret = {"IMMO_SECRET": "0123456789abcdef", "OTHER": "fedcba9876543210"}
    for more, warned in (("", True), (challenge, False)):
        other = SOURCE.replace("scheme = 'bearer'\n", signed + more).replace("immo", "desk")
        for named, is_same in (("IMMO_SECRET", True), ("OTHER", False)):
            text = ACME + one + other.replace("IMMO_SECRET", named)
            found = [each for each in read(text, secret).warnings if "signs challenges by it" in each]
            assert [each.partition(":")[0] for each in found] == ["sources.desk.secret"] * (
                warned and is_same
            )
    digest = f"{challenge}signed = '{{digest}}'\ndigest_in = 'header:Digest'\n"
    warnings = read(ACME + one.replace(challenge, digest), secret).warnings
    assert any(each.startswith("sources.immo.signed: is a word as a challenge is") for each in warnings)


def test_a_signature_that_does_not_cover_the_body_is_warned_about(read: Read) -> None:
    text = SOURCE.replace("'bearer'", "'hmac'\nsignature_in = 'body:s'\nsigned = '{body:a}{header:X-Id}'")
    warned = read(ACME + text, {"IMMO_SECRET": "0123456789abcdef"}).warnings
    assert any(text.startswith("sources.immo.signed: does not cover the whole body") for text in warned)


def test_a_secret_that_its_sender_has_yet_to_hand_over_is_no_reason_not_to_start(
    read: Read, tmp_path: Path
) -> None:
    text = SOURCE.replace("'bearer'", "'hmac'\nheader = 'X-Sign'\nsecret_from = 'header:X-Secret'")
    text = text.replace("env:IMMO_SECRET", "file:not-there")
    settings = read(ACME + text)
    assert not settings.spared
    assert any(warning.startswith("sources.immo.secret: is not there yet") for warning in settings.warnings)


def test_a_secret_has_one_place_that_is_named(faults: Callable[..., list[str]]) -> None:
    for place in ("cookie:k", "header:", "query:a=b", "body:", "path:x"):
        text = SOURCE.replace("'bearer'", f"'secret'\nsecret_in = '{place}'")
        assert faults(ACME + text)[0].startswith("sources.immo.secret_in: expected ")
    assert faults(ACME + SOURCE.replace("'bearer'", "'secret'"))[0].startswith(
        "sources.immo.secret_in: is missing"
    )
    wrong = SOURCE.replace("'bearer'", "'bearer'\nsecret_in = 'path'")
    assert faults(ACME + wrong) == [
        'sources.immo.secret_in: belongs to scheme "secret"; scheme "bearer" has no use for it'
    ]


def test_a_byte_order_mark_before_the_settings_or_a_secret_is_no_part_of_them(tmp_path: Path) -> None:
    (tmp_path / "relations.toml").write_text(ACME.replace("env:ACME_TOKEN", "file:token"), "utf-8-sig")
    (tmp_path / "token").write_text("t" * 32 + "\r\n", "utf-8-sig")
    assert load_settings(ENVIRON, tmp_path).account("acme").token.reveal() == "t" * 32


def test_a_source_knows_its_accounts_and_both_have_maps(read: Read) -> None:
    maps = "[sources.immo.maps.stage]\n17 = 'sold'\n[accounts.acme.maps.stage]\n17 = 'lost'\n"
    source = read(
        ACME + SOURCE.replace("[[sources", "event = 'created'\ncountry = 'AT'\n[[sources") + maps
    ).sources["immo"]
    assert (source.event, source.country, source.maps) == ("created", "AT", {"stage": {"17": "sold"}})
    assert source.owners["acme"].maps == {"stage": {"17": "lost"}}
    assert list(source.owners) == ["acme"]


def test_traces_without_what_makes_them_are_one_fault_that_says_what_to_install(
    faults: Faults, read: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks, "TRACE_PACKAGES", ("no-such-distribution", "nor-this"))
    assert read(ACME, {"RELATIONS_TRACES": "off"}).traces == "off"
    (fault,) = faults(ACME, {"RELATIONS_TRACES": "otlp"})
    assert fault.startswith("RELATIONS_TRACES: needs the package no-such-distribution; install it with: pip")
    assert "onoffice-relations[telemetry]" in fault


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("maps = { stage = { a = 1 } }", "maps: expected tables of texts by name"),
        ("maps = { stage = 'sold' }", "maps: expected tables of texts by name"),
        ("country = 'Germany'", "country: expected a country of two letters, such as DE"),
        ("event = ''", "event: expected text"),
        ("owners = {}", "owners: is unknown"),
    ],
)
def test_maps_countries_and_events_that_cannot_be_are_named(faults: Faults, line: str, fault: str) -> None:
    [found] = faults(ACME + SOURCE.replace("[[sources", f"{line}\n[[sources"))
    assert found.startswith(f"sources.immo.{fault}")


# --- authorities of the environment


@pytest.mark.parametrize(
    ("content", "why"),
    [(None, "cannot be read: No such file or directory"), ("", "holds no certificate in PEM")],
)
def test_authorities_that_cannot_be_used_are_a_wrong_setting(
    faults: Callable[..., list[str]], tmp_path: Path, content: str | None, why: str
) -> None:
    path = tmp_path / "company-ca.pem"
    if content is not None:
        path.write_text(content)
    assert faults(ACME, {"SSL_CERT_FILE": str(path)}) == [f"SSL_CERT_FILE: {path} {why}"]


def test_authorities_are_not_asked_for_where_nothing_is_encrypted(read: Read, tmp_path: Path) -> None:
    url = "http://localhost:8080"
    assert read(ACME, {"SSL_CERT_FILE": str(tmp_path / "none.pem"), "RELATIONS_API_URL": url}).api_url == url
