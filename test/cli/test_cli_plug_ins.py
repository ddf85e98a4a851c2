# SPDX-License-Identifier: Apache-2.0
"""Commands of other packages: shown and run where they load, named with their error where they do not."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from cli_runs import run


@pytest.fixture
def plug_ins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed package that brings a command which works, some which do not, and one with a name of ours."""
    (tmp_path / "someones.py").write_text(
        "import click\n\n@click.command()\n@click.argument('word')\ndef shout(word):\n"
        "    '''Say a word loudly.'''\n    click.echo(word.upper())\n\nnumber = 7\n"
    )
    (tmp_path / "someones_exit.py").write_text("raise SystemExit(9)\n")
    info = tmp_path / "someones_commands-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: someones-commands\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[spatial_vlm_ros.commands]\nshout = someones:shout\nbroken = no_such_module:command\n"
        "number = someones:number\n"
        "leaves = someones_exit:command\nparse = someones:shout\nreplay = someones:shout\n"
    )
    monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.usefixtures("plug_ins")
def test_a_command_of_another_package_is_shown_and_runs() -> None:
    shown = run("--help")
    assert shown.exit_code == 0
    assert re.search(r"^  shout +Say a word loudly\.$", shown.output, re.MULTILINE)
    done = run("shout", "mug")
    assert (done.exit_code, done.output) == (0, "MUG\n")


@pytest.mark.usefixtures("plug_ins")
@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("broken", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("number", "TypeError: someones:number is of type int, not click.Command"),
        ("leaves", "SystemExit: 9"),
    ],
)
def test_a_broken_command_is_named_with_its_error_and_the_others_go_on(name: str, reason: str) -> None:
    shown = run("--help")
    assert shown.exit_code == 0
    assert f"(of someones-commands; cannot be loaded: {reason})" in " ".join(shown.output.split())
    assert "Show how an INSTRUCTION is understood" in shown.output
    for words in ([name], [name, "--help"], [name, "--rate", "7", "word"]):
        done = run(*words)
        assert done.exit_code == 1
        assert f"command '{name}' of someones-commands cannot be loaded: {reason}." in done.output
        assert "uninstall someones-commands" in done.output
    assert run("parse", "the mug").exit_code == 0


@pytest.mark.usefixtures("plug_ins")
def test_a_command_of_another_package_does_not_take_a_name_of_ours() -> None:
    assert "MUG" not in run("parse", "mug").output
    assert "BAG" in run("replay", "--help").output
    assert run("--help").output.count("\n  parse ") == 1
