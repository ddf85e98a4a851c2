# SPDX-License-Identifier: Apache-2.0
"""No tracked file tells where it was made: no absolute path of a build machine, in text or in binary files."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# Of these roots every path is one of somebody's machine. Those that are alike everywhere (/opt/ros, /usr, /dev/shm) and
# those that stand for a reader's own choice (/models, /path/to, /tmp, /var) are none of them.
_HOMES = rb"/(?:home|root|Users|work|workspaces?|builds|github|__w)/[\w.-]"
_NAMED_BY_TOOLS = rb"/tmp/(?:tmp\w{8}\b|pip-|pytest-of-|build-env-)"  # mkdtemp, pip and pytest name folders so
# Wherever it lies: a source, or an environment, named without a step upwards. Names of topics have no suffix.
_SOURCES = (
    rb"/(?!usr/|opt/|path/to/)(?:(?!\.\./)[\w.@+-]+/)+(?:[\w.@+-]+\.(?:py|pyc|cpp|hpp)\b|(?:site|dist)-packages/)"
)
_WINDOWS = rb"[A-Za-z]:\\+Users\\+\w"
_ANY = b"|".join((_HOMES, _NAMED_BY_TOOLS, _SOURCES, _WINDOWS))
# In text an absolute path does not go on from a name, a variable or the home sign; in a binary file any byte precedes.
_BEGINS = rb"(?:(?<![\w.~/$})>\]*-])|(?<=file://)|(?<=-[IL]))"
BINARY, TEXT = re.compile(_ANY), re.compile(_BEGINS + rb"(?:" + _ANY + rb")")


def build_paths(content: bytes, checkout: Path) -> list[str]:
    """The beginnings of absolute paths of a build machine in a file's bytes.

    Args:
        content: of the file.
        checkout: absolute; paths into it are found, wherever it lies.
    """
    here = re.escape(os.fsencode(checkout)) + rb"\b"
    binary = b"\0" in content
    own = re.compile(here if binary else _BEGINS + here)
    found = [*(BINARY if binary else TEXT).finditer(content), *own.finditer(content)]
    return [content[one.start() : one.end() + 60].split(b"\n")[0].decode("utf-8", "replace") for one in found]


def tracked() -> list[Path]:
    """All files that git tracks; where this is no checkout of its own, the test that asks is skipped."""
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    asked = [subprocess.run(["git", *words], cwd=ROOT, capture_output=True, check=False)
             for words in (["rev-parse", "--show-toplevel"], ["ls-files", "-z"])]  # fmt: skip
    if any(one.returncode for one in asked) or Path(os.fsdecode(asked[0].stdout.strip())).resolve() != ROOT:
        pytest.skip(f"{ROOT} is no checkout of git")
    return [ROOT / os.fsdecode(name) for name in asked[1].stdout.split(b"\0") if name]


def content_of(path: Path) -> bytes:
    """What git keeps of a file: of a link, where it leads; nothing of one that was just removed."""
    if path.is_symlink():
        return os.fsencode(path.readlink())
    return path.read_bytes() if path.is_file() else b""


@pytest.mark.live
def test_no_tracked_file_has_a_path_of_the_machine_that_made_it() -> None:
    paths = tracked()
    assert ROOT / "setup.py" in paths
    found = {str(path.relative_to(ROOT)): build_paths(content_of(path), ROOT)[:3] for path in paths}
    assert {name: told for name, told in found.items() if told} == {}


MADE_BY = [
    'File "/' + 'home/anna/ros/src/layers.py", line 3',
    "/" + "root/.cache/model",
    "PATH=/" + "Users/anna/bin",
    "cc -I/" + "work/main/include",
    '"file:///' + 'builds/robot/docs/page.html"',
    "/" + "srv/agent/checkout/spatial_vlm_ros/resolver.py",
    "/" + "data/venv/lib/python3.11/site-packages/torch",
    "/" + "tmp/tmpab12cd_9/model",
    "/" + "tmp/pip-install-x/",
    "C:\\" + "Users\\anna\\ros",
    "at /" + "ci/checkout/docs",
]
MADE_BY_NOBODY = [
    "#!/usr/bin/env bash",
    "source /opt/ros/jazzy/setup.bash; ls /opt/ros/jazzy/lib/python3.12/site-packages/",
    "/usr/lib/python3/dist-packages/cv2.py",
    "spatial-vlm resolve --out /tmp/answer.png",
    "model=/models/mm_grounding_dino_tiny; ls /dev/shm /var/log/robot/audit.jsonl",
    "ros2 topic echo /camera/color/image_raw /work_cell/image /home_position",
    "~/work/ws $HOME/work/ws ${HOME}/root/x docs/work/x.md ../home/x",
    "https://example.org/home/page /checkout /static/../page.py",
    "python.sh /path/to/spatial_vlm_ros/examples/isaac/scene.py",
    "spatial_vlm_ros/vlm/model.py and ./scripts/demo.py",
]


@pytest.mark.parametrize("text", MADE_BY)
@pytest.mark.parametrize("before", [b"", b"\n", b" ", b"\x00\x0a\x41"])
def test_a_path_of_a_machine_is_found(text: str, before: bytes) -> None:
    assert build_paths(before + text.encode(), Path("/" + "ci/checkout"))


@pytest.mark.parametrize("text", MADE_BY_NOBODY)
def test_paths_that_are_alike_everywhere_are_none(text: str) -> None:
    assert build_paths(text.encode(), Path("/" + "ci/checkout")) == []


@pytest.mark.live
def test_a_file_outside_of_git_is_not_judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{__name__}.ROOT", tmp_path)
    with pytest.raises(pytest.skip.Exception, match="no checkout"):
        tracked()
