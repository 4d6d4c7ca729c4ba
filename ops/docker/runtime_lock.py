"""Prints the part of a lock file that the services need, with its hashes.

The Dockerfile runs it in an environment where the whole lock and the project are installed: the image is
built with the development tools, but contains none of them.
"""

import re
import sys
from collections.abc import Iterator
from importlib.metadata import distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

SERVICES = "onoffice-relations[http]"


def list_packages(requirement: str) -> set[str]:
    """Return the names of all packages that `requirement` brings with it here, itself included."""
    found: set[str] = set()
    waiting = [Requirement(requirement)]
    while waiting:
        wanted = waiting.pop()
        key = f"{canonicalize_name(wanted.name)}[{','.join(sorted(wanted.extras))}]"
        if key not in found:
            found.add(key)
            waiting += list_dependencies(wanted)
    return {key.partition("[")[0] for key in found}


def list_dependencies(wanted: Requirement) -> Iterator[Requirement]:
    """Yield what the installed distribution requires on this platform and with the wanted extras."""
    for dependency in map(Requirement, distribution(wanted.name).requires or ()):
        if not dependency.marker or any(
            dependency.marker.evaluate({"extra": extra}) for extra in (*wanted.extras, "")
        ):
            yield dependency


def read_entries(lock: str) -> dict[str, str]:
    """Return each entry of the lock by its package's name."""
    found = re.findall(r"^(([\w.-]+)==.*(?:\n .*)*)", lock, flags=re.MULTILINE)
    return {canonicalize_name(name): entry for entry, name in found}


if __name__ == "__main__":
    names = list_packages(SERVICES)
    sys.stdout.writelines(
        f"{entry}\n" for name, entry in read_entries(Path(sys.argv[1]).read_text()).items() if name in names
    )
