# SPDX-License-Identifier: Apache-2.0
"""How large the project is, beside the budgets of size_budget.toml: `python -m scripts.size_report`.

A budget only falls. Lines are those of `wc -l`.
"""

from __future__ import annotations

import ast
import re
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parent.parent
BUDGETS = ROOT / "size_budget.toml"
PACKAGES = ("spatial_vlm_ros", "spatial_vlm_lab")
BESIDE = ("test", "research", "benchmarks", "scripts")
DATA = (".toml", ".json", ".jsonl", ".txt", ".html", ".j2", ".css", ".js")
GENERATED = ("benchmarks/results", "research/results", "docs/schema", "models", "worlds", "config", "test/messages")
"""Folders whose data files are written by programs."""
BUILT = ("out", "build", "install", "log", "spatial_vlm_ros.egg-info")
GENERATED_FILES = ("spatial_vlm_ros/language/grammar.json",)
_PRIVATE = re.compile(r"_[a-zA-Z]\w*")


def files() -> list[str]:
    """The files that count, relative to the root, sorted."""
    folders = [path for path in ROOT.iterdir() if path.is_dir() and path.name not in BUILT and path.name[0] != "."]
    found = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    found += [path for path in ROOT.iterdir() if path.is_file()]
    names = sorted(path.relative_to(ROOT).as_posix() for path in found if "__pycache__" not in path.parts)
    return [name for name in names if not name.startswith("docs/generated/")]  # made with the site


def lines_of(names: Iterable[str]) -> int:
    """Lines of some files together."""
    return sum((ROOT / name).read_bytes().count(b"\n") for name in names)


def room_of(name: str) -> str | None:
    """The room of a Python file: a folder of the package ("top" for the modules beside them) or of the root."""
    parts = name.split("/")
    if not name.endswith(".py"):
        return None
    if parts[0] == PACKAGES[0]:
        return parts[1] if len(parts) > 2 else "top"
    return parts[0] if parts[0] in (*PACKAGES, *BESIDE) else None


def single_callers(sources: Iterable[str]) -> int:
    """Private functions and methods whose name is used once in their module beside the definition."""
    found = 0
    for source in sources:
        tree = ast.parse(source)
        defined = {
            node.name for node in ast.walk(tree)
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and _PRIVATE.fullmatch(node.name)
        }  # fmt: skip
        used = Counter(
            node.id if isinstance(node, ast.Name) else node.attr
            for node in ast.walk(tree)
            if isinstance(node, ast.Name | ast.Attribute)
        )
        found += sum(used[name] == 1 for name in defined)
    return found


@cache
def walk() -> dict[str, float]:
    """What runs in the package for one answer with given detections, caches filled before."""
    from spatial_vlm_ros.resolver import Resolver
    from spatial_vlm_ros.sim.examples import chicks_and_cup_frame

    words, package = "grab me the chick behind the cup", f"{ROOT / PACKAGES[0]}/"
    frame, detections = chicks_and_cup_frame()
    Resolver().resolve(frame, words, detections)
    stack: list[Any] = []
    ran: list[tuple[int, str, str]] = []  # depth, file, function

    def note(called: Any, event: str, _: object) -> None:
        code = called.f_code
        if code.co_filename.startswith(package) and code.co_name[0] != "<":
            if event == "call":
                stack.append(code)
                ran.append((len(stack), code.co_filename, code.co_name))
            elif event == "return":
                stack.pop()

    resolver, before = Resolver(), sys.getprofile()
    sys.setprofile(note)
    try:
        resolver.resolve(frame, words, detections)
    finally:
        sys.setprofile(before)
    names = Counter(name for _, _, name in ran)
    return {
        "depth": max(depth for depth, _, _ in ran),
        "files": len({file for _, file, _ in ran}),
        "parses": names["parse"],
        "tests_for_a_stop": names["asks_to_stop"],
    }


@cache
def measured() -> dict[str, dict[str, float]]:
    """Sizes by table and key of size_budget.toml, without what only a running node shows."""
    names = files()
    rooms: dict[str, list[str]] = {}
    for name in names:
        room = room_of(name)
        if room is not None:
            rooms.setdefault(room, []).append(name)
    package = [name for name in names if name.endswith(".py") and name.startswith(tuple(f"{p}/" for p in PACKAGES))]
    pages = [name for name in names if name.startswith("docs/") and name.endswith(".md")]
    decisions = [name for name in pages if re.match(r"docs/adr/\d", name)]
    data = [
        name for name in names
        if name.endswith(DATA) and not name.startswith(GENERATED) and name not in GENERATED_FILES
    ]  # fmt: skip
    sizes = {room: lines_of(inside) for room, inside in rooms.items()}
    sources = [(ROOT / name).read_text(encoding="utf-8") for name in package]
    return {
        "package": {"all": lines_of(package), **{room: n for room, n in sizes.items() if room not in BESIDE}},
        "beside": {room: sizes.get(room, 0) for room in BESIDE},
        "other": {
            "data_lines": lines_of(data),
            "docs_words": sum(len((ROOT / name).read_text(encoding="utf-8").split()) for name in pages),
            "docs_pages": len(pages) - len(decisions),
            "decision_records": len(decisions),
            "single_caller_helpers_per_1000_lines": round(1000 * single_callers(sources) / lines_of(package), 1),
        },
        "walk": walk(),
    }


def budgets() -> dict[str, dict[str, float]]:
    """The budgets, by table and key."""
    found: dict[str, dict[str, float]] = tomllib.loads(BUDGETS.read_text(encoding="utf-8"))
    return found


def table(sizes: Mapping[str, Mapping[str, float]], allowed: Mapping[str, Mapping[str, float]]) -> str:
    """A line for each size: table, key, size, budget, what is left."""
    rows = [
        f"{name:<10} {key:<38} {size:>9,g} {allowed.get(name, {}).get(key, 0):>9,g} "
        f"{allowed.get(name, {}).get(key, 0) - size:>+9,g}"
        for name, keys in sizes.items()
        for key, size in keys.items()
    ]
    return "\n".join((f"{'':<49} {'size':>9} {'budget':>9} {'left':>9}", *rows))


def exceeded(sizes: Mapping[str, Mapping[str, float]], allowed: Mapping[str, Mapping[str, float]]) -> list[str]:
    """Keys above their budget, or without one."""
    return [
        f"{name}.{key}"
        for name, keys in sizes.items()
        for key, size in keys.items()
        if size > allowed.get(name, {}).get(key, 0)
    ]


if __name__ == "__main__":
    found = measured()
    print(table(found, budgets() if BUDGETS.exists() else {}))
