# SPDX-License-Identifier: Apache-2.0
"""Claim: the package is quick to import, and a process that has resolved a frame is small; and its first answer.

Imports: each time is that of a fresh interpreter, from start to exit; the baseline is one that does nothing.

First answer: a process imports the resolver, makes a frame of 640x480 with three detections and resolves one sentence
twenty times. The whole process is timed from its start to its first answer. Its parts are timed by its own clock, as
wall time and as processor time, which other programs disturb less. The baseline is a process that imports NumPy and
OpenCV and ends. Bytecode exists, as in an installed package. Neither a model nor ROS is loaded: detections are given.

Memory: private memory along a process that resolves one 640x480 frame with ten masks.

    python -m benchmarks.cold_start
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import Claim, alternate, arguments, finish
from benchmarks.scenes import camera, tabletop

IMPORTS = {
    "nothing": "pass",
    "numpy": "import numpy",
    "numpy and opencv": "import numpy, cv2",
    "spatial_vlm_ros": "import spatial_vlm_ros",
    "spatial_vlm_ros.language": "import spatial_vlm_ros.language",
    "spatial_vlm_ros.resolver": "import spatial_vlm_ros.resolver",
}
INTERPRETERS, PROCESSES, MEMORY_RUNS = 21, 15, 5
LATER = 19
WHOLE, BASELINE = "start of the process to its first answer", "baseline: import NumPy and OpenCV"
PARTS = ("import of the resolver", "first answer", "later answers")
STAGES = ("interpreter", "imports", "frame_loaded", "resolved")
FRESH = f"""
import time
now = lambda: (time.perf_counter(), time.process_time())
begun = now()
from spatial_vlm_ros import Resolver
imported = now()
from spatial_vlm_ros.sim.examples import chicks_and_cup_frame
frame, detections = chicks_and_cup_frame()
resolver, took = Resolver(), []
for turn in range({LATER} + 1):
    asked = now()
    answer = resolver.resolve(frame, "grab me the chick behind the cup", detections)
    took.append([after - before for after, before in zip(now(), asked)])
    if not turn:
        print(time.process_time(), flush=True)
assert answer.status.value == "OK", answer.status
for clock in (0, 1):
    later = sorted(each[clock] for each in took[1:])[{LATER} // 2]
    print(imported[clock] - begun[clock], took[0][clock], later)
"""
BARE = "import time, numpy, cv2; print(time.process_time(), flush=True)"
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
status = Resolver().resolve(frame, "the mug left of the box", detections).status.value
print(started, imported, loaded, private_mb(), status)
"""


def run(program: str, bytecode: str) -> tuple[float, list[float]]:
    """Run a process: seconds from its start to its first line, and all numbers that it prints.

    Args:
        program: Python source.
        bytecode: folder of compiled modules; filled by the first run.
    """
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment["PYTHONPYCACHEPREFIX"] = bytecode
    begun = time.perf_counter()
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        took = time.perf_counter() - begun
        numbers = [float(word) for word in (first + process.stdout.read()).split()]
    if process.returncode:
        raise SystemExit(f"the measured process ended with {process.returncode}")
    return took, numbers


def first_answers(rounds: int) -> dict[str, list[tuple[float, float]]]:
    """Wall and processor seconds of each part, one pair per process; the first processes fill the caches."""
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in (WHOLE, BASELINE, *PARTS)}
    with tempfile.TemporaryDirectory() as bytecode:
        for turn in range(rounds + 1):
            took, numbers = run(FRESH, bytecode)
            bare, (bare_cpu,) = run(BARE, bytecode)
            if turn:
                times[WHOLE].append((took, numbers[0]))
                times[BASELINE].append((bare, bare_cpu))
                for part, name in enumerate(PARTS, 1):
                    times[name].append((numbers[part], numbers[part + 3]))
    return times


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
        command = [sys.executable, "-c", MEMORY, str(path)]
        runs = [
            subprocess.run(command, check=True, capture_output=True, text=True).stdout.split() for _ in range(processes)
        ]
    megabytes = np.median([[float(mb) for mb in run[:4]] for run in runs], axis=0).tolist()
    stages = {name: round(mb, 1) for name, mb in zip(STAGES, megabytes, strict=True)}
    return {**stages, "n": processes, "status": runs[0][4]}


def main() -> int:
    """Measure, print and write."""
    asked = arguments(__doc__, repetitions=int).repetitions
    rounds, processes = asked or INTERPRETERS, asked or PROCESSES
    fresh = {name: partial(subprocess.run, [sys.executable, "-c", code], check=True) for name, code in IMPORTS.items()}
    timed = alternate(fresh, rounds, 2)
    base = timed["nothing"].median_ms
    imports = {name: {**time.summary(), "ratio": round(time.median_ms / base, 2)} for name, time in timed.items()}
    times = {name: np.array(pairs) * 1e3 for name, pairs in first_answers(processes).items()}
    wall, cpu = ({name: round(float(np.median(ms[:, k])), 2) for name, ms in times.items()} for k in (0, 1))
    p95 = {name: round(float(np.percentile(ms[:, 0], 95)), 2) for name, ms in times.items()}
    claims = [Claim("import spatial_vlm_ros, whole interpreter", timed["spatial_vlm_ros"].median_ms / 1e3, 0.2, "s")]
    memory: dict[str, Any] | None = None
    if Path("/proc/self/smaps_rollup").exists():
        memory = private_memory(min(MEMORY_RUNS, rounds))
        claims.append(Claim("private memory after one 640x480 frame", memory["resolved"], 200.0, "MB"))
    else:
        print("\nprivate memory is not measured: /proc/self/smaps_rollup exists on Linux only")
    first = {"n": processes, "later": LATER, "median_ms": wall, "p95_ms": p95, "cpu_median_ms": cpu}
    return finish("cold_start", {"interpreters": rounds, "imports": imports, "private_mb": memory, **first}, claims)


if __name__ == "__main__":
    sys.exit(main())
