# SPDX-License-Identifier: Apache-2.0
"""How many small faults the tests notice: a seeded sample of mutants of some modules, killed or not.

    pip install pytest-cov
    python -m pytest test -n 2 -m "not live and not slow" --cov=spatial_vlm_ros --cov-branch --cov-context=test
    python -m scripts.mutants .coverage out/mutants.json [--n 60] [--seed 0] [--limit 300] [--modules FILE...]

The first run records which test executes which line. A mutant is run against the tests that execute its line (of what
is executed at import: any line of the module), at most MOST of them. It is killed if one fails or --limit seconds are
over, and survives otherwise.
Run it in a clone of its own: a module is overwritten while its mutants run.
"""

from __future__ import annotations

import argparse
import ast
import json
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

MODULES = (
    "spatial/decision.py", "spatial/relations/directions.py", "geometry/support.py", "streams/freshness.py",
    "manipulation/approval/broker.py", "files/reading.py",
)  # fmt: skip
MOST = 300
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


def _other(value: bool | int | float) -> bool | int | float:
    if isinstance(value, bool):
        return not value
    return value + 1 if value < 2 else value * 2


def sampled(source: str, n: int, seed: int) -> list[Mutant]:
    """At most n mutants that compile, outside annotations and top-level imports, drawn with a seed."""
    found = []
    for mutant in sorted(set(mutants(source))):
        try:
            ast.parse(changed(source, mutant))
        except SyntaxError:
            continue
        found.append(mutant)
    return sorted(random.Random(seed).sample(found, min(n, len(found))))


def changed(source: str, mutant: Mutant) -> str:
    """The source with a mutant in it."""
    return source[: mutant.start] + mutant.text + source[mutant.end :]


def tests_of(coverage_file: str, module: Path) -> dict[int, list[str]]:
    """Line → node ids of the tests that execute it, at most MOST; 0 → of the tests that execute any line."""
    from coverage import CoverageData

    data = CoverageData(coverage_file)
    data.read()
    name = next(file for file in data.measured_files() if file.endswith(str(module)))
    found: dict[int, set[str]] = {0: set()}
    for line, contexts in data.contexts_by_lineno(name).items():
        found[line] = {context.split("|")[0] for context in contexts if "::" in context}
        found[0] |= found[line]
    return {line: random.Random(line).sample(sorted(tests), min(MOST, len(tests))) for line, tests in found.items()}


def survives(tests: list[str], limit: float) -> tuple[bool, str]:
    """Run some tests; whether all pass in time, and what happened."""
    if not tests:
        return True, "no test executes it"
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as listed:
        listed.write("\n".join(tests))
        listed.flush()
        words = [sys.executable, "-m", "pytest", "-x", "-q", "--no-header", "-p", "no:cacheprovider", f"@{listed.name}"]
        try:
            run = subprocess.run(words, capture_output=True, text=True, timeout=limit, check=False)  # noqa: S603
        except subprocess.TimeoutExpired:
            return False, f"not over after {limit:g} s"
    return run.returncode == 0, run.stdout.strip().splitlines()[-1] if run.stdout.strip() else run.stderr[-200:]


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """The mutants of all modules and what became of them."""
    report: dict[str, Any] = {}
    for module in arguments.modules:
        path = PACKAGE / module
        source = path.read_text(encoding="utf-8")
        covering = tests_of(arguments.coverage, path)
        rows = []
        try:
            for mutant in sampled(source, arguments.n, arguments.seed):
                path.write_text(changed(source, mutant), encoding="utf-8")
                alive, said = survives(covering.get(mutant.line) or covering[0], arguments.limit)
                rows.append(
                    {"line": mutant.line, "was": source[mutant.start : mutant.end], "is": mutant.text, "alive": alive,
                     "said": said}
                )  # fmt: skip
        finally:
            path.write_text(source, encoding="utf-8")
        killed = sum(not row["alive"] for row in rows)
        print(f"{module}: {killed} of {len(rows)} killed", flush=True)
        report[module] = {"killed": killed, "of": len(rows), "mutants": rows}
        Path(arguments.out).write_text(json.dumps(report, indent=1), encoding="utf-8")
    return report


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("coverage")
    parser.add_argument("out")
    parser.add_argument("--n", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--limit", type=float, default=300.0)
    parser.add_argument("--modules", nargs="+", default=MODULES)
    run(parser.parse_args())
