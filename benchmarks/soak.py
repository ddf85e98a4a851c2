# SPDX-License-Identifier: Apache-2.0
"""Claim: in ten minutes of 1280×720 at 30 Hz the resolver answers every request and its memory stays small.

There is one request per second, and at random times bursts of goals, cancellations, parameter changes and kills of the
grounder's process. Each goal is followed from its acceptance to its result, and compared with the node's own counts.
`make soak`; `--minutes 1` for a short one. Private memory is USS, read from outside. The baseline is the memory after
the first minute.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.harness import Claim, arguments, finish
from benchmarks.live_graph import PATIENCE, SENTENCE, Bench, prepare, private_mb, resolver

RATE = 30.0  # Hz
SETTLED = 60.0  # seconds until caches are filled
SEED = 7
WORDS = (SENTENCE, "grab me the cup", "grab me the chick", "the chick left of the cup", "two words")
EXPECTED = {
    "OK",
    "AMBIGUOUS",
    "NOT_UNDERSTOOD",
    "NOT_FOUND",
    "BUSY",
    "CANCELLED",
    "MODEL_ERROR",
    "RELATION_UNSATISFIED",
}
# mean seconds between two events of a kind
BURSTS, CHANGES, KILLS = 4.0, 7.0, 20.0
LARGEST_BURST = 15
CANCELLED = 0.3  # share of the goals of a burst
CHANGED = (("sync_slop", (0.01, 0.02, 0.03)), ("frame_of_reference", ("viewer", "robot")), ("queue_depth", (2, 8)))
GROUNDER = ("grounder:=simulator", "grounder_options:=world=behind width=1280 height=720", "base_frame:=base_link")


class Goal:
    """One goal: how it was sent, and what came back."""

    def __init__(self) -> None:
        self.accepted: bool | None = None
        self.handle: Any = None
        self.status = ""


class Soak:
    """The camera, the clients, and all disturbances of the resolver."""

    def __init__(self, bench: Bench) -> None:
        from rcl_interfaces.srv import SetParameters
        from rclpy.action import ActionClient
        from spatial_vlm_interfaces.action import ResolveInstruction

        from spatial_vlm_ros.nodes import qos

        self._bench, self._form = bench, ResolveInstruction
        self.goals: list[Goal] = []
        self.done: Counter[str] = Counter()
        self._random = random.Random(SEED)
        self._cancels: list[tuple[float, Goal]] = []
        self._client = ActionClient(bench.node, ResolveInstruction, "resolve", **qos.action_services())
        bench.until(self._client.server_is_ready, "the action")
        for service in (
            "send_goal",
            "get_result",
            "cancel_goal",
        ):  # a server drops replies to a client it does not know
            topic = bench.node.resolve_service_name(f"resolve/_action/{service}")
            bench.until(lambda topic=topic: bench.node.count_clients(topic) >= 2, "the client in the graph")
        self._set = bench.node.create_client(SetParameters, "resolver/set_parameters")

    def ask(self, words: str) -> Goal:
        """Send a goal."""
        goal = Goal()

        def on_result(future: Any) -> None:
            goal.status = future.result().result.resolution.status.name or "EMPTY"

        def on_accepted(future: Any) -> None:
            goal.handle = future.result()
            goal.accepted = goal.handle.accepted
            if goal.accepted:
                goal.handle.get_result_async().add_done_callback(on_result)

        sent = self._client.send_goal_async(self._form.Goal(instruction=words))
        sent.add_done_callback(on_accepted)
        self.goals.append(goal)
        self.done["goals"] += 1
        return goal

    def burst(self) -> None:
        """Several goals at once, some of which are cancelled a moment later."""
        for _ in range(self._random.randint(2, LARGEST_BURST)):
            goal = self.ask(self._random.choice(WORDS))
            if self._random.random() < CANCELLED:
                self._cancels.append((time.perf_counter() + self._random.uniform(0.0, 0.5), goal))
        self.done["bursts"] += 1

    def cancel_due(self) -> None:
        """Cancel the goals that are due."""
        now = time.perf_counter()
        for due in [entry for entry in self._cancels if entry[0] <= now and entry[1].accepted is not None]:
            self._cancels.remove(due)
            if due[1].accepted:
                due[1].handle.cancel_goal_async()
                self.done["cancellations"] += 1

    def change(self) -> None:
        """Set a parameter."""
        from rclpy.parameter import Parameter

        name, values = self._random.choice(CHANGED)
        parameter = Parameter(name, value=self._random.choice(values)).to_parameter_msg()
        self._set.call_async(self._set.srv_type.Request(parameters=[parameter]))
        self.done["changes of parameters"] += 1

    def kill(self) -> None:
        """Kill the grounder's process, if it runs."""
        number = self._bench.report("grounder").get("process", "None")
        if number.isdigit():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(number), signal.SIGKILL)
                self.done["kills of the grounder"] += 1

    def chance(self, seconds: float, mean: float) -> bool:
        """Whether an event with a mean interval of `mean` seconds happens in these `seconds`."""
        return self._random.random() < seconds / mean


def main() -> int:
    """Run, print, write, check."""
    minutes = arguments(__doc__, minutes=10.0).minutes
    prepare()
    samples, soak, counted = run(minutes * 60.0)
    times, sizes = np.array(samples).T
    settled = times >= min(SETTLED, minutes * 30.0)
    slope = float(np.polyfit(times[settled] / 60.0, sizes[settled], 1)[0])
    statuses = Counter(goal.status or ("NO RESULT" if goal.accepted else "NO REPLY") for goal in soak.goals)
    unknown = [number for number, goal in enumerate(soak.goals) if not goal.status]
    growth = float(sizes[settled][-5:].mean() - sizes[settled][:5].mean())
    answered = sum(bool(goal.status) for goal in soak.goals)
    claims = [
        Claim("requests that are not accounted for", float(len(soak.goals) - answered), 0, ""),
        Claim("results that the node counted and no client has", float(abs(sum(counted.values()) - answered)), 0, ""),
        Claim("requests that ended otherwise than expected",
              float(sum(n for status, n in statuses.items() if status not in EXPECTED)), 0, ""),
        Claim("requests that were answered OK", float(statuses["OK"]), 1, "", least=True),
        Claim("private memory of the resolver", float(sizes.max()), 300, "MB"),
        Claim("its growth after the first minute", growth, 5, "MB"),
    ]  # fmt: skip
    measured = {"minutes": minutes, "seed": SEED, "slope_mb_per_minute": round(slope, 4), "statuses": dict(statuses),
                "done": dict(soak.done), "not_accounted_for": unknown, "counted_by_the_node": dict(counted),
                "memory_mb": [[round(t, 1), round(s, 2)] for t, s in samples]}  # fmt: skip
    return finish("soak", measured, claims)


def run(seconds: float) -> tuple[list[tuple[float, float]], Soak, Counter[str]]:
    """Stream, ask and disturb; returns (time, MB) every five seconds, the goals, and the node's counts."""
    samples: list[tuple[float, float]] = []
    with resolver(*GROUNDER) as pid:
        bench = Bench(1280, with_detections=False)
        soak = Soak(bench)
        bench.until(lambda: bench.report("grounder").get("process", "None").isdigit(), "the grounder")
        bench.client.ask(SENTENCE)  # repeated until there is a reply: from then on the node knows this client
        before = _ends(bench)
        events: tuple[tuple[float, Callable[[], None]], ...] = (
            (BURSTS, soak.burst), (CHANGES, soak.change), (KILLS, soak.kill),
        )  # fmt: skip
        begun = sent = asked = time.perf_counter()
        while (now := time.perf_counter()) - begun < seconds:
            if now >= sent:
                bench.publish()
                sent += 1 / RATE
                for mean, event in events:
                    if soak.chance(1 / RATE, mean):
                        event()
            if now >= asked:
                soak.ask(SENTENCE)
                asked += 1.0
            if len(samples) * 5.0 <= now - begun:
                samples.append((now - begun, private_mb(pid)))
            soak.cancel_due()
            bench.spin(max(0.0, min(sent - time.perf_counter(), 0.01)))
        end = time.perf_counter() + PATIENCE
        while not all(goal.status for goal in soak.goals) and time.perf_counter() < end:
            bench.publish()
            bench.spin(1 / RATE)
        ends = _ends(bench) - before
        bench.close()
    return samples, soak, ends


def _ends(bench: Bench) -> Counter[str]:
    """Number of requests that the node ended with each status so far."""
    report = bench.fresh_report()["requests"]
    return Counter({key.removeprefix("ended "): int(n) for key, n in report.items() if key.startswith("ended ")})


if __name__ == "__main__":
    raise SystemExit(main())
