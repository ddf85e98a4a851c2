# SPDX-License-Identifier: Apache-2.0
"""Time that an arm keeps moving after it should stop: event × phase, with the whole stack as processes, in real time.

`python -m benchmarks.stopping --n 3`: each event that ends a motion, `n` times in each phase in which the arm moves.
Time runs from when the event is sent (a signal, a call, a cancel) until the first of the arm's joint states after which
no joint moves faster than `STILL` for half a second. The simulated controller brakes at the arm's greatest
accelerations; that time is included, and on a busy machine simulated time passes more slowly. No trial starts after
`--minutes M`; `--add` keeps the trials of the last run; `--events a,b` and `--phases a,b` select some of them;
`--planner move_group` uses a test double of MoveIt's (test/nodes_arm/move_group_double.py), which the events then hit
instead of `arm_planner`; with `--apart` no process knows another one by the kernel of their machine.

`python -m benchmarks.stopping --nuisance 30 --load 8`: runs motions for 30 minutes beside 8 busy processes, and counts
those that stopped without any event.
"""

from __future__ import annotations

import itertools
import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.arm_stack import PATIENCE, Picking, Stack, StackError, log_folder, reap
from benchmarks.harness import RESULTS, Claim, arguments, finish, write
from benchmarks.live_graph import ROOT

SENTENCE = "put the chick behind the cup on the tray"
STILL = 0.02  # rad/s
RESTS = 0.5  # seconds without motion after which the arm counts as standing
LATER = 0.5  # seconds: longest time in a phase before the event
RETRY = 5.0  # seconds until a gate that does not answer is asked again
SETTLES = 150.0  # seconds until a goal is served again: a gate waits 60 s for an unreachable resolver
CONTROLLER = "/arm_controller/follow_joint_trajectory"
LIMIT = 0.5  # seconds from the event to standstill, without the controller's own deceleration
BRAKING = 0.1  # seconds: 1.5 rad/s at 15 rad/s², the slowest joint at the greatest speed of plans
PHASES = {
    "plan": 0, "reach": 1, "approach": 2, "grasp": 2, "lift": 3, "carry": 4, "lower": 5, "place": 5, "withdraw": 6,
}  # fmt: skip
"""Phase → number of trajectories that the arm's controller has accepted when it runs."""
GRIPS = {"grasp": -1, "place": 1}  # phases of the gripper, and its direction
GRIPPED = 0.003  # metres that it has moved then
HOLDS = ("grasp", "lift", "carry", "lower")
PLANNED = 0.2  # seconds: longest planning time before the event; planning takes about 0.4 s in all
GOES_ON = 5.0  # seconds after which an event has not ended a goal that is being planned
NOTHING_TO_CANCEL = ("plan", "grasp", "place")  # the arm's controller has no goal
PLANNERS = {"arm_planner": "built-in", "move_group": "double of move_group"}
SIMULATION = {"clock": True, "speed": 1.0, "rate": 3.0, "state_rate": 100.0, "width": 320}
GATE = {"approval_timeout": 300.0, "motion.controller_actions": CONTROLLER, "page": True}
VISITOR = Path(ROOT) / "test" / "manipulation" / "approval"  # a visitor of the page, as in its tests
Record = dict[str, Any]


class Watched(Stack):
    """The stack, and the arm's joint states as they arrive.

    Args:
        planner: `arm_planner` or `move_group`.
    """

    def __init__(
        self, log: Any, domain: int | None = None, planner: str = "arm_planner", apart: bool = False, **gate: Any
    ) -> None:
        self.planner = planner
        self.states: list[tuple[float, float]] = []  # arrival times, and speed of the fastest arm joint
        self.client: subprocess.Popen[bytes] | None = None
        self.gripper: list[float] = []
        self.taken: dict[bytes, int] = {}  # status of each goal of the controller, in the order they came
        self.planned: dict[bytes, int] = {}
        super().__init__(log, domain, SIMULATION, {**GATE, **gate}, planner, apart=apart)

    def listen(self) -> None:
        """Subscribe to the joint states and the controller's goals."""
        from action_msgs.msg import GoalStatusArray
        from action_msgs.srv import CancelGoal
        from rclpy.qos import qos_profile_action_status_default
        from sensor_msgs.msg import JointState
        from std_srvs.srv import Trigger

        from spatial_vlm_ros.nodes import qos

        self.node.create_subscription(JointState, "/joint_states", self._on_states, qos.images())
        self.node.create_subscription(
            GoalStatusArray, f"{CONTROLLER}/_action/status", lambda message: self._on_goals(self.taken, message),
            qos_profile_action_status_default,
        )  # fmt: skip
        self.node.create_subscription(
            GoalStatusArray, "/move_action/_action/status", lambda message: self._on_goals(self.planned, message),
            qos_profile_action_status_default,
        )  # fmt: skip
        self.stopping = self.node.create_client(Trigger, "stop")
        self.cancelling = self.node.create_client(CancelGoal, f"{CONTROLLER}/_action/cancel_goal")
        self.call_stop = lambda: self.stopping.call_async(Trigger.Request())
        self.call_cancel = lambda: self.cancelling.call_async(CancelGoal.Request())
        self.until(lambda: self.states, "joint states come")
        self.until(self.cancelling.service_is_ready, "the controller is there")
        self.until(self.stopping.service_is_ready, "the service stop is there")

    @staticmethod
    def _on_goals(known: dict[bytes, int], message: Any) -> None:
        known |= {bytes(status.goal_info.goal_id.uuid): status.status for status in message.status_list}

    def _on_states(self, message: Any) -> None:
        self.states.append((time.monotonic(), max(abs(v) for v in message.velocity[:7])))
        self.gripper.append(sum(message.position[7:9]))

    def moving(self) -> bool:
        """Whether the arm moves now."""
        return self.states[-1][1] > 5 * STILL

    def still_since(self, event: float) -> float | None:
        """Seconds from an event until the arm stood still for good; None if it does not yet."""
        after = [(at, speed) for at, speed in self.states if at >= event]
        if not after or after[-1][0] < event + RESTS:
            return None
        moved = [at for at, speed in after if speed > STILL]
        last = moved[-1] if moved else event
        return last - event if after[-1][0] - last >= RESTS else None

    def open_page(self) -> None:
        """Sign in to the approval page, and keep its stop form ready."""
        if str(VISITOR) not in sys.path:
            sys.path.insert(0, str(VISITOR))
        from approval_visitor import Visitor

        from spatial_vlm_ros.manipulation.approval.address import address_in

        (where,) = [found for line in self.said("planner_gate").splitlines() if (found := address_in(line)) is not None]
        address, _, token = str(where.link()).partition("/?token=")
        visitor = Visitor("127.0.0.1", int(address.rpartition(":")[2])).sign_in(token)
        action, fields = visitor.form("Request stop")
        self.press_stop = lambda: visitor.post(action, fields)

    def longest_gap(self, event: float) -> float:
        """Longest time in seconds without a joint state since an event: shows delays in measuring or simulation."""
        came = (event, *(at for at, _ in self.states if at >= event))
        return max((b - a for a, b in itertools.pairwise(came)), default=0.0)

    def pause(self, seconds: float) -> None:
        """Wait for some time."""
        end = time.monotonic() + seconds
        self.until(lambda: time.monotonic() >= end, "time passes")

    def end_suspended(self) -> None:
        """Kill the process that was suspended last, and its children."""
        for child in children_of(self._ended[-1].pid):
            os.kill(child, signal.SIGKILL)
        self._ended[-1].kill()

    def settle(self, hit: str) -> None:
        """Restart the ended process, and wait until goals are served.

        Raises:
            StackError: no goal is served in time.
        """
        if self.client is not None:
            self.client.kill()
            self.client.wait()
            self.client = None
        if hit:
            reap(self._ended.pop())
            self.begin(hit)
        self.disturb(world={"name": "behind"})
        self.fresh()
        latest, ends = time.monotonic() + SETTLES * self.slowness, list[str]()
        while time.monotonic() < latest:
            picking = Picking(len(self.proposals))
            sent = self._pick.send_goal_async(self._forms[0].Goal(instruction=SENTENCE, plan_only=True))
            end = time.monotonic() + RETRY
            self.until(lambda s=sent, e=end: s.done() or time.monotonic() > e, "the gate answers")
            if sent.done() and sent.result().accepted:
                sent.result().get_result_async().add_done_callback(
                    lambda f, p=picking: setattr(p, "result", f.result().result)
                )
                end = time.monotonic() + 4 * RETRY
                self.until(lambda p=picking, e=end: p.result or time.monotonic() > e, "it ends")
                if picking.result is not None and picking.status == "OK":
                    return
                ends.append("it has not ended" if picking.result is None else picking.status)
            else:
                ends.append("it was not accepted")
        told = ", ".join(f"{end} ({len(list(same))} times)" for end, same in itertools.groupby(ends))
        said = [line for line in self.said("planner_gate").splitlines() if "BUSY" not in line]
        raise StackError(f"no goal is served within {SETTLES:.0f} s: {told}; the gate said {said[-5:]}")

    def recover(self) -> None:
        """After a failed trial: start missing processes, and restart the gate and the resolver."""
        for name in [name for name, process in self._running.items() if process.poll() is not None]:
            reap(self._running.pop(name))
        for name in ("planner_gate", "resolver"):  # one may be deaf: docs/launch.md, "Images and shared memory"
            if name in self._running:
                self.end_process(name, signal.SIGTERM)
                reap(self._ended.pop())
        self.begin(*(name for name in self._given if name not in self._running))
        self.settle("")


@dataclass(frozen=True)
class StoppingEvent:
    """What ends a motion.

    Args:
        act: does it.
        hits: process that has to be restarted afterwards, or "".
    """

    act: Callable[[Watched, Picking], object]
    hits: str = ""


def children_of(process: int) -> list[int]:
    """Numbers of the processes that a process has started."""
    files = Path(f"/proc/{process}/task").glob("*/children")
    return [int(word) for file in files for word in file.read_text().split()]


def press_stop(stack: Watched, _: Picking) -> None:
    """Press Stop on the page."""
    threading.Thread(target=stack.press_stop, daemon=True).start()


def kill_client(stack: Watched, _: Picking) -> None:
    """Kill the program that asked."""
    if stack.client is not None:
        stack.client.kill()


def lose_gate(stack: Watched, _: Picking) -> None:
    """Suspend the gate and its watchdog: with `--apart`, as when the network to their machine is gone."""
    gate = stack.end_process("planner_gate", signal.SIGSTOP)
    for child in children_of(gate.pid):
        os.kill(child, signal.SIGSTOP)


def signalled(name: str, number: int) -> StoppingEvent:
    """A signal to a process; on SIGUSR1 it raises an exception."""
    return StoppingEvent(lambda stack, _: stack.end_process(stack.planner if name == "planner" else name, number), name)


EVENTS = {
    "stop service": StoppingEvent(lambda stack, _: stack.call_stop()),
    "Stop of the page": StoppingEvent(press_stop),
    "cancel": StoppingEvent(lambda _, picking: picking.handle.cancel_goal_async()),
    "controller cancelled": StoppingEvent(lambda stack, _: stack.call_cancel()),
    "client killed": StoppingEvent(kill_client),
    **{
        f"{number.name} {name}": signalled(name, number)
        for name in ("planner_gate", "planner", "resolver")
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL, signal.SIGSTOP, signal.SIGUSR1)
    },
    "gate and watchdog suspended": StoppingEvent(lose_gate, "planner_gate"),
}


def begun(stack: Watched, phase: str, by_command: bool, later: float = 0.0) -> Picking:
    """Start a motion and wait until it has been in this phase for some seconds."""
    stack.disturb(world={"name": "behind"})
    stack.fresh()
    del stack.states[:-1], stack.gripper[:-1]
    before, planned = len(stack.taken), len(stack.planned)
    proposals = len(stack.proposals)
    picking = Picking(proposals)
    if by_command:
        command = [sys.executable, "-m", "spatial_vlm_ros.cli", "pick", SENTENCE]
        with (stack.log / "client.txt").open("wb") as out:
            stack.client = subprocess.Popen(command, cwd=ROOT, stdout=out, stderr=subprocess.STDOUT)
    else:
        picking = stack.send(SENTENCE)
    if phase == "plan":
        stack.until(lambda: len(stack.planned) > planned, "it is planned")
        stack.pause(later)
        return picking
    if by_command:
        stack.until(lambda: len(stack.proposals) > proposals, "it is proposed")
        proposal = stack.proposals[-1]
    else:
        proposal = stack.proposed(picking)
        if proposal is None:
            raise StackError(f"no proposal: {picking.result.status.message}")
    said = stack.approve(proposal)
    if said != "OK":
        raise StackError(f"approve said {said}")
    wanted, opening = before + PHASES[phase], [0.0]

    def there() -> bool:
        if picking.result is not None:
            raise StackError(f"it ended before {phase}: {picking.result.status.message}")
        if len(stack.taken) < wanted or phase not in GRIPS:
            opening[0] = stack.gripper[-1]
            return len(stack.taken) >= wanted and stack.moving()
        return GRIPS[phase] * (stack.gripper[-1] - opening[0]) > GRIPPED

    stack.until(there, f"the arm is in {phase}", 120.0)
    stack.pause(later)
    return picking


def trial(stack: Watched, name: str, phase: str) -> Record:
    """Run one event in one phase: seconds to standstill, and the client's result."""
    later = random.uniform(0.0, PLANNED if phase == "plan" else 0.0 if phase in GRIPS else LATER)
    if name == "Stop of the page":  # before, for the phase may end while it opens
        stack.open_page()
    picking = begun(stack, phase, name == "client killed", later)
    held, opening = phase in HOLDS, stack.gripper[-1]
    moved_at, goals = time.monotonic(), len(stack.taken)
    EVENTS[name].act(stack, picking)
    hit = EVENTS[name].hits
    stack.until(lambda: stack.still_since(moved_at) is not None, "the arm stands still", 60.0)
    seconds, gap = stack.still_since(moved_at), stack.longest_gap(moved_at)
    answer, answered = "", 0.0
    if (not hit.startswith("planner_gate") and name != "client killed") or name.startswith(("SIGINT", "SIGTERM")):
        end = time.monotonic() + (GOES_ON if phase == "plan" else PATIENCE)
        stack.until(lambda: picking.result is not None or (phase == "plan" and time.monotonic() > end),
                    "the client is told")  # fmt: skip
        answer, answered = "goes on", time.monotonic() - moved_at
        if picking.result is not None:
            answer = picking.result.status.name
        if picking.result is None:
            picking.handle.cancel_goal_async()
    opened, later = bool(held and stack.gripper[-1] > opening + 0.003), len(stack.taken) - goals
    if name.startswith("SIGSTOP") or name.endswith("suspended"):
        stack.end_suspended()
    record = {
        "event": name, "phase": phase, "planner": PLANNERS[stack.planner], "seconds": round(float(seconds or 0.0), 3),
        "answered": round(answered, 3), "longest_gap": round(gap, 3),
        "load": round(os.getloadavg()[0], 1), "answer": answer,
        "message": picking.result.status.message if picking.result is not None else "",
        "later_goals": later,
        "last_goal": next(reversed(stack.taken.values()), 0),  # action_msgs/GoalStatus of the controller
        "opened": opened,
    }  # fmt: skip
    print(f"{name:24} {phase:9} {record['seconds']:6.3f} s  {answer}", flush=True)
    if hit or picking.result is None:  # otherwise the gate has answered, and accepts the next goal
        stack.settle(stack.planner if hit == "planner" else hit)
    return record


def possible(name: str, phase: str) -> bool:
    """Whether an event can have an effect in a phase."""
    return name != "controller cancelled" or phase not in NOTHING_TO_CANCEL


def rows(records: list[Record]) -> list[Record]:
    """Median and worst of each event in each phase."""
    found = []
    for name in dict.fromkeys(record["event"] for record in records):
        for phase in (*PHASES, "all"):
            seconds = [r["seconds"] for r in records if r["event"] == name and phase in (r["phase"], "all")]
            if seconds:
                found.append(
                    {"event": name, "phase": phase, "n": len(seconds), "median_s": round(float(np.median(seconds)), 3),
                     "worst_s": max(seconds)}
                )  # fmt: skip
    return found


def _burn() -> None:
    while True:
        sum(range(10_000))


def nuisance(stack: Watched, minutes: float, load: int) -> Record:
    """Run motions without any event, and count those that stopped."""
    context = multiprocessing.get_context("spawn")
    busy = [context.Process(target=_burn, daemon=True) for _ in range(load)]
    for process in busy:
        process.start()
    end, ends, seconds = time.monotonic() + 60 * minutes, [], 0.0
    try:
        while time.monotonic() < end:
            picking = begun(stack, "reach", False)
            since = time.monotonic()
            stack.end(picking)
            seconds += time.monotonic() - since
            ends.append(f"{picking.status}: {picking.result.status.message}"[:200])
            print(f"{seconds:7.1f} s  {ends[-1]}", flush=True)
    finally:
        for process in busy:
            process.kill()
    return {
        "minutes": minutes, "load": load, "cores": os.cpu_count(), "motions": len(ends),
        "seconds_in_motion": round(seconds, 1), "stopped": [words for words in ends if not words.startswith("OK")],
    }  # fmt: skip


def keep(name: str, records: list[Record], faults: list[str]) -> tuple[Record, list[Claim]]:
    """Write the current results."""
    worst = max((record["seconds"] for record in records), default=0.0)
    late = sum(record["later_goals"] > 0 for record in records)
    opened = sum(record["opened"] for record in records)
    claims = [
        Claim("longest time from an event to standstill", worst, LIMIT + BRAKING, "s"),
        Claim("trajectories begun after the event", float(late), 0.0, "trials"),
        Claim("grippers that opened", float(opened), 0.0, "trials"),
    ]
    measured = {"rows": rows(records), "trials": records, "not_measured": faults}
    write(name, measured, claims)
    return measured, claims


def trials(
    stack: Watched, result: str, n: int, minutes: float, phases: Sequence[str], events: Sequence[str], add: bool
) -> tuple[Record, list[Claim]]:
    """Run these events in these phases, `n` times; `add` appends to the stored trials."""
    records: list[Record] = []
    faults: list[str] = []
    if add:
        before = json.loads((RESULTS / f"{result}.json").read_text(encoding="utf-8"))
        records, faults = list(before["trials"]), list(before["not_measured"])
    end = time.monotonic() + 60 * minutes
    wanted = [
        (name, phase) for _ in range(n) for phase in phases for name in events
        if possible(name, phase)
    ]  # fmt: skip
    for name, phase in wanted:
        if time.monotonic() > end:
            break
        try:
            records.append(trial(stack, name, phase))
        except StackError as error:
            faults.append(f"{name} in {phase}: {error}")
            print(faults[-1], flush=True)
            stack.recover()
        keep(result, records, faults)
    return keep(result, records, faults)


def chosen(given: str, known: Iterable[str]) -> list[str]:
    """The names listed in `a,b`, or all if it is empty."""
    return [name for name in known if not given or name in given.split(",")]


def main() -> int:
    """Measure, print and write."""
    given = arguments(
        __doc__, n=3, minutes=1e6, load=8, nuisance=0.0, planner=tuple(PLANNERS), phases="", events="", add=False,
        apart=False,
    )  # fmt: skip
    planner, calm = given.planner, given.nuisance
    phases, events = chosen(given.phases, PHASES), chosen(given.events, EVENTS)
    result = "_".join(["stopping", planner, *["apart"] * given.apart]).replace("_arm_planner", "")
    stack = Watched(log_folder(), planner=planner, apart=given.apart)
    try:
        stack.listen()
        if calm:
            measured = nuisance(stack, calm, given.load)
            claims = [Claim("motions stopped without an event", float(len(measured["stopped"])), 0.0, "motions")]
        else:
            measured, claims = trials(stack, result, given.n, given.minutes, phases, events, given.add)
    finally:
        stack.close()
    return finish(f"{result}_nuisance" if calm else result, measured, claims)


if __name__ == "__main__":
    sys.exit(main())
