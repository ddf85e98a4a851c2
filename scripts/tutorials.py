# SPDX-License-Identifier: Apache-2.0
"""Run every code block of docs/tutorials, in order, as a reader would; write what the blocks print into the pages.

A page runs in a folder that contains only docs/tutorials/cans; `cd` applies to the following blocks. An HTML comment
above a block says what to do with it:

    (none)                  a `bash` or `python` block: it is run; Python blocks of a page share their names
    <!-- file: NAME -->     a file of the reader's: it is written to the folder
    <!-- output -->         what the block before it prints; "…" at the end of a line stands for what is left out there,
                            also whole lines; with <!-- output: times differ --> times are not compared
    <!-- example: NAME -->  text that scripts/refusal_examples.py gives for NAME
    <!-- not run: WHY -->   needs hardware, a live ROS graph or a download: its syntax, commands and options are checked

    python -m scripts.tutorials            # run all pages; write outputs and examples anew
    python -m scripts.tutorials refusals   # one page
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "docs" / "tutorials"
MARKS = ("file", "output", "example", "not run")
RUN = ("bash", "python")
PATIENCE = 120.0  # s for a block
_FENCE = re.compile(r"^```(\w*)\s*$")
_MARK = re.compile(r"^<!-- ([a-z ]+?)(?:: (.*?))? -->$")
TIMES_DIFFER = "times differ"
_TIME = re.compile(r"\b\d+(?:\.\d+)? (?=m?s\b)")
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")


class TutorialError(Exception):
    """A block does not run, or prints something else; the message names the page and the line."""


@dataclass(frozen=True)
class Block:
    """A code block of a page.

    Args:
        page: file of the page.
        line: number of its first line of code, from 1.
        language: language after the fence.
        text: the code, with a newline at its end.
        mark: one of MARKS, or "".
        told: text of the mark.
    """

    page: Path
    line: int
    language: str
    text: str
    mark: str = ""
    told: str = ""

    @property
    def place(self) -> str:
        """Page and line."""
        return f"{self.page.name}:{self.line}"


def pages() -> tuple[Path, ...]:
    """All tutorials, by name."""
    return tuple(sorted(FOLDER.glob("*.md")))


def blocks_of(page: Path) -> tuple[Block, ...]:
    """Read the blocks of a page, in order.

    Raises:
        TutorialError: a block is neither run nor marked, or a mark is unknown or without a block below.
    """
    lines = page.read_text(encoding="utf-8").splitlines()
    found: list[Block] = []
    mark, told, at = "", "", 0
    while at < len(lines):
        if marked := _MARK.match(lines[at]):
            mark, told = marked[1], marked[2] or ""
            if mark not in MARKS:
                raise TutorialError(f"{page.name}:{at + 1}: unknown mark {mark!r}")
        elif fence := _FENCE.match(lines[at]):
            end = lines.index("```", at + 1)
            block = Block(page, at + 2, fence[1], "".join(f"{line}\n" for line in lines[at + 1 : end]), mark, told)
            _check_mark(block, found)
            found.append(block)
            mark, told, at = "", "", end
        elif lines[at].strip() and mark:
            raise TutorialError(f"{page.name}:{at + 1}: the mark {mark!r} is above no block")
        at += 1
    return tuple(found)


def shell_blocks(page: Path) -> tuple[Block, ...]:
    """Read the shell blocks of a page that is not a tutorial."""
    lines = page.read_text(encoding="utf-8").splitlines()
    found, start = [], 0
    for at, line in enumerate(lines):
        if not start and line in ("```bash", "```sh"):
            start = at + 1
        elif start and line == "```":
            found.append(Block(page, start + 1, "bash", "".join(f"{one}\n" for one in lines[start:at])))
            start = 0
    return tuple(found)


def _check_mark(block: Block, before: list[Block]) -> None:
    if not block.mark and block.language not in RUN:
        raise TutorialError(f"{block.place}: a block of {block.language or 'no language'} needs a mark")
    if block.mark == "output" and block.told not in ("", TIMES_DIFFER):
        raise TutorialError(f"{block.place}: an output cannot be {block.told!r}")
    if block.mark in ("file", "example", "not run") and not block.told:
        raise TutorialError(f"{block.place}: the mark {block.mark!r} says nothing")
    if block.mark == "output" and (not before or before[-1].mark or before[-1].language not in RUN):
        raise TutorialError(f"{block.place}: no block that is run is above this output")


class Session:
    """The run of a page.

    Args:
        page: its file.
        folder: empty folder; commands run in its subfolder "work".
        examples: name → text of the blocks that are marked as examples.
    """

    def __init__(self, page: Path, folder: Path, examples: Mapping[str, str]) -> None:
        self.blocks = blocks_of(page)
        self.printed: dict[int, str] = {}
        self._examples, self._programs = examples, folder / "bin"
        self._where = folder / "work"  # current directory of the page's commands
        self._where.mkdir()
        shutil.copytree(FOLDER / "cans", self._where / "docs" / "tutorials" / "cans")
        self._names: dict[str, Any] = {"__name__": f"tutorial_{page.stem}"}
        self._environment = _environment(self._programs)
        self._failed: str | None = None
        self._next = 0

    def run(self, number: int) -> None:
        """Run the blocks up to this one, each once.

        Raises:
            TutorialError: this block, or an earlier one, does not run or prints something else.
        """
        while self._next <= number:
            if self._failed is not None:
                raise TutorialError(f"{self._failed} fails before this block")
            at, self._next = self._next, self._next + 1
            try:
                self._do(at)
            except Exception:
                self._failed = self.blocks[at].place
                raise

    def _do(self, number: int) -> None:
        block = self.blocks[number]
        if block.mark == "file":
            path = self._where / block.told
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text, encoding="utf-8")
        elif block.mark == "output":
            _compare(block, self.printed[number - 1])
        elif block.mark == "example":
            self.printed[number] = self.example(block)
            _compare(block, self.printed[number])
        elif block.mark == "not run":
            check_unrun(block)
        elif block.language == "python":
            self.printed[number] = _without_blanks(self._python(block))
        else:
            self.printed[number] = _without_blanks(self._bash(block))

    def example(self, block: Block) -> str:
        """The text of an example, wrapped like the pages."""
        if block.told not in self._examples:
            raise TutorialError(f"{block.place}: no example {block.told!r}")
        return wrapped(self._examples[block.told])

    def _python(self, block: Block) -> str:
        printed, here = io.StringIO(), Path.cwd()
        code = compile("\n" * (block.line - 1) + block.text, str(block.page), "exec")
        sys.path.insert(0, str(self._where))
        os.chdir(self._where)
        try:
            with contextlib.redirect_stdout(printed):
                exec(code, self._names)  # noqa: S102 - our own pages
        except Exception as error:
            raise TutorialError(f"{block.place}: {type(error).__name__}: {error}") from error
        finally:
            os.chdir(here)
            sys.path.remove(str(self._where))
        return printed.getvalue()

    def _bash(self, block: Block) -> str:
        left = self._programs / "left"
        command = ["bash", "-euo", "pipefail", "-c", f"trap 'pwd > {shlex.quote(str(left))}' EXIT\n{block.text}"]
        done = subprocess.run(  # noqa: S603 - our own pages
            command, cwd=self._where, env=self._environment, capture_output=True, text=True, check=False,
            stdin=subprocess.DEVNULL, timeout=PATIENCE,
        )  # fmt: skip
        if done.returncode:
            raise TutorialError(f"{block.place}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
        self._where = Path(left.read_text(encoding="utf-8").rstrip("\n"))
        return done.stdout


def wrapped(text: str) -> str:
    """Wrap text in lines of at most 110 characters, as on the pages."""
    import textwrap

    lines = [textwrap.fill(line, 110, break_long_words=False, break_on_hyphens=False) for line in text.splitlines()]
    return "\n".join(lines) + "\n"


def _environment(programs: Path) -> dict[str, str]:
    """The environment of shell blocks: this checkout's `spatial-vlm` first on the path."""
    programs.mkdir()
    for name, module in (("spatial-vlm", "-m spatial_vlm_ros.cli"), ("python", "")):
        program = programs / name
        program.write_text(
            f"#!/bin/sh\nexport PYTHONPATH={shlex.quote(str(ROOT))}${{PYTHONPATH:+:$PYTHONPATH}}\n"
            f'exec {shlex.quote(sys.executable)} {module} "$@"\n'
        )
        program.chmod(0o755)
    kept = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "FORCE_COLOR")}
    return {**kept, "PATH": f"{programs}{os.pathsep}{kept['PATH']}", "COLUMNS": "110",
            "NO_COLOR": "1", "LC_ALL": "C.UTF-8"}  # fmt: skip


def _without_blanks(text: str) -> str:
    """Remove blanks at the ends of lines."""
    return "".join(f"{line.rstrip()}\n" for line in text.splitlines())


def _compare(block: Block, printed: str) -> None:
    if not _as_told(block, printed):
        repair = f"if this is right: python -m scripts.tutorials {block.page.stem}"
        raise TutorialError(f"{block.place}: printed\n{printed}\nthe page says\n{block.text}\n{repair}")


def _as_told(block: Block, printed: str) -> bool:
    if block.told == TIMES_DIFFER:
        return same(_TIME.sub("# ", printed), _TIME.sub("# ", block.text))
    return same(printed, block.text)


def same(printed: str, promised: str) -> bool:
    """Whether a printed text matches the page; numbers may differ in their last digit, or by a hundredth."""
    parts = [re.escape(_NUMBER.sub("#", part).strip("\n")) for part in re.split(r"…$", promised, flags=re.MULTILINE)]
    told = _NUMBER.sub("#", printed).strip("\n")
    if not re.fullmatch("(?:.|\n)*".join(parts), told):
        return False
    if len(parts) > 1:  # numbers cannot be matched one to one
        return True
    return all(_near(ours, theirs) for ours, theirs in zip(_NUMBER.findall(printed), _NUMBER.findall(promised),
                                                           strict=True))  # fmt: skip


def _near(ours: str, theirs: str) -> bool:
    digit = 10.0 ** -len(theirs.partition(".")[2])
    return abs(float(ours) - float(theirs)) <= max(1.01 * digit * ("." in theirs), 0.011 * abs(float(theirs)))


def check_unrun(block: Block) -> None:
    """Check a block's syntax, and that its commands, options, launch files and arguments of this package exist.

    Raises:
        TutorialError: something is wrong.
    """
    if block.language == "python":
        compile(block.text, str(block.page), "exec")
        return
    if block.language != "bash":
        return
    command = ["bash", "-n"]
    done = subprocess.run(command, input=block.text, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        raise TutorialError(f"{block.place}: {done.stderr}")
    for words in _commands(block.text):
        if words[0] == "spatial-vlm":
            _check_options(block, words[1:])
        elif words[:3] == ["ros2", "launch", "spatial_vlm_ros"]:
            _check_launch(block, words[3], words[4:])
        elif words[:3] == ["ros2", "run", "spatial_vlm_ros"] and not (ROOT / "executables" / words[3]).exists():
            raise TutorialError(f"{block.place}: no program {words[3]!r}")


def _commands(text: str) -> Iterator[list[str]]:
    for line in text.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        start = 0
        for at, word in enumerate([*words, ";"]):
            if word in ("&&", "||", "|", ";", ">"):
                if words[start:at]:
                    yield words[start:at]
                start = at + 1


def _check_options(block: Block, words: list[str]) -> None:
    import click

    from spatial_vlm_ros.cli.main import main

    command: click.Command = main
    context = click.Context(main)
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        found = command.get_command(context, words[0])
        if found is None:
            raise TutorialError(f"{block.place}: no command {words[0]!r}")
        command, words = found, words[1:]
    known = {option for one in command.get_params(context) for option in one.opts + one.secondary_opts}
    for word in words[: words.index("--ros-args")] if "--ros-args" in words else words:
        if word.startswith("--") and word.partition("=")[0] not in known:
            raise TutorialError(f"{block.place}: spatial-vlm {command.name} has no option {word!r}")
    if command.name == "up" and words:
        _check_launch(block, words[0], words[1:])


def _check_launch(block: Block, name: str, words: list[str]) -> None:
    """Check a launch file or a camera, and the arguments of its file."""
    from spatial_vlm_ros.errors import UnknownNameError
    from spatial_vlm_ros.launcher import plan, wiring

    share = plan.share_folder()
    try:
        path, _ = plan.launch_file(share, name.removesuffix(".launch.py"), wiring.camera_names(share))
    except UnknownNameError as error:
        raise TutorialError(f"{block.place}: {error}") from error
    known = {argument.name for argument in plan.arguments_of(path)}
    for word in words:
        argument, colon, _ = word.partition(":=")
        if colon and argument not in known:
            raise TutorialError(f"{block.place}: {path.name} has no argument {argument!r}")


def rewritten(page: Path, examples: Mapping[str, str]) -> str:
    """Return a page with the current output of its blocks.

    Raises:
        TutorialError: a block does not run.
    """
    lines = page.read_text(encoding="utf-8").splitlines()
    with tempfile.TemporaryDirectory() as folder:
        session = Session(page, Path(folder), examples)
        new: list[tuple[Block, str]] = []
        for number, block in enumerate(session.blocks):
            if block.mark == "output":
                text = session.printed[number - 1].rstrip("\n") + "\n"
                if not _as_told(block, text) and not re.search(r"…$", block.text, re.MULTILINE):
                    new.append((block, text))
            elif block.mark == "example":
                if not same(text := session.example(block), block.text):
                    new.append((block, text))
            else:
                session._do(number)
    for block, text in reversed(new):
        start = block.line - 1
        lines[start : start + block.text.count("\n")] = text.splitlines()
    return "\n".join(lines) + "\n"


def main() -> int:
    """Run the named pages, or all; returns 0 if all blocks run."""
    sys.path.insert(0, str(ROOT))
    from scripts.refusal_examples import examples

    named = sys.argv[1:]
    code = 0
    for page in pages():
        if named and page.stem not in named:
            continue
        try:
            text = rewritten(page, examples())
        except TutorialError as error:
            print(error)
            code = 1
            continue
        changed = text != page.read_text(encoding="utf-8")
        page.write_text(text, encoding="utf-8")
        print(f"{page.relative_to(ROOT)}: {len(blocks_of(page))} blocks{', written anew' if changed else ''}")
    return code


if __name__ == "__main__":
    sys.exit(main())
