# SPDX-License-Identifier: Apache-2.0
"""README: short, with an image that loads quickly; CITATION.cff: the package's own data."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import cv2
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
MOST_WORDS = 600
LARGEST_GIF = 1_500_000  # bytes
REQUIRED = {"cff-version", "message", "title", "authors"}  # of the schema of the Citation File Format 1.2.0


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").split()) <= MOST_WORDS


@pytest.mark.parametrize("name", ["README.md", "docs/command_line.md", "docs/footprint.md", "docs/limits.md",
                                  "docs/troubleshooting.md"])  # fmt: skip
def test_lines_are_short_enough_to_read(name: str) -> None:
    assert max(map(len, (ROOT / name).read_text(encoding="utf-8").splitlines())) <= 130


def test_the_image_of_the_readme_is_small_and_moves() -> None:
    (image,) = re.findall(r"!\[[^\]]*\]\(([^)]+)\)", (ROOT / "README.md").read_text(encoding="utf-8"))
    path = ROOT / image
    assert path.stat().st_size < LARGEST_GIF
    read = cv2.VideoCapture(str(path))
    images = 0
    while read.read()[0]:
        images += 1
    assert images > 10


def test_links_to_headings_of_the_readme_exist() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for path, anchor in re.findall(r"\]\(([^)#:]+)#([^)]+)\)", text):
        headings = re.findall(r"^#+ (.+)$", (ROOT / path).read_text(encoding="utf-8"), re.MULTILINE)
        assert anchor in {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


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
