"""The English sentences that stand in the code, as the keys of the pages' catalogues."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

WORDS = re.compile(r"[A-Za-z’']{2,}[,;:.]? [A-Za-z]{2,}")  # two at least; shorter texts are names


def sentences_of(file: Path) -> set[str]:
    """Return the texts of a module that are sentences, with `{0}`, `{1}` for the values of each."""
    tree = ast.parse(file.read_text("utf-8"))
    return {text for text in map(_template_of, _texts(tree)) if WORDS.search(_literal(text))}


def templates_of(file: Path) -> set[str]:
    """Return the templates that a module gives to `Sentence`."""
    calls = [node for node in ast.walk(ast.parse(file.read_text("utf-8"))) if isinstance(node, ast.Call)]
    named = [call.args[0] for call in calls if isinstance(call.func, ast.Name) and call.func.id == "Sentence"]
    chosen = [
        each
        for node in named
        for each in ([node.body, node.orelse] if isinstance(node, ast.IfExp) else [node])
    ]
    return {node.value for node in chosen if isinstance(node, ast.Constant) and isinstance(node.value, str)}


def _texts(tree: ast.AST) -> Iterator[ast.Constant | ast.JoinedStr]:
    """Yield texts without docstrings, and without the pieces of those that are made of pieces."""
    for node in ast.walk(tree):
        for child in ast.iter_child_nodes(node):
            is_piece = isinstance(node, ast.JoinedStr) and isinstance(child, ast.Constant)
            if isinstance(node, ast.Expr) or is_piece:
                continue
            is_text = isinstance(child, ast.Constant) and isinstance(child.value, str)
            if isinstance(child, ast.JoinedStr) or is_text:
                yield child


def _template_of(text: ast.Constant | ast.JoinedStr) -> str:
    if isinstance(text, ast.Constant):
        return str(text.value)
    parts, at = list[str](), 0
    for piece in text.values:
        if isinstance(piece, ast.Constant):
            parts.append(str(piece.value).replace("{", "{{").replace("}", "}}"))
        elif isinstance(piece, ast.FormattedValue):
            spec = _template_of(piece.format_spec) if isinstance(piece.format_spec, ast.JoinedStr) else ""
            parts.append(f"{{{at}:{spec}}}" if spec else f"{{{at}}}")
            at += 1
    return "".join(parts)


def _literal(template: str) -> str:
    return re.sub(r"{\d[^}]*}", " ", template)
