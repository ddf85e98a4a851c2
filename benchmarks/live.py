# SPDX-License-Identifier: Apache-2.0
"""Claims: the live node answers quickly, and loses no frame of a 1280×720 RGB-D stream at 30 Hz.

Latency runs from the last message of a frame entering the node's callback to the action's result leaving it, as the
node itself reports in /diagnostics; detections are given, so no worker is involved. The baseline is only
`Resolver.resolve`, on the same frame in a process without ROS.
"""

from __future__ import annotations

import time
from functools import partial
from typing import Any

import numpy as np

from benchmarks.harness import Claim, Timing, alternate, arguments, finish
from benchmarks.live_graph import SENTENCE, Bench, prepare, resolver

REQUESTS = 150  # the node keeps the last 200 latencies
RATE = 30.0  # Hz
SECONDS = 60.0
LIMIT_MS = {640: 10.0, 1280: 20.0}


def main() -> int:
    """Measure both, print, write, check."""
    given = arguments(__doc__, requests=REQUESTS, seconds=SECONDS)
    requests, seconds = given.requests, given.seconds
    prepare()
    latency = {width: measure_latency(width, requests) for width in LIMIT_MS}
    stream = measure_stream(seconds)
    claims = [
        *(
            Claim(f"node latency at {w} px wide, p50", latency[w]["node_p50_ms"], limit, "ms")
            for w, limit in LIMIT_MS.items()
        ),
        Claim(f"messages of {seconds:g} s at 720p and 30 Hz not accounted for", stream["unexplained"], 0, ""),
        Claim("messages lost of those", stream["lost"], 0, ""),
    ]
    return finish("live", {"latency": {str(w): m for w, m in latency.items()}, "stream": stream}, claims)


def measure_latency(width: int, requests: int = REQUESTS) -> dict[str, float]:
    """Send one request after another, each answered on the next frame."""
    from spatial_vlm_ros.resolver import Resolver

    with resolver("base_frame:=base_link"):
        bench = Bench(width)
        seen: list[float] = []

        def send() -> None:
            seen.append(time.perf_counter())
            bench.publish()

        for _ in range(requests):
            answer = bench.ask(send)
            seen[-1] = time.perf_counter() - seen[-1]
            assert answer["status"] == "OK", answer["message"]
        report = bench.fresh_report()["requests"]
        bench.close()
    alone = partial(Resolver().resolve, bench.frame, SENTENCE, bench.detections)
    baseline = alternate({"resolve alone": alone}, repetitions=requests)["resolve alone"]
    node = float(report["latency p50 [ms]"])
    return {
        "node_p50_ms": node,
        "node_p95_ms": float(report["latency p95 [ms]"]),
        "client_p50_ms": round(Timing(tuple(seen)).median_ms, 3),
        "resolve_p50_ms": round(baseline.median_ms, 3),
        "ratio": round(node / baseline.median_ms, 3),
        "objects": len(bench.detections),
        "n": requests,
    }


def measure_stream(seconds: float) -> dict[str, Any]:
    """Send frames on an exact schedule to the node in another process; returns what it reports as received."""
    with resolver("base_frame:=base_link"):
        bench = Bench(1280)
        before = _received(bench)
        begun, late = time.perf_counter(), []
        count = int(seconds * RATE)
        for number in range(count):
            due = begun + number / RATE
            while (wait := due - time.perf_counter()) > 0:
                time.sleep(min(wait, 0.005))
            late.append(time.perf_counter() - due)
            bench.publish()
        time.sleep(1.0)
        after = _received(bench)
        report = bench.fresh_report()["streams"]
        bench.close()
    received = {role: after[role] - before[role] for role in after}
    lost = sum(count - n for n in received.values())
    explained = sum(int(value) for key, value in report.items() if key.endswith("lost by the middleware"))
    return {
        "sent of each stream": count,
        **{f"received {role}": n for role, n in received.items()},
        "lost": lost,
        "unexplained": max(0, lost - explained),
        "schedule kept within ms (p99)": round(float(np.percentile(late, 99)) * 1e3, 2),
    }


def _received(bench: Bench) -> dict[str, int]:
    suffix = " received / missed / repeated / restarts"
    streams = bench.fresh_report()["streams"]
    return {
        key.removesuffix(suffix): int(value.split(" / ")[0]) for key, value in streams.items() if key.endswith(suffix)
    }


if __name__ == "__main__":
    raise SystemExit(main())
