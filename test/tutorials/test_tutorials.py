# SPDX-License-Identifier: Apache-2.0
"""Every code block of docs/tutorials runs, in order, and prints what the page says; every refusal is explained."""

import re
from pathlib import Path

import pytest
from tables import rows

from scripts import refusal_examples, tutorials
from scripts.tutorials import Block, Session, TutorialError, blocks_of, same, shell_blocks
from spatial_vlm_ros.types import ANSWERS, Status

BLOCKS = [(page, number) for page in tutorials.pages() for number in range(len(blocks_of(page)))]
LONGEST_LINE = 130


@pytest.fixture(scope="module")
def examples() -> dict[str, str]:
    return refusal_examples.examples()


@pytest.fixture(scope="module")
def sessions() -> dict[Path, Session]:
    """The pages as far as they were run; a test of a block runs those before it, once."""
    return {}


@pytest.mark.live
@pytest.mark.parametrize(("page", "number"), BLOCKS, ids=[f"{page.stem}-{number}" for page, number in BLOCKS])
def test_a_block_runs(
    page: Path, number: int, sessions: dict[Path, Session], examples: dict[str, str],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:  # fmt: skip
    if page not in sessions:
        sessions[page] = Session(page, tmp_path_factory.mktemp(page.stem), examples)
    sessions[page].run(number)


def test_every_tutorial_has_blocks_and_short_lines() -> None:
    for page in tutorials.pages():
        assert blocks_of(page) or page.stem in ("index", "README"), page.name
        lengths = [len(line) for line in page.read_text(encoding="utf-8").splitlines()]
        assert max(lengths) <= LONGEST_LINE, f"{page.name}:{lengths.index(max(lengths)) + 1}"


PAGES = [tutorials.ROOT / "README.md", tutorials.ROOT / "CONTRIBUTING.md",
         *sorted((tutorials.ROOT / "docs").glob("*.md"))]  # fmt: skip


@pytest.mark.live
@pytest.mark.parametrize("other", [page for page in PAGES if shell_blocks(page)], ids=lambda page: page.stem)
def test_commands_of_other_pages_exist_with_their_options(other: Path) -> None:
    for block in shell_blocks(other):
        tutorials.check_unrun(block)


def test_every_status_has_a_section_and_an_example() -> None:
    page = tutorials.FOLDER / "refusals.md"
    text = page.read_text(encoding="utf-8")
    named = re.findall(r"^### `([A-Z_]+)`$", text, re.MULTILINE)
    refusals = [status.value for status in Status if status not in ANSWERS]
    assert named == refusals
    shown = {block.told for block in blocks_of(page) if block.mark == "example"}
    assert shown == set(refusals) - set(refusal_examples.UNUSED)


def test_a_status_that_is_said_to_be_unused_is_unused() -> None:
    package = tutorials.ROOT / "spatial_vlm_ros"
    for name in refusal_examples.UNUSED:
        users = [path for path in package.rglob("*.py") if name in path.read_text(encoding="utf-8")]
        assert users == [package / "types" / "status.py"]


def page(folder: Path, text: str) -> Path:
    path = folder / "page.md"
    path.write_text(text, encoding="utf-8")
    return path


def run_all(folder: Path, text: str) -> None:
    session = Session(page(folder, text), folder, {"one": "the text"})
    session.run(len(session.blocks) - 1)


@pytest.mark.live
def test_blocks_share_names_and_the_folder(tmp_path: Path) -> None:
    run_all(
        tmp_path,
        "<!-- file: a.txt -->\n```text\nhello\n```\n"
        "```python\nfrom pathlib import Path\nx = Path('a.txt').read_text()\nprint(x, 1.25)\n```\n"
        "<!-- output -->\n```text\nhello\n 1.26\n```\n```bash\ncat a.txt\nspatial-vlm --version\n```\n"
        "<!-- output -->\n```text\nhello\n…\n```\n<!-- example: one -->\n```text\nthe text\n```\n",
    )


@pytest.mark.live
@pytest.mark.parametrize(
    ("text", "reason"),
    rows(__file__, "broken_blocks"),
)
def test_what_does_not_run_is_an_error(tmp_path: Path, text: str, reason: str) -> None:
    with pytest.raises(TutorialError, match=re.escape(reason)):
        run_all(tmp_path, text)


@pytest.mark.live
def test_a_block_after_one_that_failed_fails_too(tmp_path: Path) -> None:
    session = Session(page(tmp_path, "```bash\nfalse\n```\n```bash\ntrue\n```\n"), tmp_path, {})
    with pytest.raises(TutorialError, match="exit code 1"):
        session.run(0)
    with pytest.raises(TutorialError, match=r"page\.md:2 fails before this block"):
        session.run(1)


def test_outputs_are_compared_with_a_tolerance_for_numbers() -> None:
    assert same("at 0.221 m, 3 of 4\n", "at 0.222 m, 3 of 4\n")
    assert not same("at 0.221 m, 3 of 4\n", "at 0.321 m, 3 of 4\n")
    assert not same("at 0.221 m, 2 of 4\n", "at 0.221 m, 3 of 4\n")
    assert same("a\nb\nc\nd\n", "a\n…\nd\n")
    assert not same("a\nb\nc\n", "a\n…\nd\n")
    assert same("a: b c\nd\n", "a: b…\nd\n")
    assert not same("a: x c\nd\n", "a: b…\nd\n")


def test_outputs_are_written_anew(tmp_path: Path) -> None:
    text = "```python\nprint(2)\n```\n<!-- output -->\n```text\n3\n4\n```\n"
    assert tutorials.rewritten(page(tmp_path, text), {}) == text.replace("3\n4\n", "2\n")


def test_a_block_knows_its_line(tmp_path: Path) -> None:
    (block,) = blocks_of(page(tmp_path, "# Title\n\n```python\nx = 1\n```\n"))
    assert block == Block(tmp_path / "page.md", 4, "python", "x = 1\n")
