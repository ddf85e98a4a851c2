# SPDX-License-Identifier: Apache-2.0
"""What every benchmark answers to --help and to an option that it does not have, without any of its work."""

from __future__ import annotations

import subprocess
import sys

import pytest

from benchmarks.__main__ import PARTS, file_of, main
from benchmarks.command_line import checked, options_of

SOURCE = '''"""One line.

More of it.
"""
parser.add_argument("--seeds", type=int, help="tabletops")
parser.add_argument("-m", "--most", help="at most " + "so many")
n, robot, add = int(option("n", 3)), harness.word("robot", ""), "--add" in sys.argv
subprocess.run(["program", "--of-another-program"])
'''


def sources() -> dict[str, str]:
    return {name: file_of(name).read_text(encoding="utf-8") for name in PARTS}


def test_the_options_of_a_file_are_found_and_no_others() -> None:
    assert options_of(SOURCE) == {
        "--add": "", "--help": "say this and end", "--most": "", "--n": "", "--robot": "", "--seeds": "tabletops",
    }  # fmt: skip
    assert options_of("rounds = repetitions()\nfinish('a', {}, ())").keys() == {"--check", "--help", "--repetitions"}
    assert list(options_of("")) == ["--help"]


@pytest.mark.parametrize("asked", [("--help",), ("-h",), ("--n", "4", "--help"), ("--no-such-option", "--help")])
def test_help_shows_the_docstring_and_the_options_and_ends_with_0(
    asked: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        checked(SOURCE, asked, "benchmarks.made")
    assert ended.value.code == 0
    said = capsys.readouterr().out.splitlines()
    assert said[:5] == ["python -m benchmarks.made", "", "One line.", "", "More of it."]
    assert [line.split()[0] for line in said[said.index("options:") + 1 :]] == list(options_of(SOURCE))
    assert "  --seeds  tabletops" in said


@pytest.mark.parametrize("asked", [("--m", "4"), ("--n", "4", "--m=4"), ("--of-another-program",)])
def test_an_unknown_option_ends_with_2_and_the_known_ones(
    asked: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        checked(SOURCE, asked, "benchmarks.made")
    assert ended.value.code == 2
    said = capsys.readouterr()
    assert said.out == ""
    unknown = asked[-1] if len(asked) == 1 else "--m"
    assert said.err.startswith(f"benchmarks.made: no option {unknown}; there are:\n")
    assert all(name in said.err for name in options_of(SOURCE))


def test_values_stay_as_they_are_and_an_equals_sign_divides() -> None:
    asked = ["--n=5", "--robot", "a=b", "-1", "--seeds=--x=y"]
    assert checked(SOURCE, asked, "benchmarks.made") == ["--n", "5", "--robot", "a=b", "-1", "--seeds", "--x=y"]


def test_every_benchmark_knows_the_options_of_its_smallest_size() -> None:
    for name, source in sources().items():
        assert checked(source, PARTS[name].smallest, name) == list(PARTS[name].smallest), name


def test_every_benchmark_says_what_it_is_and_refuses_an_option_of_nobody(capsys: pytest.CaptureFixture[str]) -> None:
    for name, source in sources().items():
        with pytest.raises(SystemExit) as helped:
            checked(source, ["--help"], name)
        told = capsys.readouterr().out
        with pytest.raises(SystemExit) as refused:
            checked(source, ["--no-such-option"], name)
        assert (helped.value.code, refused.value.code) == (0, 2), name
        assert len(told.splitlines()) > 5, name
        assert f"{name}: no option --no-such-option; there are:" in capsys.readouterr().err


# Some by the command that a person types; the others, which import much, are slow.
@pytest.mark.live
@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[] if name in ("lifting", "accuracy") else [pytest.mark.slow]) for name in PARTS],
)
def test_the_command_answers_help_and_refuses_an_unknown_option_without_work(name: str) -> None:
    if name == "lifting":
        pytest.importorskip("open3d")
    module, root = f"{PARTS[name].package}.{name}", file_of("lifting").parents[1]
    helped, refused = (
        subprocess.run([sys.executable, "-m", module, option], cwd=root, text=True, capture_output=True, timeout=120,
                       check=False)
        for option in ("--help", "--no-such-option")
    )  # fmt: skip
    assert helped.returncode == 0, helped.stderr
    first = file_of(name).read_text(encoding="utf-8").split('"""')[1].splitlines()[0]
    assert first in helped.stdout
    assert refused.returncode == 2, refused.stderr
    assert "--no-such-option" in refused.stderr


def test_the_whole_answers_help_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    assert "--smallest" in capsys.readouterr().out
