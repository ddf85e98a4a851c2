# SPDX-License-Identifier: Apache-2.0
"""The documentation site: it builds without a warning, and a page loads nothing from elsewhere."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from waiting import DEADLINE

ROOT = Path(__file__).resolve().parents[2]
ENTRANCES = ("get_started", "on_a_robot", "concepts", "reference", "research")
FROM_ELSEWHERE = re.compile(
    r"<(?:script|link|img|iframe|source)\b[^>]*(?:src|href)=\"(?:https?:)?//[^>]*>|@import[^;]*//"
)

pytest.importorskip("sphinx", reason="scripts/setup.sh docs")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("site")
    options = ("-E", "-W", "--keep-going", "-q", "-d", out / "doctrees")
    build: list[Any] = [sys.executable, "-m", "sphinx", *options, ROOT / "docs", out / "site"]
    done = subprocess.run(build, cwd=ROOT, capture_output=True, text=True, timeout=20 * DEADLINE)
    assert done.returncode == 0, done.stderr
    return out / "site"


def test_the_site_builds_without_a_warning_and_has_its_entrances(site: Path) -> None:
    front = (site / "index.html").read_text(encoding="utf-8")
    for entrance in ENTRANCES:
        assert f'href="{entrance}.html"' in front
    assert 'class="sig' in (site / "generated/api/core.html").read_text(encoding="utf-8"), "docstrings are missing"
    assert "occluded" in (site / "searchindex.js").read_text(encoding="utf-8")


def test_a_page_loads_nothing_from_elsewhere(site: Path) -> None:
    files = [path for pattern in ("*.html", "*.css") for path in site.rglob(pattern)]
    assert len(files) > 100
    assert [(path.name, found[0]) for path in files if (found := FROM_ELSEWHERE.search(path.read_text("utf-8")))] == []
