# SPDX-License-Identifier: Apache-2.0
"""Command line of every benchmark: answer `--help` and refuse unknown options before any work is done.

A benchmark reads an option where it needs it, with `harness.option` or its own parser, sometimes after an hour of work.
The available options are therefore read from its source, without running it.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType

PACKAGES = ("benchmarks.", "research.experiments.")
CHECK = "exit with 1 when a target is missed"
HELP = "say this and end"
_FLAG = re.compile(r"--[a-z][a-z_-]*")
_READERS = ("option", "word")


def options_of(source: str) -> dict[str, str]:
    """Find the options that a benchmark reads.

    Args:
        source: text of its file. An option is found if its name is a literal: `option("n", 5)`, `word("robot", "")`,
            `repetitions()`, `add_argument("--n")` or `"--add" in sys.argv`.

    Returns:
        Name with dashes → description; empty if its file has none.
    """
    found = {name: said for node in ast.walk(ast.parse(source)) for name, said in _read_by(node)}
    return dict(sorted({**found, "--help": HELP}.items()))


def _read_by(node: ast.AST) -> Iterator[tuple[str, str]]:
    if isinstance(node, ast.Compare):
        yield from ((name, "") for name in _texts([node.left]) if _FLAG.fullmatch(name))
    if not isinstance(node, ast.Call):
        return
    called = ast.unparse(node.func).rpartition(".")[2]
    if called in _READERS:
        yield from ((f"--{name}", "") for name in _texts(node.args[:1]))
    elif called == "repetitions":
        yield "--repetitions", "timed runs of each rival"
    elif called == "finish":
        yield "--check", CHECK
    elif called == "add_argument":
        said = " ".join(_texts([keyword.value for keyword in node.keywords if keyword.arg == "help"]))
        yield from ((name, said) for name in _texts(node.args) if _FLAG.fullmatch(name))


def _texts(nodes: Sequence[ast.expr]) -> list[str]:
    return [node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)]


def listed(options: Mapping[str, str]) -> str:
    """One line per option."""
    width = max(map(len, options))
    return "\n".join(f"  {name:{width}}  {said}".rstrip() for name, said in options.items())


def checked(source: str, arguments: Sequence[str], name: str) -> list[str]:
    """Check the arguments of a benchmark.

    Args:
        source: text of its file.
        arguments: command-line arguments, without the program.
        name: name of its module.

    Returns:
        The arguments, with `--n=5` as `--n 5`.

    Raises:
        SystemExit: 0 after `--help` or `-h`, which shows the file's docstring and the options; 2 for an unknown option,
            with a list of the known ones.
    """
    options = options_of(source)
    if "--help" in arguments or "-h" in arguments:
        print(f"python -m {name}\n\n{ast.get_docstring(ast.parse(source)) or ''}\n\noptions:\n{listed(options)}")
        raise SystemExit(0)
    given: list[str] = []
    for argument in arguments:
        flag, *value = argument.split("=", 1) if argument.startswith("--") else [argument]
        if flag.startswith("--") and flag not in options:
            print(f"{name}: no option {flag}; there are:\n{listed(options)}", file=sys.stderr)
            raise SystemExit(2)
        given += [flag, *value]
    return given


def check_this_run(main: ModuleType) -> None:
    """Check the command line if a benchmark is the running program; do nothing under pytest and in its processes.

    Args:
        main: `sys.modules["__main__"]`; `sys.argv` is replaced by what `checked` returns.

    Raises:
        SystemExit: as `checked`.
    """
    spec = getattr(main, "__spec__", None)
    if spec is None or spec.origin is None or not spec.name.startswith(PACKAGES) or spec.name == "benchmarks.__main__":
        return
    sys.argv[1:] = checked(Path(spec.origin).read_text(encoding="utf-8"), sys.argv[1:], spec.name)
