"""Makes the package `onoffice_relations` out of the program's sources when the distribution is built.

The client is a part of the program: `producers.portals` and what it imports. Here that part becomes a package
of its own, with a name that no other program has. Its modules are copied below `_source`, and their imports
of each other are renamed; nothing else is changed.
"""

import ast
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

PACKAGE = "onoffice_relations"
SOURCE = f"{PACKAGE}._source"
ENTRANCE = "producers.portals"  # whose names the package has
CLIENT = "producers.portals.sdk.client"  # imported when used
ROOTS = ("worker", "producers")
IMPORT = re.compile(rf"^(\s*)from ({'|'.join(ROOTS)})\b", re.MULTILINE)


class ClientBuildHook(BuildHookInterface[Any]):
    """Adds the package to what is built; one that a source distribution brought is taken as it is."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002
        """Make the package and add it."""
        made, sources = Path(self.root) / PACKAGE, Path(self.root).parent
        if not made.is_dir():
            self._temporary = tempfile.mkdtemp(prefix="onoffice-relations-client-")
            made = Path(self._temporary) / PACKAGE
            make_package(sources, made)
        build_data["force_include"][str(made)] = PACKAGE

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:  # noqa: ARG002
        """Remove what was made."""
        if temporary := getattr(self, "_temporary", ""):
            shutil.rmtree(temporary, ignore_errors=True)


def make_package(sources: Path, target: Path) -> None:
    """Write the package `onoffice_relations` of the program in `sources` into the new folder `target`."""
    for module in sorted(find_modules(sources, ENTRANCE, CLIENT)):
        path = find_file(sources, module)
        copy = target / "_source" / path.relative_to(sources)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(rename_imports(path.read_text("utf-8")), "utf-8")
    entrance = find_file(sources, ENTRANCE).read_text("utf-8")
    (target / "__init__.py").write_text(rename_imports(entrance), "utf-8")
    (target / "_source" / "__init__.py").write_text('"""The client\'s part of the program."""\n', "utf-8")
    (target / "py.typed").touch()


def find_modules(sources: Path, *first: str) -> set[str]:
    """Return the modules and all of ours that are imported with them, with the packages they are in."""
    found, waiting = set[str](), [*first]
    while waiting:
        module = waiting.pop()
        if module not in found:
            found.add(module)
            waiting += [module.rpartition(".")[0]] if "." in module else []
            waiting += find_imports(sources, module)
    return found


def find_imports(sources: Path, module: str) -> Iterator[str]:
    """Yield our modules that this one imports when it is imported: not those for type checkers alone."""
    for node in ast.parse(find_file(sources, module).read_text("utf-8")).body:
        if not isinstance(node, ast.ImportFrom) or not node.module or node.module.split(".")[0] not in ROOTS:
            continue
        yield node.module
        names = (f"{node.module}.{alias.name}" for alias in node.names)
        yield from (name for name in names if find_file(sources, name).exists())


def find_file(sources: Path, module: str) -> Path:
    """Return where the module is, or would be."""
    path = sources.joinpath(*module.split("."))
    package = path / "__init__.py"
    return package if package.exists() else path.with_suffix(".py")  # a folder may be left of a former one


def rename_imports(text: str) -> str:
    """Return the source of a module with imports of our modules from below `_source`."""
    return IMPORT.sub(rf"\1from {SOURCE}.\2", text)
