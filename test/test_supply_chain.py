# SPDX-License-Identifier: Apache-2.0
"""What is installed: by hashes, under known licences, without known weaknesses; and what containers begin from."""

import importlib.metadata
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from scripts.lock import CORE, LOCK, PACKAGE, extras
from scripts.pin import NOT_PINNED, PLACES, ROOT, pinned

DIGEST, COMMIT = f"sha256:{'a' * 64}", "b" * 40
LICENCES = re.compile(
    r"apache|mit\b|bsd|isc\b|mpl|mozilla|python|psf|boost|bsl|unlicense|zlib|cc0|hpnd|zpl|public|tost"
)
BY_HAND = {"apsw": "any of OSI", "cmeel-qhull": "Qhull", "setuptools": "MIT"}
"""Packages that do not say a licence of these → what their sources say."""


def test_the_lock_has_what_setup_py_asks_for_each_extra_at_a_version_that_it_allows_with_hashes() -> None:
    found = {extra: dict[str, list[str]]() for extra in extras()}
    for block in LOCK.read_text(encoding="utf-8").split("# for ")[1:]:
        needed, _, package = block.partition("\n")
        hashed = PACKAGE.fullmatch(package)
        assert hashed is not None, block
        assert "    --hash=sha256:" in package, block
        for extra in needed.split():
            found[extra].setdefault(hashed[1], []).append(hashed[2])
    assert {"pip", "setuptools"} < set(found[CORE])
    for requirement in map(Requirement, importlib.metadata.requires("spatial_vlm_ros") or ()):
        name = canonicalize_name(requirement.name)
        extra = re.search(r'extra == "(.*)"', str(requirement.marker))
        versions = found[CORE].get(name) or found[extra[1] if extra else CORE].get(name, [])
        assert (name == "torch") is not bool(versions), requirement
        assert all(requirement.specifier.contains(one, prereleases=True) for one in versions), requirement


@pytest.mark.parametrize(
    ("text", "marked", "exact"),
    [
        (
            "FROM a/b:c AS d\nFROM d\n",
            f"{NOT_PINNED}\nFROM a/b:c AS d\nFROM d\n",
            f"FROM a/b:c@{DIGEST} AS d\nFROM d\n",
        ),
        ("  - uses: a/b@v4\n", f"  {NOT_PINNED}\n  - uses: a/b@v4\n", f"  - uses: a/b@{COMMIT}  # v4\n"),
    ],
)
def test_what_was_looked_up_is_pinned_beside_its_tag_and_the_rest_says_so(text: str, marked: str, exact: str) -> None:
    for before in (text, marked, exact):
        assert pinned(before, lambda *_: None) == marked
        assert pinned(before, lambda _, tag: COMMIT if tag == "v4" else DIGEST) == exact


@pytest.mark.parametrize("path", [path for place in PLACES for path in ROOT.glob(place)], ids=str)
def test_containers_and_workflows_are_pinned_or_say_that_they_are_not(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    exact = iter(re.findall(r"sha256:[0-9a-f]{64}|(?<=@)[0-9a-f]{40}(?=  # )", text))
    assert pinned(text, lambda *_: None if NOT_PINNED in text else next(exact)) == text


def test_everything_that_is_installed_has_a_licence_that_allows_its_use() -> None:
    unknown, locked = {}, {found[1] for found in PACKAGE.finditer(LOCK.read_text(encoding="utf-8"))}
    for one in importlib.metadata.distributions():
        name, told = canonicalize_name(one.metadata["Name"]), one.metadata
        if name not in locked or name in BY_HAND or name.startswith("ros-"):  # these wheels say none: ADR 0003
            continue
        said = [told["License-Expression"] or "", (told["License"] or "")[:200]]
        said += [line for line in told.get_all("Classifier") or () if line.startswith("License")]
        if not LICENCES.search(" ".join(said).lower()):
            unknown[name] = said
    assert not unknown


@pytest.mark.slow
def test_no_package_has_a_known_weakness() -> None:
    pytest.importorskip("pip_audit")
    command = (sys.executable, "-m", "pip_audit", "-r", str(LOCK), "--disable-pip", "-S", "--progress-spinner=off")
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    if done.returncode and "Found " not in done.stderr:
        if os.environ.get("SPATIAL_VLM_REQUIRE_AUDIT"):
            pytest.fail(done.stderr)
        pytest.skip(f"no database of weaknesses can be had here: {done.stderr.strip().splitlines()[-1][:200]}")
    assert done.returncode == 0, done.stdout
