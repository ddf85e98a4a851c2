# SPDX-License-Identifier: Apache-2.0
"""Text from outside cannot drive a terminal, wherever it is printed: in functions, commands, logs and reports."""

import ast
import html
import json
import re
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from rich.table import Table
from rich.tree import Tree

from spatial_vlm_lab.reports.report import escape
from spatial_vlm_ros.cli.group import Group, print_json, say
from spatial_vlm_ros.cli.live import print_progress
from spatial_vlm_ros.errors import InputError
from spatial_vlm_ros.output.terminal import new_console
from spatial_vlm_ros.printable import printable, printable_json, printable_line

ROOT = Path(__file__).resolve().parent.parent
EVIL = (
    "\x1b[2J", "\x1b]0;title\x07", "\x9b31m", "\r\nOK", "\u202etxt.exe", "\u2066x\u2069", "\u200b", "\u2028", "\ufeff",
    "\x00", "\x7f", "\ud800", "\U000e0041", "\ue000", "\t",
)  # fmt: skip


@pytest.mark.parametrize("evil", EVIL, ids=ascii)
def test_nothing_that_a_terminal_obeys_or_a_reader_does_not_see_is_left(evil: str) -> None:
    text = f"a{evil}b"
    for made in (printable(text), printable_line(text), printable_json(json.dumps(text, ensure_ascii=False))):
        assert made.isprintable()
    whole = {"label": f"a{evil}b", "ids": [evil]}
    assert json.loads(printable_json(json.dumps(whole, ensure_ascii=False))) == whole


def test_what_shows_stays_as_it_is() -> None:
    for text in ("der Küken-Becher 12 cm", "杯子の後ろ", "كوب", "→ ± µ 😀", ""):
        assert printable(text) == printable_line(text) == printable_json(text) == text
    assert printable("one\ntwo", keep="\n") == "one\ntwo"
    assert printable_line("\x1b[31m[ERROR]\x1b[0m\tx\r") == "[ERROR] x"


def test_commands_print_no_control_characters() -> None:
    evil = "".join(EVIL)

    @click.command()
    @click.argument("how")
    def show(how: str) -> None:
        say(evil)
        say(evil, err=True)
        print_json({"evil": evil.replace("\ud800", "")})
        print_progress(evil)
        if how == "ours":
            raise InputError("file", evil, "another one", evil)
        raise click.UsageError(evil)

    group = Group(verbs=())
    group.add_command(show)
    for words in (["show", "ours"], ["show", "clicks"], ["no\x1b[2Jsuch"]):
        done = CliRunner().invoke(group, words)
        assert done.exit_code in (2, 3)
        assert printable(done.output, keep="\n") == done.output


def test_tables_and_trees_print_no_control_characters(capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever field it comes in: an answer over the network has the relation, the frame and the question as text."""
    evil = "".join(EVIL).replace("\n", "")
    console = new_console()
    table, tree = Table(evil), Tree(evil)
    table.add_row(evil)
    tree.add(evil)
    for each in (table, tree, evil):
        console.print(each)
    printed = capsys.readouterr().out
    assert printed.count("?") > 30
    assert printable(printed, keep="\n") == printed


def test_a_report_shows_words_from_outside_and_obeys_none() -> None:
    """By CommonMark, and by kinds of Markdown in which a backslash does not escape HTML."""
    evil = "<img src=x onerror=alert(1)> [x](javascript:y) `c` **b** | &lt; https://e.example\u202e\n# h\n==="
    made = escape(evil)
    assert made.isprintable()
    assert not set("<>") & set(made)
    assert html.unescape(re.sub(r"\\(.)", r"\1", made)) == printable(evil)
    assert not set("[]()`*|#=") & set(re.sub(r"\\.", "", made))


def test_logs_and_terminals_are_written_through_printable_alone() -> None:
    """A call with words that are not written in the source names `printable`, or `say` and its like that do."""
    found = []
    sources = {path: ast.parse(path.read_text()) for path in sorted(ROOT.glob("spatial_vlm_*/**/*.py"))}
    nodes = ((path, node) for path, tree in sources.items() for node in ast.walk(tree))
    for path, call in ((path, node) for path, node in nodes if isinstance(node, ast.Call)):
        name = ast.unparse(call.func)
        is_log = "get_logger()." in name and not name.endswith("get_child")
        is_print = name == "print" or name.endswith((".stdout.write", ".stderr.write"))
        if path.parts[-2] == "cli" and name == "click.echo":
            is_print = path.name not in ("group.py", "schema.py")  # there it is wrapped; our own schema
        if (is_log or is_print) and call.args and not isinstance(call.args[0], ast.Constant):
            words = ast.unparse(call.args[0])
            if not words.startswith("printable(") and "printable(" not in words:
                found.append(f"{path.relative_to(ROOT)}:{call.lineno}: {name}({words})")
    assert not found, "wrap their words in printable()"
