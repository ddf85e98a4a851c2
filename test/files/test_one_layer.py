# SPDX-License-Identifier: Apache-2.0
"""All files are read and written through spatial_vlm_ros/files; the few places that are not are named here."""

import ast
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[2]
PACKAGE, LAB = ROOT / "spatial_vlm_ros", ROOT / "spatial_vlm_lab"
METHODS = {"read_bytes", "read_text", "write_bytes", "write_text"}
"""Of a pathlib.Path; functions of these names in files/ are called by their bare names."""
CALLS = {
    ("cv2", "imread"), ("cv2", "imwrite"), ("np", "load"), ("np", "save"), ("np", "savez"), ("np", "fromfile"),
    ("yaml", "safe_load"), ("yaml", "load"), ("ElementTree", "parse"), ("ET", "parse"), ("json", "load"),
    ("json", "dump"), ("shutil", "move"), ("os", "open"), ("os", "fdopen"),
}  # fmt: skip

ALLOWED = tomllib.loads(Path(__file__).with_name("one_layer.toml").read_text(encoding="utf-8"))
"""File → call → what it reads or writes."""


def calls(path: Path) -> Counter[str]:
    found: Counter[str] = Counter()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call):
            continue
        called = node.func
        if isinstance(called, ast.Name) and called.id == "open":
            found["open"] += 1
        elif isinstance(called, ast.Attribute):
            owner = called.value.id if isinstance(called.value, ast.Name) else ""
            if (owner, called.attr) in CALLS:
                found[f"{owner}.{called.attr}"] += 1
            elif called.attr in METHODS:
                found[called.attr] += 1
            elif called.attr == "open":  # of a path: with a mode, or with an encoding
                mode = node.args and isinstance(node.args[0], ast.Constant) and isinstance(node.args[0].value, str)
                found["open"] += bool(mode or {"mode", "encoding"} & {word.arg for word in node.keywords})
    return +found  # without what was not found


def test_files_are_read_and_written_through_one_layer() -> None:
    found = {}
    for path in (*PACKAGE.rglob("*.py"), *LAB.rglob("*.py")):
        name = path.relative_to(ROOT if LAB in path.parents else PACKAGE).as_posix()
        if not name.startswith("files/") and (here := calls(path)):
            found[name] = set(here)
    assert found == {name: set(named) for name, named in ALLOWED.items()}


@pytest.mark.live
def test_the_layer_loads_nothing_heavy() -> None:
    code = (
        "import sys\nfrom spatial_vlm_ros.files import documents, images, reading, writing\n"
        "print(*sorted({'numpy', 'cv2', 'yaml', 'msgspec', 'xml', 'rosbags', 'torch'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == ""
