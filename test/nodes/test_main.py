# SPDX-License-Identifier: Apache-2.0
"""The nodes as processes of their own: how they start, what they say where they cannot, how they end."""

import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from action_msgs.msg import GoalStatus
from live_graph import Graph
from live_process import Started
from live_scene import DETECTIONS, FRAME, SENTENCE

from scripts.size_report import budgets
from spatial_vlm_ros.nodes import __main__ as nodes
from spatial_vlm_ros.types import PinholeCamera, RgbdFrame

# so small that no transport between processes loses any of it
TINY = RgbdFrame(
    np.ascontiguousarray(FRAME.rgb[::10, ::10]),
    np.ascontiguousarray(FRAME.depth[::10, ::10]),
    PinholeCamera(np.diag([0.1, 0.1, 1.0]) @ FRAME.camera.K, 64, 48),
    frame_id=FRAME.frame_id,
)
INT, TERM = signal.SIGINT, signal.SIGTERM
SLOW_INT, SLOW_TERM = (pytest.param(number, marks=pytest.mark.slow) for number in (INT, TERM))
Node = Callable[..., Started]
Run = Callable[..., tuple[int, str]]


def assert_ends_cleanly(started: Started, number: signal.Signals) -> None:
    started.process.send_signal(number)
    assert started.ends() == 0, started.output
    for word in ("Traceback", "Error", "never awaited", "exception"):
        assert word not in started.output, started.output


def test_it_answers_as_a_process_and_ends_cleanly(graph: Graph, node: Node) -> None:
    running = node("resolver", base_frame="''", frame_timeout=50.0)
    running.until(graph.client.server_is_ready, "the action is offered")
    assert graph.ask(SENTENCE, TINY, ()).name == "NOT_FOUND"  # nothing was detected
    assert_ends_cleanly(running, INT)


@pytest.mark.parametrize("number", [SLOW_INT, TERM])
def test_it_ends_cleanly_while_goals_wait_and_answers_each(graph: Graph, node: Node, number: signal.Signals) -> None:
    running = node("resolver", frame_timeout=50.0)
    running.until(graph.client.server_is_ready, "the action is offered")
    goals = [graph.send_goal(SENTENCE) for _ in range(3)]
    graph.until(lambda: all(goal.stages or goal.result or not goal.accepted for goal in goals), "they wait")
    assert all(goal.accepted and not goal.result for goal in goals), [vars(goal) for goal in goals]
    assert_ends_cleanly(running, number)
    for goal in goals:
        graph.ended(goal)
        assert (goal.name, goal.status) == ("CANCELLED", GoalStatus.STATUS_ABORTED)
        assert "the node is shutting down" in goal.message


@pytest.mark.parametrize("number", [INT, SLOW_TERM])
def test_it_ends_while_a_grounder_computes(graph: Graph, node: Node, number: signal.Signals, tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    options = f"'begun={begun} end={tmp_path / 'end'}'"
    running = node(
        "resolver", base_frame="''", frame_timeout=50.0, grounder="worker_backends:Chicks", grounder_options=options
    )  # fmt: skip
    running.until(graph.client.server_is_ready, "the action is offered")
    children = running.children()
    assert children
    graph.send_goal(SENTENCE)
    graph.feed(begun.exists, "the grounder has begun", TINY, ())
    assert_ends_cleanly(running, number)
    running.until(lambda: not running.alive(*children), "the grounder is dead")


@pytest.mark.parametrize("number", [INT, SLOW_TERM])
def test_it_ends_while_a_grounder_loads(node: Node, number: signal.Signals, tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    running = node("resolver", grounder="worker_backends:loading", grounder_options=f"begun={begun}")
    running.until(begun.exists, "the grounder loads")
    children = running.children()
    running.process.send_signal(number)
    assert running.ends() == 0, running.output
    assert "Traceback" not in running.output
    running.until(lambda: not running.alive(*children), "the grounder is dead")


INTERRUPTED = """
import os, signal
from spatial_vlm_ros.nodes import main
from spatial_vlm_ros.nodes.perception import resolver
def convert(node):  # as a compiled module does: whatever happens within comes out as this
    try:
        os.kill(os.getpid(), signal.{})
    except KeyboardInterrupt:
        pass
    raise RuntimeError("Unable to convert call argument '1' to Python object")
resolver.ResolverNode.start = convert
raise SystemExit(main.resolver([]))
"""
HALF_MADE = """
import signal
import rclpy.executors
from rclpy.node import Node
from spatial_vlm_ros.nodes import main
from spatial_vlm_ros.nodes.perception import frame_player
class Player(Node):
    def __init__(self): super().__init__("player")
    def start(self): rclpy.executors.GuardCondition = interrupted  # the first that rclpy's executor makes
    def stop(self): print("stopped", flush=True)
def interrupted(**_): signal.raise_signal(signal.{})
frame_player.FramePlayer = Player
raise SystemExit(main.frame_player([]))
"""
ENDING = """
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from std_msgs.msg import String
from spatial_vlm_ros.nodes import main
from spatial_vlm_ros.nodes.perception import resolver
heard = []
class Ending(Node):
    turns, asked = 0, False
    def __init__(self): super().__init__("ending")
    def start(self):
        self.create_timer(0.05, self.turn)
        self.create_subscription(String, "resolve/alive", heard.append, qos_profile_sensor_data)
    def turn(self):
        self.turns += self.asked
        print("spins", flush=True)
    def end(self):
        self.asked = True
        print("asked to end", flush=True)
        return 60.0
    @property
    def ended(self): return self.turns >= {}
    def stop(self): print("last sign of life:", heard[-1].data[-5:], "taken down after", self.turns, flush=True)
resolver.ResolverNode = Ending
raise SystemExit(main.resolver([]))
"""


@pytest.fixture
def code(start: Callable[..., Started], domain: int) -> Callable[[str, object], Started]:
    return lambda text, value: start("-c", text.format(value), ROS_DOMAIN_ID=str(domain))


@pytest.mark.parametrize(
    ("number", "ends"), [("SIGINT", 0), pytest.param("SIGTERM", 0, marks=pytest.mark.slow), ("SIGCONT", 1)]
)
def test_an_interrupt_that_became_an_error_is_a_clean_end(code: Node, number: str, ends: int) -> None:
    running = code(INTERRUPTED, number)
    assert (running.ends(), "Unable to convert" in running.output) == (ends, bool(ends)), running.output


@pytest.mark.parametrize("number", [INT, SLOW_TERM])
def test_an_interrupt_while_its_executor_is_made_is_a_clean_end(code: Node, number: signal.Signals) -> None:
    running = code(HALF_MADE, number.name)
    assert (running.ends(), running.output) == (0, "stopped\n")


@pytest.mark.parametrize("number", [SLOW_INT, TERM])
def test_a_node_with_something_to_end_spins_until_then(code: Node, number: signal.Signals) -> None:
    running = code(ENDING, 5)
    running.says("spins")
    running.process.send_signal(number)
    running.process.send_signal(number)  # as of a launcher after Ctrl-C: it is the same one
    assert running.ends() == 0, running.output
    assert running.output.count("asked to end") == running.output.count("last sign of life: ended") == 1
    assert int(running.output.rpartition("taken down after")[2]) >= 5
    assert "Traceback" not in running.output


def test_a_second_signal_ends_it_at_once(code: Node) -> None:
    running = code(ENDING, 10**9)
    running.says("spins")
    running.process.send_signal(INT)
    running.says("asked to end")
    turns = running.output.count("spins")
    running.until(lambda: running.output.count("spins") > turns + 30, "the next signal is another one: over 1 s later")
    running.process.send_signal(TERM)
    assert running.ends() == 0, running.output
    assert 0 < int(running.output.rpartition("taken down after")[2]) < 10**9


@pytest.fixture
def run(domain: int, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Iterator[Run]:
    """`python -m spatial_vlm_ros.nodes` in this process: exit code, and what it printed."""
    handlers = {number: signal.getsignal(number) for number in (INT, TERM)}
    monkeypatch.setenv("ROS_DOMAIN_ID", str(domain))

    def call(*words: str) -> tuple[int, str]:
        ended = nodes.run(list(words))
        said = capfd.readouterr()
        return ended, said.out + said.err

    yield call
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(
    ("package", "repair"),
    [
        ("rclpy", "source your ROS 2 distribution"),
        ("spatial_vlm_interfaces", "build the interfaces"),
        ("tf2_msgs", "tf2-msgs"),
        ("diagnostic_msgs", "diagnostic-msgs"),
        ("visualization_msgs", "visualization-msgs"),
    ],
)
def test_a_missing_package_is_named(run: Run, monkeypatch: pytest.MonkeyPatch, package: str, repair: str) -> None:
    for name in [*sys.modules]:
        if name.split(".")[0] == package:
            monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, "spatial_vlm_ros.nodes.perception.resolver")  # it is imported anew
    ended, said = run("resolver")
    assert ended == 1
    assert package in said
    assert repair in said
    assert len(said.strip().splitlines()) == 1, said


@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")  # the process would have ended
@pytest.mark.parametrize(
    ("parameter", "words"),
    [
        ("frame_timeout:=long", ("frame_timeout", "DOUBLE")),
        ("frame_timeout:=1000.0", ("frame_timeout", "out of range")),
        ("reliability:=maybe", ("reliability", "best_effort or reliable")),
        ("frame_of_reference:=martian", ("frame_of_reference", "viewer")),
        ("depth.near:=6.0", ("near 6.0, far 5.0",)),
        ("base_frame", ("base_frame",)),
    ],
)
def test_a_parameter_that_cannot_be_is_named(run: Run, parameter: str, words: tuple[str, ...]) -> None:
    ended, said = run("resolver", "--ros-args", "-p", parameter)
    assert ended == 1
    assert "Traceback" not in said
    assert [word for word in words if word not in said] == [], said


def test_a_node_that_does_not_exist_is_a_usage_error(run: Callable[..., Any]) -> None:
    ended, said = run("oracle")
    assert (ended, "usage" in said, "resolver" in said) == (2, True, True)


def test_without_vision_msgs_all_else_works(node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "hidden" / "vision_msgs"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise ModuleNotFoundError(name='vision_msgs')\n")
    monkeypatch.setenv("PYTHONPATH", str(package.parent), prepend=":")
    node("resolver").says("resolver is active")


WORDS = ("the chick behind the cup", "put the cup next to the bonnet chick", "the wug", "the chick")


def test_the_resolver_loads_no_more_than_its_budget(graph: Graph, domain: int, start: Callable[..., Started]) -> None:
    words = ("--ros-args", "-p", "base_frame:=world", "-p", "frame_timeout:=15.0", "-p", "transform_timeout:=5.0")
    node = start(str(Path(__file__).with_name("counting_node.py")), "resolver", *words, ROS_DOMAIN_ID=str(domain))
    graph.offered()
    graph.camera.tf(FRAME.base_T_camera, static=True)
    answers = [graph.ask(said, FRAME, DETECTIONS) for said in WORDS]
    turn = graph.ask("the left one", FRAME, DETECTIONS, dialogue_id=answers[-1].result.dialogue_id)
    assert [answer.name for answer in (*answers, turn)] == ["OK", "OK", "NOT_FOUND", "AMBIGUOUS", "OK"]
    node.process.send_signal(signal.SIGINT)
    assert node.ends() == 0, node.output
    print(node.output)  # noqa: T201
    loaded = int(node.output.rpartition("loaded lines: ")[2].split()[0])
    assert 0 < loaded <= budgets()["resolver_node"]["loaded_lines"]
