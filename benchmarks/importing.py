# SPDX-License-Identifier: Apache-2.0
"""Claim: the package is quick to import, and a process that has resolved a frame is small.

Every time is that of a fresh interpreter, from start to exit. The baseline is an interpreter that does nothing.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import Claim, alternate, arguments, finish, table
from benchmarks.scenes import camera, tabletop

STATEMENTS = {
    "nothing": "pass",
    "numpy": "import numpy",
    "numpy and opencv": "import numpy, cv2",
    "spatial_vlm_ros": "import spatial_vlm_ros",
    "spatial_vlm_ros.language": "import spatial_vlm_ros.language",
    "spatial_vlm_ros.resolver": "import spatial_vlm_ros.resolver",
}
BASELINE = "nothing"
INTERPRETERS = 21
MEMORY_RUNS = 5
INSTRUCTION = "the mug left of the box"

MEMORY = """
import sys
from pathlib import Path

def private_mb():
    rollup = Path("/proc/self/smaps_rollup").read_text().splitlines()
    kb = sum(int(line.split()[1]) for line in rollup if line.startswith(("Private_Clean:", "Private_Dirty:")))
    return kb / 1024

started = private_mb()
import numpy as np
from spatial_vlm_ros.resolver import Resolver
from spatial_vlm_ros.types import Detection, PinholeCamera, RgbdFrame, Transform
imported = private_mb()
with np.load(sys.argv[1], allow_pickle=False) as data:
    camera = PinholeCamera(data["K"], data["rgb"].shape[1], data["rgb"].shape[0])
    pose = Transform("world", "camera", data["pose"])
    frame = RgbdFrame(data["rgb"], data["depth"], camera, 0, "camera", pose)
    detections = [
        Detection(f"d{k}", str(label), 1.0, tuple(box), mask)
        for k, (label, box, mask) in enumerate(zip(data["labels"], data["boxes"], data["masks"]))
    ]
loaded = private_mb()
status = Resolver().resolve(frame, sys.argv[2], detections).status.value
print(started, imported, loaded, private_mb(), status)
"""


def interpreter(statement: str) -> None:
    """Run a statement in a fresh interpreter."""
    subprocess.run([sys.executable, "-c", statement], check=True)


def private_memory(processes: int) -> dict[str, Any]:
    """Private memory (USS: Private_Clean + Private_Dirty) along a process that resolves one 640x480 frame, MB.

    Args:
        processes: number of processes to measure; their median counts.
    """
    _, seen, frame = tabletop(4, 10, camera(640, 480, 525.0), 1.0)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "frame.npz"
        np.savez(
            path, rgb=frame.rgb, depth=frame.depth, K=frame.camera.K, pose=frame.base_T_camera.matrix,
            labels=np.array([d.label for d in seen.detections]),
            boxes=np.array([d.box_xyxy for d in seen.detections]),
            masks=np.array([d.mask for d in seen.detections]),
        )  # fmt: skip
        command = [sys.executable, "-c", MEMORY, str(path), INSTRUCTION]
        runs = [
            subprocess.run(command, check=True, capture_output=True, text=True).stdout.split() for _ in range(processes)
        ]
    stages = np.median([[float(mb) for mb in run[:4]] for run in runs], axis=0).tolist()
    names = ("interpreter", "imports", "frame_loaded", "resolved")
    return {
        **{name: round(mb, 1) for name, mb in zip(names, stages, strict=True)},
        "n": processes,
        "status": runs[0][4],
    }


def main() -> int:
    """Measure, print and write."""
    rounds = arguments(__doc__, repetitions=INTERPRETERS).repetitions
    times = alternate({name: partial(interpreter, code) for name, code in STATEMENTS.items()}, rounds, 2)
    base = times[BASELINE].median_ms
    imports = {name: {**time.summary(), "ratio": round(time.median_ms / base, 2)} for name, time in times.items()}
    table(
        "a fresh interpreter that imports",
        ("what", "median ms", "p95 ms", "time / nothing", "n"),
        [(name, r["median_ms"], r["p95_ms"], r["ratio"], r["n"]) for name, r in imports.items()],
    )
    claims = [Claim("import spatial_vlm_ros, whole interpreter", times["spatial_vlm_ros"].median_ms / 1e3, 0.2, "s")]
    memory: dict[str, Any] | None = None
    if Path("/proc/self/smaps_rollup").exists():
        memory = private_memory(min(MEMORY_RUNS, rounds))
        table(
            f"private memory of a process that resolves one 640x480 frame ({memory['status']})",
            ("after", "MB"),
            [(name, memory[name]) for name in ("interpreter", "imports", "frame_loaded", "resolved")],
        )
        claims.append(Claim("private memory after one 640x480 frame", memory["resolved"], 200.0, "MB"))
    else:
        print("\nprivate memory is not measured: /proc/self/smaps_rollup exists on Linux only")
    setting = {"baseline": "python -c pass", "interpreters": rounds}
    return finish("importing", {"setting": setting, "imports": imports, "private_mb": memory}, claims)


if __name__ == "__main__":
    sys.exit(main())
