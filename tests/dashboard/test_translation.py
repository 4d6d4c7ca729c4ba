"""What the core writes in English is in German on German pages, and nothing else is touched."""

import re
from datetime import UTC
from http import HTTPStatus
from pathlib import Path
from string import Formatter as Filler
from typing import get_args
from zoneinfo import ZoneInfo

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.dashboard.formats import Formatter
from ops.dashboard.rendering import MENU
from ops.dashboard.texts import Pattern, Texts, patterns_of, read_catalogue
from ops.explain.text import Instant, Sentence, format_change, join, pluralize
from producers.errors import RefusalReason
from producers.portals.http.problems import STATUS
from producers.replay.eligibility import REASONS
from tests.dashboard.test_what_is_shown import fill
from tests.support.browsing import Browse, text_of
from tests.support.http_front import Front
from tests.support.sentences import sentences_of, templates_of
from worker.contract import Change, read_instant, write_instant
from worker.onoffice.codes import describe, table
from worker.planner.actions import ErrorClass, Verdict
from worker.ports.pace import Pause, WaitReason
from worker.ports.records import ERROR_CLASSES, JobState
from worker.redis.client import ADVICE, PIPELINE

TREE = Path(__file__).parents[2]
SHOWN = (  # modules whose sentences pages show
    *("ops/doctor/server.py", "ops/doctor/settings.py"),
    *("ops/lookups.py", "ops/dashboard/endpoint.py", "ops/dashboard/pages/acts.py"),
    *("producers/job_admin/resolve.py", "producers/job_admin/selection.py"),
    *("producers/portals/http/endpoint.py", "producers/portals/http/problems.py"),
    *("producers/portals/http/query.py", "producers/webhooks/redelivery.py"),
    *("producers/replay/eligibility.py", "producers/replay/prepare.py", "producers/replay/resend.py"),
    *("producers/replay/service.py", "worker/onoffice/codes.py", "worker/onoffice/wire.py"),
    *("worker/planner/apply_reply.py", "worker/planner/guard.py", "worker/planner/lookup.py"),
    *("worker/redis/client.py", "worker/usecases/batch.py", "worker/usecases/health.py"),
    *("worker/usecases/look_up.py", "worker/usecases/waiting.py"),
    *(
        str(file.relative_to(TREE))
        for file in (TREE / "ops/dashboard/pages").iterdir()
        if file.suffix == ".py"
    ),
)
OF_OTHERS = {  # texts of Redis and its client, and a command
    *(sign for sign in ADVICE if " " in sign),
    PIPELINE.pattern,
    "relations accounts resume {0}",
}
WORDS = {
    *(*get_args(JobState), *get_args(WaitReason), *ERROR_CLASSES, *map(str, ErrorClass), *REASONS),
    *("create", "modify", "delete", "replace", "read back", "parent", "child"),
    *get_args(RefusalReason),
    *(HTTPStatus(status).phrase for status in STATUS.values()),
    *(verdict.replace("_", " ") for verdict in map(str, Verdict)),
}
GERMAN = read_catalogue("de")
NOON = 1_763_985_600_000_000  # µs


def translate(text: str, language: str = "de") -> str:
    return Formatter(Texts(language), UTC, NOON).translate(text)


def placeholders(template: str) -> list[str]:
    return sorted(f"{name}:{spec}" for _, name, spec, _ in Filler().parse(template) if name is not None)


def test_every_sentence_of_the_core_that_pages_show_is_translated() -> None:
    texts = {text for module in SHOWN for text in sentences_of(TREE / module)}
    assert texts - GERMAN.keys() - OF_OTHERS == set()


def test_every_explanation_is_translated() -> None:
    templates = {text for file in (TREE / "ops").rglob("*.py") for text in templates_of(file)}
    assert {text for text in templates if re.search("[a-z]{2}", text)} - GERMAN.keys() == set()
    for noun in ("action", "relation", "rejection"):
        assert {str(pluralize(1, noun)), pluralize(2, noun).template} <= GERMAN.keys()


def test_every_word_that_sentences_use_is_translated() -> None:
    assert WORDS - GERMAN.keys() == set()


def test_every_code_that_we_may_meet_has_a_german_meaning() -> None:
    met = {describe(code) for code, known in table().items() if known.error is not ErrorClass.OTHER}
    assert read_catalogue("de.codes").keys() == met


def test_translations_have_the_same_values() -> None:
    assert [text for text, german in GERMAN.items() if placeholders(text) != placeholders(german)] == []


@pytest.mark.parametrize("template", [text for text in GERMAN if re.search(r"{\d", text)])
def test_a_text_is_recognized_by_its_template(template: str) -> None:
    pieces = list(Filler().parse(template))
    specs = [spec for _, name, spec, _ in pieces if name is not None]
    values = [at + 2.5 if spec else f"Xy-{at}" for at, spec in enumerate(specs)]
    german = re.sub(r"{(\d)[^}]*}", r"{\1}", GERMAN[template])
    written = [
        format(value, spec).replace(".", ",") if spec else value
        for value, spec in zip(values, specs, strict=True)
    ]
    assert translate(template.format(*values)) == german.format(*written)


@given(st.text(max_size=60), st.text(max_size=60))
def test_english_stays_as_it_is(first: str, second: str) -> None:
    sentence = Sentence("{first}: {second}", first=first, second=join("; ", [first, second]))
    assert sentence == f"{first}: {first}; {second}"
    assert translate(sentence, "en") is sentence


@given(st.text(max_size=300))
def test_any_text_can_be_translated(text: str) -> None:
    assert translate(Sentence("API answered {answer}", answer=text)) == f"Antwort der API: {text}"
    assert isinstance(translate(text), str)


@given(st.sampled_from(patterns_of("de")), st.data())
def test_the_values_of_a_text_are_found_as_if_every_way_had_been_tried(
    pattern: Pattern, data: st.DataObject
) -> None:
    words = re.split(r"{\d[^}]*}", pattern.template)
    some = st.sampled_from([*words, "", "x", " "])
    text = "".join(data.draw(st.lists(some, max_size=8).map("".join)) + each for each in words)
    tried, found = (
        re.fullmatch("(.*?)".join(map(re.escape, words)), text, re.DOTALL),
        pattern.values.fullmatch(text),
    )
    assert (tried and tried.groups()) == (found and found.groups())


def test_numbers_and_instants_are_written_in_german() -> None:
    assert translate(pluralize(1234, "relation")) == "1.234 Beziehungen"
    assert translate(Sentence("{answer} after {seconds:.2f} s", answer="x", seconds=1.5)) == "x, nach 1,50 s"
    assert translate(Sentence(" until {at}", at=Instant(NOON, UTC))) == " bis 24.11.2025 12:00:00"
    assert translate(f"until {write_instant(NOON)}") == "bis 24.11.2025 12:00:00"


def test_english_pages_write_an_instant_in_a_text_as_they_write_others() -> None:
    f = Formatter(Texts("en"), ZoneInfo("Europe/Berlin"), NOON)
    assert f.translate(Sentence(" until {at}", at=Instant(NOON, UTC))) == " until 2025-11-24 13:00:00"
    assert f.translate(f"it goes on by itself: until {write_instant(NOON)}; pace") == (
        "it goes on by itself: until 2025-11-24 13:00:00; pace"
    )
    for other in (f"acme-{write_instant(NOON)}", "2025-02-30T12:00:00Z", "2025-11-24T12:00:00"):
        assert f.translate(other) == other


def test_what_was_sent_and_how_an_instant_is_to_be_written_stay_as_they_are_in_english() -> None:
    info = (("sent", write_instant(NOON)),)
    sent = Change(
        account="acme", action="create", type="estate:address:buyer", parents=(1,), children=(2,), info=info
    )
    with pytest.raises(ValueError, match="such as") as told:
        read_instant("noon")
    for text in (f'expected one of 1, 2, got "{write_instant(NOON)}"', format_change(sent), str(told.value)):
        assert translate(text, "en") == text


def test_a_code_is_read_as_words_in_english_too_and_a_name_is_none() -> None:
    assert [translate(code, "en") for code in ("no_proof", "last_one")] == ["no proof", "last one"]
    assert translate("my_source", "en") == "my_source"


def test_names_and_the_words_of_others_stay_as_they_are() -> None:
    assert translate("account open only observes: nothing but reads is sent").startswith("Das Konto open ")
    assert translate("account acme is paused (hand: failed); it goes on by itself: until noon") == (
        "Das Konto acme ist angehalten (von Hand: failed); es geht von selbst weiter: bis noon"
    )
    assert translate(Sentence("API answered {answer}", answer="failed")) == "Antwort der API: failed"
    assert translate("ConnectError: connection refused") == "ConnectError: connection refused"
    f = Formatter(Texts("de"), UTC, NOON)
    assert f.refusal(80, "record", "no usable answer") == "80 no usable answer"
    assert f.refusal(0, "unknown", "no usable answer") == "keine brauchbare Antwort"
    assert f.refusal(0, "poison", "") == "Absturz"


def test_what_was_made_of_pieces_is_translated_piece_by_piece() -> None:
    assert translate("childid[2]: the id of a record, a positive whole number") == (
        "childid[2]: die Kennung eines Datensatzes, eine positive ganze Zahl"
    )
    assert translate("no address by email is found, or the API user may not see it; nearly so: 1, 2") == (
        "Nicht gefunden: Person mit email; oder der API-Benutzer darf sie nicht sehen; ähnlich sind: 1, 2"
    )
    assert translate(
        "append-only file, appendfsync everysec: at most the last second is lost when it dies"
    ) == (
        "Append-only-Datei, appendfsync everysec: "
        "Stürzt der Server ab, geht höchstens die letzte Sekunde verloren"
    )
    assert translate("the next flush looks up: estate by objektnr_extern, address by email") == (
        "Als Nächstes wird nachgeschlagen: Immobilie mit objektnr_extern, Person mit email"
    )
    assert translate("; ".join(["x: y z"] * 500))


def test_german_pages_have_no_english_sentence(front: Front, browse: Browse) -> None:
    paths = [*(path for path, _, _ in MENU), *fill(front).values(), "/accounts/acme", "/jobs?parentid=x"]
    front.store.pause("acme", Pause("hand", "moving"))
    browser = browse("admin")
    browser.post("/language", data={"language": "de", "next": "/"})
    english = [text for text, german in GERMAN.items() if text.count(" ") > 1 and text != german]
    pieces = {words.strip() for text in english for words, *_ in Filler().parse(text) if words.count(" ") > 2}
    for path in paths:
        page = browser.get(path).text
        assert 'lang="en"' not in page.replace('value="en" lang="en"', "")
        assert [words for words in pieces if words in text_of(page)] == [], path


@pytest.mark.parametrize(
    "path",
    [
        *(f"/jobs?reference={text}" for text in ("x", "address:", "address:email=", "calendar:x=1")),
        *(f"/jobs?error={text}" for text in ("recrod", "xx", "A B")),
        *("/relations/acme/estate:address:buyerr/1/2", "/requests?cursor=x"),
    ],
)
def test_what_is_wrong_with_what_a_person_asks_for_is_in_german(browse: Browse, path: str) -> None:
    assert english_of(browse("admin").get(path, headers={"Accept-Language": "de"})) == set()


@pytest.mark.parametrize(
    "typed", ["x", "1e3", "-1", "9" * 20, "1, x", "address:email=", "adress:email=x", "estate:number=1"]
)
def test_what_is_wrong_with_a_corrected_id_is_in_german(front: Front, browse: Browse, typed: str) -> None:
    job = fill(front)["failed"].rpartition("/")[2]
    form = {"act": "replay", "job": job, "set_childid": typed}
    preview = browse("admin").post("/acts", data=form, headers={"Accept-Language": "de"})
    assert "kann so nicht berichtigt werden" in preview.text
    assert english_of(preview) == set()


def english_of(page: httpx.Response) -> set[str]:
    """Return which of the words that faults have in English a page says."""
    said = re.findall(r"\b[a-z]+\b", text_of(page.text.partition("<main")[2]))
    return {"expected", "got", "did", "mean", "send", "look", "by", "of", "the"}.intersection(said)
