# SPDX-License-Identifier: Apache-2.0
"""When silence is too long, when a process is lost, and the watchdog that stops the arm when its parent is gone."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import rclpy
from arm_graph import HOME, JOINTS, ArmGraph, Aside
from builtin_interfaces.msg import Duration
from control_msgs.action import FollowJointTrajectory
from rclpy.action import ActionClient
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from std_msgs.msg import String
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint
from waiting import DEADLINE, until

from spatial_vlm_ros.errors import CancelledError, PlannerUnavailableError
from spatial_vlm_ros.nodes import liveliness, qos
from spatial_vlm_ros.nodes.arm import watchdog
from spatial_vlm_ros.nodes.arm.watchdog import Watchdog
from spatial_vlm_ros.nodes.calls import Bridge
from spatial_vlm_ros.nodes.liveliness import LEAST, PERIOD, AliveWatch
from spatial_vlm_ros.nodes.process import MOST, Silence, why_lost

LIMIT, TURN = 0.35, 0.02


@pytest.fixture
def silent() -> Silence:
    return Silence(LIMIT)


def lasts(silent: Silence, since: float, turn: float = TURN) -> float:
    """Seconds from `since`, when silence began to count, until it is too long."""
    silent.begin(since)
    now = since
    while not silent.too_long(now):
        now += turn
    return now - since


@pytest.mark.parametrize(("delay", "seconds"), [(0.01, LIMIT), (0.1, LIMIT), (0.2, 0.6), (0.5, MOST)])
def test_who_is_slow_is_given_three_times_that_and_not_more_than_the_most(
    silent: Silence, delay: float, seconds: float
) -> None:
    assert lasts(silent, 5.0) == pytest.approx(MOST, abs=2 * TURN), "before the first sign of life"
    silent.heard(delay, 10.0 + delay)
    silent.heard(0.01, 10.51)
    assert lasts(silent, 20.0) == pytest.approx(seconds, abs=2 * TURN)
    silent.begin(30.0)
    assert not any(silent.too_long(30.0 + TURN * k, 2.0) for k in range(99)), "as the listener says"


def test_an_answer_ends_the_silence_and_slow_ones_are_forgotten_after_a_hundred(silent: Silence) -> None:
    silent.heard(0.3, 0.3)
    silent.begin(1.0)
    assert not silent.too_long(1.09)
    for k in range(100):
        now = 1.1 + 0.1 * k
        silent.heard(0.01, now)
        assert not silent.too_long(now + 0.05)
    assert lasts(silent, 200.0) == pytest.approx(LIMIT, abs=2 * TURN)


def test_time_in_which_the_caller_was_held_up_does_not_count(silent: Silence) -> None:
    silent.heard(0.01, 0.01)
    assert lasts(silent, 10.0, turn=1.0) == pytest.approx(6.0)  # each look counts 0.06 s at most


TOPIC = "someone/alive"
PROGRAM = f"""
import sys
import rclpy
import rclpy.signals
from rclpy.node import Node
from spatial_vlm_ros.nodes import liveliness
if sys.argv[1:]:
    liveliness._here = lambda: sys.argv[1]
rclpy.init(signal_handler_options=rclpy.signals.SignalHandlerOptions.NO)
node = Node("someone")
shown = liveliness.Alive(node, "{TOPIC}")
try:
    rclpy.spin(node)
finally:
    shown.end()
    sys.stdin.read()  # shared memory goes with the process, and what was not read yet with it
"""


@pytest.mark.parametrize(("least", "why"), [(LEAST, "has sent no heartbeat for"), (MOST, "")])
def test_who_is_silent_but_alive_here_is_lost_only_in_a_motion(silent: Silence, least: float, why: str) -> None:
    alive = Mock(**{"look.return_value": "", "runs.return_value": False})
    said = [why_lost(silent, alive, 1.0 + TURN * k, least) for k in range(200)]
    assert said[-1][: len("has sent no heartbeat for")] == why


class Quiet:
    """A double of a node: keeps what is to be called with each heartbeat."""

    def create_subscription(self, _form: Any, _topic: str, heard: Callable[[String], None], _qos: Any) -> None:
        self.says = lambda text: heard(String(data=text))


@pytest.mark.parametrize(("least", "seconds"), [(LEAST, LEAST), (MOST, MOST)])
def test_a_process_that_went_silent_counts_as_lost_and_is_not_called_dead(
    monkeypatch: pytest.MonkeyPatch, least: float, seconds: float
) -> None:
    now, node, changed = [100.0], Quiet(), []
    monkeypatch.setattr(liveliness.time, "monotonic", lambda: now[0])
    any_node: Any = node
    watch = AliveWatch(any_node, TOPIC, lambda: changed.append(watch.names()))
    for noise in ("", "a b", "1 2 3 4 5 6", "/nobody"):
        node.says(noise)
    assert (watch.look(least), watch.seen(), watch.silent()) == ("", False, False), "nobody has come yet"
    for _ in range(30):
        node.says("/someone elsewhere 7 1")
        now[0] += PERIOD / 2
        assert (watch.look(least), watch.seen("/some"), watch.silent("/someone")) == ("", False, False)
        now[0] += PERIOD / 2
    now[0] -= PERIOD  # that the last heartbeat came
    begun = now[0]
    while not watch.look(least):
        now[0] += 0.02
    assert now[0] - begun == pytest.approx(seconds, abs=0.06)
    assert watch.lost.startswith("has sent no heartbeat for 0.")
    assert watch.silent()
    node.says("/someone elsewhere 7 1")
    node.says("/other elsewhere 8 1")
    assert (watch.lost, watch.look(), changed) == ("", "", [["/someone"], ["/someone", "/other"]])
    for text in ("/other elsewhere 8 1 ended", "/someone elsewhere 7 1 ended"):
        node.says(text)
    assert (watch.look(), watch.names()) == ("has ended", []), "it has said so"
    watch.forget()
    assert not watch.seen()
    node.says("/goal elsewhere 9 1 ended")
    node.says("/goal elsewhere 10 1")
    assert watch.look(name="/goal") == "has ended", "who joins it does not hide that"
    node.says(f"/goal {liveliness._here()} {'9' * 5000} 1")  # more digits than Python reads


SUSPENDED, ENDED, QUIET = "is suspended", "has ended", "has sent no heartbeat"


@pytest.mark.parametrize(
    ("where", "number", "why"),
    [
        ((), signal.SIGSTOP, SUSPENDED), ((), signal.SIGKILL, ENDED), (("elsewhere",), signal.SIGINT, ENDED),
        (("elsewhere",), signal.SIGSTOP, QUIET), (("elsewhere",), signal.SIGKILL, QUIET),
    ],
)  # fmt: skip
def test_why_a_process_is_lost_is_known_here_and_of_another_machine_it_is_silent(
    domain: int, monkeypatch: pytest.MonkeyPatch, where: tuple[str, ...], number: signal.Signals, why: str
) -> None:
    monkeypatch.setenv("ROS_DOMAIN_ID", str(domain))
    context = Context()
    rclpy.init(context=context, domain_id=domain)
    node, executor = Node("watcher", context=context), SingleThreadedExecutor(context=context)
    executor.add_node(node)
    watch = AliveWatch(node, TOPIC)

    def spins(condition: Callable[[], object]) -> None:
        end = time.monotonic() + DEADLINE
        while not condition() and time.monotonic() < end:
            executor.spin_once(0.02)
        assert condition()

    process = subprocess.Popen([sys.executable, "-c", PROGRAM, *where], stdin=subprocess.PIPE)
    try:
        spins(lambda: watch.names() == ["/someone"])
        assert not watch.look()
        process.send_signal(number)
        spins(lambda: watch.look().startswith(why))  # one that ends slowly is silent first
        if number == signal.SIGSTOP:
            process.send_signal(signal.SIGCONT)
            spins(lambda: not watch.look())
    finally:
        process.kill()
        process.communicate()
    executor.shutdown()
    node.destroy_node()
    rclpy.shutdown(context=context)


def test_no_node_relies_on_events_of_the_middleware() -> None:
    """rmw_zenoh never sends them."""
    used = [path for path in Path(liveliness.__file__).parent.rglob("*.py") if "LivelinessPolicy" in path.read_text()]
    assert not used


CONTROLLER, EVENT = "/arm_controller/follow_joint_trajectory", "/trajectory_execution_event"
PATIENCE = 30.0  # s


class Commander:
    """A node that commands the arm, its watchdog, and a goal that the controller holds until it is cancelled."""

    def __init__(self, arm: ArmGraph, event: str = EVENT, controller: str = CONTROLLER) -> None:
        self.arm, self.heard = arm, []  # type: ArmGraph, list[str]
        self.node: Node = arm.spin(lambda context: self._make(context, event, controller))

    def _make(self, context: Context, event: str, controller: str) -> Node:
        node = rclpy.create_node("commander", context=context)
        self.bridge = Bridge(node)
        self.watchdog = Watchdog(self.bridge, event, [controller])
        self.client = ActionClient(node, FollowJointTrajectory, CONTROLLER)
        node.create_subscription(String, EVENT, lambda message: self.heard.append(message.data), qos.INSTRUCTIONS)
        return node

    def moves(self) -> None:
        until(self.client.server_is_ready, "the controller is discovered")
        self.arm.knows(CONTROLLER)
        point = JointTrajectoryPoint(positions=list(HOME), time_from_start=Duration(sec=60))
        goal = FollowJointTrajectory.Goal(trajectory=JointTrajectory(joint_names=list(JOINTS), points=[point]))
        self.arm.controllers.hold = {0}
        self.client.send_goal_async(goal)
        hands = self.arm.controllers  # a watchdog that cancels again and again may have ended it by the next look
        until(lambda: ["arm"] in (hands.running, hands.cancelled), "the arm moves, or has moved")

    def stopped(self) -> bool:
        return self.arm.controllers.cancelled == ["arm"] and "stop" in self.heard


@pytest.fixture
def commander(domain: int) -> Iterator[Callable[..., Commander]]:
    arm, made = ArmGraph(domain), list[Commander]()

    def make(**names: str) -> Commander:
        made.append(Commander(arm, **names))
        return made[-1]

    yield make
    for each in made:
        each.watchdog.close()
    arm.close()


def test_the_end_of_the_pipe_stops_what_moves_and_only_that(commander: Any) -> None:
    one = commander()
    one.moves()
    one.watchdog.begin(PATIENCE)
    one.watchdog.end()
    one.watchdog.close()  # between motions nothing is stopped
    assert (one.heard, one.arm.controllers.cancelled) == ([], [])
    one.watchdog.begin(PATIENCE)  # it is started anew
    one.watchdog.close()
    until(one.stopped, "the arm is stopped")


def test_a_terminal_that_holds_everything_up_keeps_nobody_from_stopping(commander: Any, monkeypatch: Any) -> None:
    _, writes = os.pipe()
    os.set_blocking(writes, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writes, b"x")
    os.set_blocking(writes, True)
    monkeypatch.setattr(watchdog.subprocess, "Popen", partial(subprocess.Popen, stderr=writes))
    one = commander()
    one.watchdog.begin(PATIENCE)
    one.moves()
    one.watchdog.close()
    until(one.stopped, "the arm is stopped")


def test_what_begins_only_after_the_first_stop_is_stopped_too(commander: Any) -> None:
    one = commander()
    until(one.client.server_is_ready, "the controller is discovered")
    one.arm.knows(CONTROLLER)
    one.watchdog.begin(PATIENCE)
    closing = Aside(one.watchdog.close)
    until(lambda: "stop" in one.heard, "the arm is told to stop")
    one.moves()  # as a planner does that was still checking the start
    until(one.stopped, "the arm is stopped")
    assert closing.ended().error is None


def test_a_parent_that_hangs_is_noticed_and_told_so_when_it_wakes(commander: Any) -> None:
    one, hangs = commander(), threading.Event()
    one.moves()
    one.watchdog.begin(PATIENCE)
    one.bridge.put(lambda: hangs.wait(PATIENCE))
    until(lambda: one.arm.controllers.cancelled == ["arm"], "the arm is stopped")
    hangs.set()
    until(one.stopped, "the event was published, too")
    until(lambda: "no heartbeat" in one.watchdog.tripped, "the parent is told")


@pytest.mark.parametrize(
    "names", [{"controller": "/nowhere"}, pytest.param({"event": "/nowhere"}, marks=pytest.mark.slow)]
)
def test_nothing_may_move_before_it_could_be_stopped(commander: Any, names: dict[str, str]) -> None:
    one = commander(**names)
    with pytest.raises(PlannerUnavailableError, match=r"the watchdog.*does not find /nowhere.*nothing has moved"):
        one.watchdog.begin(8.0)
    with pytest.raises(CancelledError):
        one.watchdog.begin(PATIENCE, lambda: True)


def test_a_watchdog_that_is_killed_is_noticed(commander: Any) -> None:
    one = commander()
    one.watchdog.begin(PATIENCE)
    assert one.watchdog.tripped == ""
    one.watchdog._process.kill()
    until(lambda: one.watchdog.tripped == "the watchdog has exited", "it is noticed")
    call = Aside(lambda: one.watchdog.begin(PATIENCE)).ended()
    assert call.error is None, "another one takes its place"
    assert one.watchdog.tripped == ""
