# SPDX-License-Identifier: Apache-2.0
"""Claim: the resolver stays small and flat for ten minutes of 1280×720 at 30 Hz with a request every second.

`make soak`; `--minutes 1` for a short one. Private memory is USS, read from outside. The baseline is the memory after
the first minute.
"""

from __future__ import annotations

import sys
import time

import numpy as np

from benchmarks.harness import Claim, finish, option, table
from benchmarks.live_graph import Bench, prepare, private_mb, resolver

RATE = 30.0  # Hz
SETTLED = 60.0  # s: caches are filled


def main() -> int:
    """Run, print, write, check."""
    minutes = option("minutes", 10.0)
    prepare()
    samples, statuses = run(minutes * 60.0)
    times, sizes = np.array(samples).T
    settled = times >= min(SETTLED, minutes * 30.0)
    slope = float(np.polyfit(times[settled] / 60.0, sizes[settled], 1)[0])
    rows = [(f"{t:.0f} s", float(s)) for t, s in samples[:: max(1, len(samples) // 12)]]
    table("private memory", ("after", "MB"), rows)
    growth = float(sizes[settled][-5:].mean() - sizes[settled][:5].mean())
    claims = [
        Claim("private memory of the resolver", float(sizes.max()), 300, "MB"),
        Claim("its growth after the first minute", growth, 5, "MB"),
        Claim("requests that were not answered OK", float(sum(n for s, n in statuses.items() if s != "OK")), 0, ""),
    ]
    measured = {"minutes": minutes, "slope_mb_per_minute": round(slope, 4), "statuses": statuses,
                "memory_mb": [[round(t, 1), round(s, 2)] for t, s in samples]}  # fmt: skip
    return finish("soak", measured, claims)


def run(seconds: float) -> tuple[list[tuple[float, float]], dict[str, int]]:
    """Stream and ask; (time, MB) every five seconds and the statuses of the answers."""
    samples: list[tuple[float, float]] = []
    statuses: dict[str, int] = {}
    with resolver("base_frame:=base_link") as pid:
        bench = Bench(1280)
        begun = sent = asked = time.perf_counter()
        while (now := time.perf_counter()) - begun < seconds:
            if now >= sent:
                bench.publish()
                sent += 1 / RATE
            if now >= asked:
                status = bench.ask(bench.publish)["status"]
                statuses[status] = statuses.get(status, 0) + 1
                asked += 1.0
                if len(samples) * 5.0 <= now - begun:
                    samples.append((now - begun, private_mb(pid)))
            time.sleep(max(0.0, min(sent - time.perf_counter(), 0.01)))
        bench.close()
    return samples, statuses


if __name__ == "__main__":
    sys.exit(main())
