# SPDX-License-Identifier: Apache-2.0
"""How many small faults the tests notice: a seeded sample of mutants of some modules, killed or not.

    pip install pytest-cov
    python -m pytest test -n 2 -m "not live and not slow" --cov=spatial_vlm_ros --cov-branch --cov-context=test
    python -m scripts.mutants .coverage out/mutants.json [MODULE...]

The first run records which test executes which line. A mutant is run against the tests that execute its line (of what
is executed at import: any line of the module), at most MOST of them. It is killed if one fails or LIMIT seconds are
over, and survives otherwise.
Run it in a clone of its own: a module is overwritten while its mutants run.
"""

from __future__ import annotations

import ast
import json
import multiprocessing
import os
import random
import sqlite3
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

MODULES = (
    "spatial/decision.py", "spatial/relations/directions.py", "geometry/support.py", "streams/freshness.py",
    "manipulation/approval/broker.py", "files/reading.py",
)  # fmt: skip
MOST = 150
N, SEED, LIMIT = 60, 0, 300.0
PACKAGE = Path("spatial_vlm_ros")
SWAPS: dict[type, str] = {
    ast.Lt: "<=", ast.LtE: "<", ast.Gt: ">=", ast.GtE: ">", ast.Eq: "!=", ast.NotEq: "==", ast.Is: "is not",
    ast.IsNot: "is", ast.In: "not in", ast.NotIn: "in", ast.Add: "-", ast.Sub: "+", ast.Mult: "/", ast.Div: "*",
    ast.FloorDiv: "/", ast.Mod: "*", ast.Pow: "*", ast.BitAnd: "|", ast.BitOr: "&", ast.MatMult: "*",
}  # fmt: skip


class Mutant(NamedTuple):
    """A changed piece of a module: line (from 1), characters [start, end) of the source, and the new text."""

    line: int
    start: int
    end: int
    text: str


def mutants(source: str) -> Iterator[Mutant]:
    """All mutants of a module: operators, conditions, constants, returned values and calls for their effect."""
    starts = [0]
    for line in source.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    lines = source.splitlines(keepends=True)

    def place(line: int, column: int) -> int:
        return starts[line - 1] + len(lines[line - 1].encode()[:column].decode())

    def whole(node: ast.expr | ast.stmt) -> tuple[int, int]:
        return place(node.lineno, node.col_offset), place(node.end_lineno or 0, node.end_col_offset or 0)

    def between(left: ast.expr, right: ast.expr, new: str) -> Mutant:
        start, end = whole(left)[1], whole(right)[0]
        kept = source[start:end]
        opened, closed = kept.count(")"), kept.count("(")
        return Mutant(left.lineno, start, end, ")" * opened + f" {new} " + "(" * closed)

    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Compare):
            for left, operator, right in zip([node.left, *node.comparators], node.ops, node.comparators, strict=False):
                yield between(left, right, SWAPS[type(operator)])
        elif isinstance(node, ast.BinOp) and type(node.op) in SWAPS:
            yield between(node.left, node.right, SWAPS[type(node.op)])
        elif isinstance(node, ast.BoolOp):
            for left, right in zip(node.values, node.values[1:], strict=False):
                yield between(left, right, "or" if isinstance(node.op, ast.And) else "and")
        elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not | ast.USub):
            yield Mutant(node.lineno, whole(node)[0], whole(node.operand)[0], "")
        elif isinstance(node, ast.If | ast.IfExp | ast.While):
            start, end = whole(node.test)
            yield Mutant(node.lineno, start, end, f"(not ({source[start:end]}))")
        elif isinstance(node, ast.Constant) and isinstance(node.value, bool | int | float):
            new = (
                not node.value if isinstance(node.value, bool) else node.value + 1 if node.value < 2 else node.value * 2
            )
            yield Mutant(node.lineno, *whole(node), repr(new))
        elif isinstance(node, ast.Return) and node.value is not None:
            yield Mutant(node.lineno, *whole(node.value), "None")
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            yield Mutant(node.lineno, *whole(node), "pass")


def sampled(source: str) -> list[Mutant]:
    """At most N mutants that compile, outside annotations and top-level imports, drawn with a seed."""
    found = []
    for mutant in sorted(set(mutants(source))):
        try:
            ast.parse(changed(source, mutant))
        except SyntaxError:
            continue
        found.append(mutant)
    return sorted(random.Random(SEED).sample(found, min(N, len(found))))


def changed(source: str, mutant: Mutant) -> str:
    """The source with a mutant in it."""
    return source[: mutant.start] + mutant.text + source[mutant.end :]


def tests_of(coverage_file: str, module: Path) -> dict[int, list[str]]:
    """Line → node ids of the tests that execute it, those that execute least first, at most MOST; 0 → any line's."""
    from coverage import CoverageData

    data = CoverageData(coverage_file)
    data.read()
    name = next(file for file in data.measured_files() if file.endswith(str(module)))
    of_each = "select context, count(*) from arc join context on context.id = context_id group by 1"
    with sqlite3.connect(coverage_file) as base:
        work = dict(base.execute(of_each).fetchall())
    found: dict[int, set[str]] = {0: set()}
    for line, contexts in data.contexts_by_lineno(name).items():
        found[line] = {context for context in contexts if "::" in context}
        found[0] |= found[line]
    return {
        line: [test.rsplit("|", 1)[0] for test in sorted(tests, key=lambda test: (work[test], test))[:MOST]]
        for line, tests in found.items()
    }


def _tested(listed: str, said: str) -> None:
    with Path(said).open("w", encoding="utf-8") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        sys.exit(int(pytest.main(["-x", "-q", "--no-header", "-p", "no:cacheprovider", f"@{listed}"])))


def survives(tests: list[str]) -> tuple[bool, str]:
    """Run some tests; whether all pass in time, and what happened."""
    if not tests:
        return True, "no test executes it"
    with tempfile.TemporaryDirectory() as folder:
        listed, said = Path(folder) / "tests.txt", Path(folder) / "said.txt"
        listed.write_text("\n".join(dict.fromkeys(tests)), encoding="utf-8")
        process = multiprocessing.Process(target=_tested, args=(str(listed), str(said)))
        process.start()
        process.join(LIMIT)
        process.kill()
        process.join()
        return process.exitcode == 0, said.read_text(encoding="utf-8").strip()[-200:]


def run(coverage_file: str, out: str, *modules: str) -> None:
    """Report the mutants of some modules, without any of MODULES, and what became of them."""
    report: dict[str, Any] = {}
    for module in modules or MODULES:
        path = PACKAGE / module
        source = path.read_text(encoding="utf-8")
        covering = tests_of(coverage_file, path)
        assert survives(covering[0])[0], "these tests fail without any mutant"  # noqa: S101
        rows = []
        try:
            for mutant in sampled(source):
                path.write_text(changed(source, mutant), encoding="utf-8")
                alive, said = survives(covering.get(mutant.line) or covering[0])
                rows.append({**mutant._asdict(), "alive": alive, "said": said})
        finally:
            path.write_text(source, encoding="utf-8")
        killed = sum(not row["alive"] for row in rows)
        print(f"{module}: {killed} of {len(rows)} killed", flush=True)
        report[module] = {"killed": killed, "of": len(rows), "mutants": rows}
        Path(out).write_text(json.dumps(report, indent=1), encoding="utf-8")


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    multiprocessing.set_start_method("forkserver")  # what does not change is imported once, the package for each mutant
    multiprocessing.set_forkserver_preload(["cv2", "mujoco", "numpy", "scipy.optimize"])
    run(*sys.argv[1:])
