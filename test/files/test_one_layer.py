# SPDX-License-Identifier: Apache-2.0
"""All files are read and written through spatial_vlm_ros/files; the few places that are not are named here."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "spatial_vlm_ros"
METHODS = {"read_bytes", "read_text", "write_bytes", "write_text"}
"""Of a pathlib.Path; functions of these names in files/ are called by their bare names."""
CALLS = {
    ("cv2", "imread"), ("cv2", "imwrite"), ("np", "load"), ("np", "save"), ("np", "savez"), ("np", "fromfile"),
    ("yaml", "safe_load"), ("yaml", "load"), ("ElementTree", "parse"), ("ET", "parse"), ("json", "load"),
    ("json", "dump"), ("shutil", "move"), ("os", "open"), ("os", "fdopen"),
}  # fmt: skip

ALLOWED = {
    # What comes with the package or with Python packages that it installs, and is not a user's.
    "evaluation/approval_replay.py": {"read_text": "style and script of its page"},
    "evaluation/labelling/label_web.py": {"read_bytes": "files of the page"},
    "manipulation/approval/web.py": {"read_bytes": "files of the page"},
    "output/lettering.py": {"read_text": "letters of images", "read_bytes": "letters of images"},
    "perception/model_store/manifest.py": {"read_bytes": "the list of models"},
    "perception/verdict_cache.py": {"read_bytes": "the hash of the package's own code"},
    # The kernel's own files.
    "evaluation/engine/lock.py": {"read_text": "/proc/sys/kernel/random/boot_id, /proc/PID/stat"},
    "nodes/arm/watchdog_process.py": {"read_text": "/proc"},
    "nodes/pressure.py": {"read_text": "/proc/pressure"},
    "nodes/shared_memory.py": {"read_text": "/proc/self/maps"},
    "perception/backends/weights.py": {"read_text": "/proc/meminfo"},
    # Records and secrets, with rules of their own: appended and synced line by line, or for one user's eyes.
    "manipulation/approval/address.py": {"os.open": "the page's address", "os.fdopen": "the page's address"},
    "manipulation/approval/audit.py": {
        "read_bytes": "the record of approvals", "os.open": "the record", "open": "the record"
    },
    "nodes/arm/proposals.py": {"os.open": "the token", "os.fdopen": "the token"},
    "evaluation/benchmarks/answers.py": {"open": "answers of models, locked, appended and synced one by one"},
    "evaluation/labelling/label_file.py": {"os.open": "the lock beside a truth file"},
    # The folder of an evaluation, on a disk or in an object store: the same steps for both, among them files that must
    # not exist yet (locks), and half files that are told by their process and removed by the next one.
    "evaluation/engine/store.py": {
        "read_bytes": "what an evaluation wrote", "open": "a half file", "os.open": "fsync of the folder"
    },
    # Downloads, resumed where they ended and checked by their SHA-256; the lock of a store.
    "perception/model_store/download.py": {"open": "a part of a download"},
    "perception/model_store/store.py": {"open": "the lock"},
    # Temporary folders of one process, and logs that grow by lines.
    "launcher/commands.py": {"write_text": "parameters of a process, in a temporary folder"},
    "manipulation/arm_kinematics.py": {"write_text": "a URDF from a topic, in a temporary folder"},
    "cli/train.py": {"open": "log.jsonl"},
    "evaluation/engine/remote_bag.py": {"open": "a copy of a bag, in a temporary folder"},
    "evaluation/labelling/label_sources.py": {"np.load": "frames of a bag that it put into a temporary folder"},
    # No files.
    "perception/worker_process.py": {"os.fdopen": "a pipe to the process that started it"},
    "vlm/remedies/cloc.py": {"read_text": "a layer of that name"},
    # Within files.writing.
    "vlm/compact/shards.py": {"np.load": "mapped, after check_regular", "np.save": "within files.writing"},
    "vlm/compact/familiarity.py": {"np.savez": "within files.writing"},
    # Checksums are put into a bag that has not taken its name.
    "evaluation/bags/mcap_records.py": {"open": "the bag that is being written"},
}  # fmt: skip
"""File → call → what it reads or writes."""


def calls(path: Path) -> Counter[str]:
    """Calls that open, read or write files, in one source file."""
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
            elif called.attr == "open" and _is_mode(node):
                found["open"] += 1
    return found


def _is_mode(node: ast.Call) -> bool:
    """Whether a call of a method "open" is of a path: with a mode, or with an encoding."""
    mode = bool(node.args) and isinstance(node.args[0], ast.Constant) and isinstance(node.args[0].value, str)
    return mode or any(word.arg in ("mode", "encoding") for word in node.keywords)


def test_files_are_read_and_written_through_one_layer() -> None:
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        name = path.relative_to(PACKAGE).as_posix()
        if not name.startswith("files/") and (here := calls(path)):
            found[name] = set(here)
    assert found == {name: set(named) for name, named in ALLOWED.items()}


@pytest.mark.live
def test_the_layer_loads_nothing_heavy() -> None:
    code = (
        "import sys\nfrom spatial_vlm_ros.files import arrays, documents, folders, images, reading, writing\n"
        "print(*sorted({'numpy', 'cv2', 'yaml', 'msgspec', 'xml', 'rosbags', 'torch'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=PACKAGE.parent)
    assert done.stdout.strip() == ""
