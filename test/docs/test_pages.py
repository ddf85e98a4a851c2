# SPDX-License-Identifier: Apache-2.0
"""What every Markdown page keeps to: links and anchors lead somewhere, pages are in the navigation, lines are short.

The README is short, with an image that loads quickly; CITATION.cff has the package's own data.
"""

import re
import runpy
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from xml.etree import ElementTree

import cv2
import pytest
import yaml

from scripts.generate import site_pages

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
MADE = {"build", "dist", "install", "log", "out"}
GENERATED = {ROOT / path: text for path, text in site_pages().items()}
LONGEST = 130
MOST_WORDS = 600  # of the README
LARGEST_GIF = 1_500_000  # bytes
REQUIRED = {"cff-version", "message", "title", "authors"}  # of the schema of the Citation File Format 1.2.0

LINK = re.compile(r"!?\[[^\]]*\]\((?P<inline>[^)\s]+)(?:\s+\"[^\"]*\")?\)|^\[[^\]]+\]:\s+(?P<defined>\S+)", re.M)
CODE = re.compile(r"(`+)(?!`)(?:(?!\n\n).)+?(?<!`)\1(?!`)", re.S)


def pages() -> list[Path]:
    folders = [folder for folder in ROOT.iterdir() if folder.is_dir() and folder.name[0] != "."]
    found = [path for folder in folders if folder.name not in MADE for path in folder.rglob("*.md")]
    kept = {path for path in (*ROOT.glob("*.md"), *found) if DOCS / "generated" not in path.parents}
    return sorted(kept | GENERATED.keys())


def text_of(path: Path) -> str:
    return GENERATED.get(path) or path.read_text(encoding="utf-8")


@cache
def prose(path: Path) -> str:
    """A page without its blocks of code; their lines stay, empty."""
    lines, fence = [], ""
    for line in text_of(path).splitlines():
        mark = re.match(r"\s*(`{3,}|~{3,})", line)
        if mark and not fence:
            fence = mark[1]
        elif mark and mark[1].startswith(fence):
            fence, line = "", ""
        lines.append("" if fence else line)
    return "\n".join(lines)


@cache
def anchors(path: Path) -> set[str]:
    """What a link to a page may have after its #, as Git hosts make it from headings."""
    found: set[str] = set(re.findall(r"<a (?:id|name)=\"([^\"]+)\"", prose(path)))
    for heading in re.findall(r"^#{1,6} +(.+?)\s*#*$", prose(path), re.M):
        words = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        slug = re.sub(r"[^\w\- ]", "", words.lower().strip()).replace(" ", "-")
        numbered = (slug, *(f"{slug}-{number}" for number in range(1, 1000)))
        found.add(next(each for each in numbered if each not in found))
    return found


def broken_links(path: Path) -> Iterator[str]:
    text = CODE.sub(lambda code: re.sub(r"[^\n]", " ", code[0]), prose(path))
    for link in LINK.finditer(text):
        target = link["inline"] or link["defined"]
        if re.match(r"[a-z]+:", target):
            continue
        file, _, anchor = target.partition("#")
        to = (path.parent / file).resolve() if file else path
        where = f"{path.relative_to(ROOT)}:{text.count(chr(10), 0, link.start()) + 1}"
        if not to.exists() and to not in GENERATED:
            yield f"{where}: {target}: no such file"
        elif anchor and to.suffix == ".md" and anchor not in anchors(to):
            yield f"{where}: {target}: no such heading"


def test_every_link_and_anchor_of_a_page_leads_somewhere() -> None:
    assert len(pages()) > 60
    assert [broken for path in pages() for broken in broken_links(path)] == []


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[a](nowhere.md)", "no such file"),
        ("![a](nowhere.svg)", "no such file"),
        ("[a](#nothing)", "no such heading"),
        ("[a](docs/conventions.md#nothing)", "no such heading"),
        ("[a]: nowhere.md", "no such file"),
        (
            "# A b\n\n# `A` b!\n\n[a](#a-b-1) [b](docs/conventions.md#statuses) [c](docs/adr/) [d](https://a.example/#b)",
            "",
        ),
        ("```\n[a](nowhere.md)\n```\n`[a](nowhere.md)` `b\n[a](nowhere.md)`", ""),
    ],
)
def test_the_checker_finds_what_is_broken_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch, text: str, problem: str
) -> None:
    page, read = ROOT / "README.md", Path.read_text
    monkeypatch.setattr(Path, "read_text", lambda path, **options: text if path == page else read(path, **options))
    prose.cache_clear()
    anchors.cache_clear()
    found = list(broken_links(page))
    prose.cache_clear()
    anchors.cache_clear()
    assert [each.endswith(problem) for each in found] == ([True] if problem else [])


def test_every_page_has_one_place_in_the_navigation() -> None:
    site = runpy.run_path(str(DOCS / "conf.py"))
    listed = [
        (DOCS / page).parent.joinpath(f"{entry}.md").resolve()
        for page in site["CONTENTS"]
        for _, entries in site["navigation"](page)
        for entry in entries
    ]
    all_pages = {path for path in pages() if DOCS in path.parents} - {DOCS / "index.md"}
    assert sorted(all_pages - set(listed)) == [], "list them on the page of an entrance (CONTENTS of docs/conf.py)"
    assert sorted(set(listed) - all_pages) == []
    assert len(listed) == len(set(listed))


def test_pages_that_show_a_file_of_another_folder_link_to_it() -> None:
    for page, file in runpy.run_path(str(DOCS / "conf.py"))["ELSEWHERE"].items():
        assert f"](../{file})" in (DOCS / f"{page}.md").read_text(encoding="utf-8")


def test_every_test_that_a_page_names_is_there() -> None:
    there = {path.name for folder in ("test", "research/test") for path in (ROOT / folder).rglob("test_*.py")}
    named = {name for path in pages() for name in re.findall(r"`(?:\w+/)*(test_\w+\.py)", text_of(path))}
    assert named - there == set()


def test_no_line_of_a_page_is_longer_than_130_characters() -> None:
    long = [
        f"{path.relative_to(ROOT)}:{number}: {len(line)} characters"
        for path in pages()
        for number, line in enumerate(text_of(path).splitlines(), 1)
        if len(line) > LONGEST
    ]
    assert long == []


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").split()) <= MOST_WORDS


def test_the_image_of_the_readme_is_small_and_moves() -> None:
    (image,) = re.findall(r"!\[[^\]]*\]\(([^)]+)\)", (ROOT / "README.md").read_text(encoding="utf-8"))
    path = ROOT / image
    assert path.stat().st_size < LARGEST_GIF
    read = cv2.VideoCapture(str(path))
    images = 0
    while read.read()[0]:
        images += 1
    assert images > 10


def test_the_citation_is_of_this_package() -> None:
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    package = ElementTree.parse(ROOT / "package.xml").getroot()  # noqa: S314 - our own
    maintainer = package.find("maintainer")
    assert cited.keys() >= REQUIRED
    assert maintainer is not None
    assert cited["version"] == package.findtext("version")
    assert cited["license"] == package.findtext("license")
    assert cited["authors"] == [{"name": maintainer.text, "email": maintainer.get("email")}]
    assert cited["title"].startswith(f"{package.findtext('name')}:")
