# SPDX-License-Identifier: Apache-2.0
"""Write `requirements.lock`: each package that an extra of setup.py brings, at one version, with its files' hashes.

`make lock` updates it. The line before a package names the extras that need it, and scripts/setup.sh installs by them.
PyTorch is not in it, nor what it alone needs: the index that the user chose has its build for CPUs or for a GPU.
"""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "requirements.lock"
CORE = "core"
"""What is always installed, and what installs it."""
PACKAGE = re.compile(r"^([a-z0-9-]+)==(\S+).*\n(?:    --hash.*\n)*", re.M)


def extras() -> list[str]:
    """CORE, and the extras of setup.py."""
    return [CORE, *(importlib.metadata.metadata("spatial_vlm_ros").get_all("Provides-Extra") or ())]


def compiled(*options: str) -> str:
    """What uv finds, for every Python that setup.py allows, on Linux and elsewhere."""
    uv = str(Path(sys.executable).with_name("uv"))
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as excluded:
        excluded.write("torch\n")
        excluded.flush()
        command = [uv, "pip", "compile", "setup.py", "-", f"--excludes={excluded.name}", "--no-annotate", "--no-header"]
        command += ["--universal", "--python-version=3.10", "--no-python-downloads", *options]
        wanted = "pip\nsetuptools\n"
        done = subprocess.run(command, input=wanted, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)  # noqa: S603
    return done.stdout


def lock() -> None:
    """Write the newest versions, then before each package the extras that need it."""
    LOCK.write_text(compiled("--all-extras", "--generate-hashes", "--upgrade"), encoding="utf-8")
    needed = {}
    for extra in extras():
        said = compiled(f"--constraints={LOCK}", *([] if extra == CORE else [f"--extra={extra}"]))
        needed[extra] = {found[1] for found in PACKAGE.finditer(said)}
    text = "# Made by `make lock`. Before each package are the extras of setup.py that need it.\n"
    for found in PACKAGE.finditer(LOCK.read_text(encoding="utf-8")):
        needing = [extra for extra in needed if found[1] in needed[extra]]
        text += f"# for {CORE if CORE in needing else ' '.join(sorted(needing))}\n{found[0]}"
    LOCK.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    lock()
