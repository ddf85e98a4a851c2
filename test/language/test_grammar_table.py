# SPDX-License-Identifier: Apache-2.0
"""The table of the grammar is that of grammar.lark, whichever edition of lark makes it, and nothing else is needed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.grammar_table import LANGUAGE, grammar_table
from spatial_vlm_ros.errors import NotUnderstoodError
from spatial_vlm_ros.language import parse
from spatial_vlm_ros.language.parser import _Builder, _table, steps_of
from spatial_vlm_ros.language.words import Token

ROOT = Path(__file__).resolve().parents[2]
MAKE = """
import sys
sys.path.insert(0, sys.argv[1])
import lark
from scripts.grammar_table import grammar_table
print(lark.__version__, lark.__file__, sep="\\n")
print(grammar_table(), end="")
"""


def test_the_table_is_that_of_the_grammar() -> None:
    assert (LANGUAGE / "grammar.json").read_text(encoding="utf-8") == grammar_table(), "run `make generate`"


@pytest.mark.live
@pytest.mark.parametrize(("package", "version"), [("lark", "1.0.0"), ("lark-parser", "0.12.0")])
def test_the_oldest_of_either_edition_makes_the_same_table(package: str, version: str, tmp_path: Path) -> None:
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", tmp_path]
    fetched = subprocess.run([*pip, f"{package}=={version}"], capture_output=True, text=True, check=False)
    if fetched.returncode != 0:
        pytest.skip(f"{package} {version} cannot be fetched: {fetched.stderr.strip().splitlines()[-1:]}")
    made = subprocess.run([sys.executable, "-c", MAKE, str(tmp_path)], cwd=ROOT, capture_output=True, text=True,
                          check=True, env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "1"})  # fmt: skip
    there, place, table = made.stdout.split("\n", 2)
    assert (there, Path(place).parent) == (version, tmp_path / "lark")
    assert table == grammar_table()


@pytest.mark.live
def test_importing_builds_no_parser_and_parsing_needs_neither_lark_nor_anything_heavy() -> None:
    code = (
        "import sys\n"
        "sys.modules['lark'] = None\n"
        "from spatial_vlm_ros.language import parse, vocabulary\n"
        "assert vocabulary._vocabulary.cache_info().currsize == 0\n"
        "assert parse('grab the mug behind the box')[0].action == 'pick'\n"
        "heavy = {'torch', 'cv2', 'open3d', 'scipy', 'rclpy'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_every_line_of_the_grammar_has_its_method() -> None:
    names = {name for _, name, _ in _table()["lines"]} - {""}
    assert len(names) > 15
    assert [name for name in names if not callable(getattr(_Builder, name, None))] == []


@pytest.mark.parametrize(
    ("kinds", "position"),
    [((), 0), (("VERB",), 1), (("NOUN", "REL"), 2), (("VERB", "NOUN", "OUTSIDE", "NOUN"), 2), (("OF", "NOUN"), 0)],
)
def test_what_does_not_fit_is_told_by_its_place(kinds: tuple[str, ...], position: int) -> None:
    with pytest.raises(NotUnderstoodError) as caught:
        steps_of([Token(kind, None, n, n + 1, kind.lower()) for n, kind in enumerate(kinds)], "x" * len(kinds))
    assert caught.value.span[0] == min(position, max(0, len(kinds) - 1))


def test_errors_of_the_lines_come_as_they_are() -> None:
    with pytest.raises(NotUnderstoodError, match="cannot be negated") as caught:
        parse("the mug that is not on the left")
    assert caught.value.part == "that is not on the left"
    with pytest.raises(NotUnderstoodError, match="does not fit here") as caught:  # told first
        parse("the mug that is not on the left, of")
    assert caught.value.part == "of"
