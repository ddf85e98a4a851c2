# SPDX-License-Identifier: Apache-2.0
"""Time of a fresh process's first answer, against its later answers.

A process imports the resolver, makes a frame of 640x480 with three detections and resolves one sentence twenty times.
The whole process is timed from its start to its first answer. Its parts are timed by its own clock, as wall time and as
processor time, which other programs disturb less. The baseline is a process that imports NumPy and OpenCV and ends.
Bytecode exists, as in an installed package. Neither a model nor ROS is loaded: detections are given.

    python -m benchmarks.cold_start
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time

import numpy as np

from benchmarks.harness import arguments, finish, table

PROCESSES = 15
LATER = 19
WHOLE, BASELINE = "start of the process to its first answer", "baseline: import NumPy and OpenCV"
IMPORT, FIRST, LATER_ONES = "import of the resolver", "first answer", "later answers"
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


def measure(rounds: int) -> dict[str, list[tuple[float, float]]]:
    """Wall and processor seconds of each part, one pair per process; the first processes fill the caches."""
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in (WHOLE, BASELINE, IMPORT, FIRST, LATER_ONES)}
    with tempfile.TemporaryDirectory() as bytecode:
        for turn in range(rounds + 1):
            took, numbers = run(FRESH, bytecode)
            bare, (bare_cpu,) = run(BARE, bytecode)
            if turn:
                times[WHOLE].append((took, numbers[0]))
                times[BASELINE].append((bare, bare_cpu))
                for part, name in enumerate((IMPORT, FIRST, LATER_ONES), 1):
                    times[name].append((numbers[part], numbers[part + 3]))
    return times


def main() -> int:
    """Measure, print and write benchmarks/results/cold_start.json."""
    rounds = arguments(__doc__, repetitions=PROCESSES).repetitions
    times = {name: np.array(pairs) * 1e3 for name, pairs in measure(rounds).items()}
    wall = {name: round(float(np.median(pairs[:, 0])), 2) for name, pairs in times.items()}
    cpu = {name: round(float(np.median(pairs[:, 1])), 2) for name, pairs in times.items()}
    rows = [(name, wall[name], round(float(np.percentile(times[name][:, 0], 95)), 2), cpu[name]) for name in times]
    table("a fresh process", ("what", "median ms", "p95 ms", "median ms of the processor"), rows)
    measured = {
        "n": rounds, "later": LATER, "median_ms": wall,
        "p95_ms": {name: p95 for name, _, p95, _ in rows}, "cpu_median_ms": cpu,
    }  # fmt: skip
    return finish("cold_start", measured, ())


if __name__ == "__main__":
    sys.exit(main())
