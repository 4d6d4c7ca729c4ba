"""The units of systemd: what it accepts, and the commands and times to stop that the containers have."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from producers.portals.http.server import SHUTDOWN_SECONDS
from worker.background import EXIT_TIMEOUT

ROOT = Path(__file__).parents[2]
UNITS = sorted((ROOT / "ops/systemd").glob("*.service"))
SERVICES = YAML(typ="safe").load((ROOT / "docker-compose.yml").read_text("utf-8"))["services"]
CONFINED = r"^(?:[A-Za-z]*(?:Protect|Private|Restrict|Lock|Capabilit|NoNew|SystemCall|UMask)[A-Za-z]*)=.*$"
MOST_EXPOSED = 40  # tenths of what systemd-analyze calls the exposure level
IN_CONTAINER = {
    "${LISTEN}": "0.0.0.0",
}


def unit_setting(unit: Path, name: str) -> str:
    found = re.findall(rf"^{name}=(.*)$", unit.read_text("utf-8"), re.MULTILINE)
    assert len(found) == 1, name
    return str(found[0])


def test_there_is_a_unit_for_each_part_that_keeps_nothing() -> None:
    assert [unit.stem for unit in UNITS] == ["relations-api", "relations-beat", "relations-worker"]


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_a_unit_does_what_the_container_does(unit: Path) -> None:
    service, command = (
        SERVICES[unit.stem.removeprefix("relations-")],
        unit_setting(unit, "ExecStart").removeprefix("/opt/relations/bin/"),
    )
    for on_host, in_container in IN_CONTAINER.items():
        command = command.replace(on_host, in_container)
    assert command == service["command"]
    assert f"{unit_setting(unit, 'TimeoutStopSec')}s" == service["stop_grace_period"]
    assert unit_setting(unit, "Restart") == "always"


def test_what_senders_bring_has_a_place_that_can_be_written_on_hosts_and_in_containers() -> None:
    """An `extendedclaim` and the secret of a hook are written into files that the settings name."""
    place = f"/var/lib/{unit_setting(ROOT / 'ops/systemd/relations-api.service', 'StateDirectory')}"
    image = (ROOT / "ops/docker/Dockerfile").read_text("utf-8")
    assert re.search(rf"install -d -o 10001 -g 10001 -m 700 {place}$", image, re.MULTILINE)
    for page in ("connect-an-agency", "webhooks"):
        written = re.findall(r'"file:(/[^"]+)"', (ROOT / f"docs/how-to/{page}.md").read_text("utf-8"))
        assert [path for path in written if Path(path).parent == Path(place)], page
    for part in ("api", "worker"):
        assert SERVICES[part]["volumes"] == [f"state:{place}"]
        unit = ROOT / f"ops/systemd/relations-{part}.service"
        assert (
            f"/var/lib/{unit_setting(unit, 'StateDirectory')}",
            unit_setting(unit, "StateDirectoryMode"),
        ) == (
            place,
            "0700",
        )


def test_the_interface_has_ended_by_itself_before_it_is_killed() -> None:
    grace = float(SERVICES["api"]["stop_grace_period"].removesuffix("s"))
    assert grace > SHUTDOWN_SECONDS + EXIT_TIMEOUT + 1.0


def test_no_unit_may_do_more_than_the_others() -> None:
    allowed = {unit.stem: re.findall(CONFINED, unit.read_text("utf-8"), re.MULTILINE) for unit in UNITS}
    assert len({tuple(lines) for lines in allowed.values()}) == 1, allowed
    assert {"CapabilityBoundingSet=", "ProtectSystem=strict"} <= set(allowed["relations-api"])


@pytest.mark.skipif(
    not shutil.which("systemd-analyze"), reason="systemd-analyze is not installed: apt-get install systemd"
)
def test_systemd_understands_the_units(tmp_path: Path) -> None:
    for unit in UNITS:
        text = unit.read_text("utf-8").replace("/opt/relations/bin", str(Path(sys.executable).parent))
        (tmp_path / unit.name).write_text(text)
    run = subprocess.run(
        ["systemd-analyze", "verify", *tmp_path.glob("*")], capture_output=True, text=True, check=False
    )
    assert [
        line for line in f"{run.stdout}\n{run.stderr}".splitlines() if "relations-" in line
    ] == []  # it reports others too
    exposed = ["systemd-analyze", "security", "--offline=true", f"--threshold={MOST_EXPOSED}"]
    for unit in UNITS:
        run = subprocess.run([*exposed, unit], capture_output=True, text=True, check=False)
        if "unrecognized option" not in run.stderr:  # before systemd 250
            assert run.returncode == 0, run.stdout.splitlines()[-1]
