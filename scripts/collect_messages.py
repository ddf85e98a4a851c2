# SPDX-License-Identifier: Apache-2.0
"""Collect all texts that the package shows to people, from the source: errors, refusals, questions, help, logs.

`make generate` writes `test/messages/FOLDER.txt`, one file for each folder of the package, so that the diff of a change
shows every sentence that it adds or changes; a test fails if a file is not up to date. Docstrings are left out.

An error is shown as its class renders it. Values that are only known at run time are in braces, as in the source.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

from spatial_vlm_ros import errors

ROOT = Path(__file__).resolve().parents[1]
PACKAGE, LAB = ROOT / "spatial_vlm_ros", ROOT / "spatial_vlm_lab"
_WORDS = re.compile(r"[A-Za-z]{2,}[^A-Za-z]+[A-Za-z]{2,}[^A-Za-z]+[A-Za-z]{2,}")  # at least three words
_LETTERS = 0.6  # least share of letters and blanks in a sentence
_MOST_BARS = 3  # more mean alternatives of a regular expression
_LONGEST = 60  # characters of an expression in braces


def messages() -> dict[str, str]:
    """Path of each file, from the repository's root, and its text."""
    found: dict[str, list[str]] = {}
    for path in sorted((*PACKAGE.rglob("*.py"), *LAB.rglob("*.py"))):
        parts = path.relative_to(ROOT if LAB in path.parents else PACKAGE).parts
        told = list(dict.fromkeys(_told(ast.parse(path.read_text(encoding="utf-8")))))
        if told:
            found.setdefault(parts[0].removesuffix(".py") if len(parts) > 1 else "top", []).append(
                "\n    ".join(["/".join(parts), *told])
            )
    return {f"test/messages/{name}.txt": "\n".join(blocks) + "\n" for name, blocks in found.items()}


def _told(tree: ast.Module) -> Iterator[str]:
    """Sentences of a module, in order."""
    left: list[ast.AST] = [tree]
    while left:
        node = left.pop()
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            continue  # a docstring
        parts = list(ast.iter_child_nodes(node))
        if isinstance(node, ast.Call) and (told := _error(node)) is not None:
            yield told
            parts = [node.func]
        elif isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str)):
            text = _text(node)
            if _is_sentence(text):
                yield text
            continue
        left += reversed(parts)


def _is_sentence(text: str) -> bool:
    letters = sum(c.isalpha() or c == " " for c in text)
    is_pattern = "(?:" in text or "\\" in text or text.count("|") > _MOST_BARS
    return bool(_WORDS.search(text)) and " " in text and letters >= _LETTERS * len(text) and not is_pattern


def _text(node: ast.expr) -> str:
    """A string of the source in one line, with non-constant parts in braces."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return " ".join(node.value.split())
    if isinstance(node, ast.JoinedStr):
        parts = (
            part.value if isinstance(part, ast.Constant) else _braced(part.value)  # type: ignore[attr-defined]
            for part in node.values
        )
        return " ".join("".join(map(str, parts)).split())
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return f"{_text(node.left)}{_text(node.right)}"
    return _braced(node)


def _braced(node: ast.expr) -> str:
    told = ast.unparse(node)
    return "{" + (told if len(told) <= _LONGEST else "…") + "}"


def _error(call: ast.Call) -> str | None:
    """An error of `spatial_vlm_ros.errors` as its class renders it, if its arguments are texts; else None."""
    name = call.func.id if isinstance(call.func, ast.Name) else ""
    kind = getattr(errors, name, None)
    if not (inspect.isclass(kind) and issubclass(kind, errors.SpatialVlmError)):
        return None
    if any(isinstance(arg, ast.Starred) for arg in call.args) or any(k.arg is None for k in call.keywords):
        return None
    named = {str(k.arg): _text(k.value) for k in call.keywords}
    given: list[object] = [_text(arg) for arg in call.args]
    if kind is errors.UnknownNameError:
        given[2:] = [[str(each)] for each in given[2:]]
    if issubclass(kind, errors.NoPathError):
        given[2:3] = [[str(each)] if str(each) != "{()}" else [] for each in given[2:3]]
    if kind is errors.NotUnderstoodError:
        given[:2] = ["{words}", (0, len("{words}"))]
    try:
        return f"{name}: {kind(*given, **named)}"
    except (TypeError, ValueError, IndexError):  # arguments that are numbers or spans
        return f"{name}: {' | '.join(map(str, (*given, *named.values())))}"
