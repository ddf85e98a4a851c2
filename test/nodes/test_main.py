# SPDX-License-Identifier: Apache-2.0
"""The resolver as a process of its own: how it starts, what it says where it cannot, how it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from action_msgs.msg import GoalStatus
from live_graph import Goal, Graph
from live_scene import FRAME, SENTENCE

from spatial_vlm_ros.types import PinholeCamera, RgbdFrame

HERE = Path(__file__).parent
# so small that no transport between processes loses any of it
TINY = RgbdFrame(
    np.ascontiguousarray(FRAME.rgb[::10, ::10]),
    np.ascontiguousarray(FRAME.depth[::10, ::10]),
    PinholeCamera(np.diag([0.1, 0.1, 1.0]) @ FRAME.camera.K, 64, 48),
    frame_id=FRAME.frame_id,
)
PATIENCE = 60.0  # s


class Program:
    """The node as it is started from a command line."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self._process: subprocess.Popen[str] | None = None

    @property
    def process(self) -> subprocess.Popen[str]:
        assert self._process is not None
        return self._process

    def start(self, *parameters: str, wait: bool = True, code: str = "") -> None:
        arguments = [word for parameter in parameters for word in ("-p", parameter)]
        command = ["-c", code] if code else ["-m", "spatial_vlm_ros.nodes"]
        path = os.pathsep.join([str(HERE), str(HERE.parents[1]), os.environ.get("PYTHONPATH", "")])
        self._process = subprocess.Popen(
            [sys.executable, *command, "resolver", *(["--ros-args", *arguments] if arguments else [])],
            env={**os.environ, "ROS_DOMAIN_ID": str(self.graph.domain), "PYTHONPATH": path},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        if wait:
            self.graph.until(self.graph.client.server_is_ready, "the action is offered", PATIENCE)

    def ask(self) -> Goal:
        """A goal that waits for frames."""
        goal = self.graph.send_goal(SENTENCE)
        self.graph.until(lambda: goal.stages, "it waits")
        return goal

    def ends(self) -> tuple[int, str]:
        """Exit code and what it printed."""
        out, err = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, out + err

    def assert_ends_cleanly(self, number: signal.Signals) -> None:
        self.process.send_signal(number)
        code, said = self.ends()
        assert code == 0, said
        for word in ("Traceback", "Error", "never awaited", "exception"):
            assert word not in said, said

    @property
    def children(self) -> list[int]:
        found = Path(f"/proc/{self.process.pid}/task/").glob("*/children")
        return [int(number) for path in found for number in path.read_text().split()]

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()


@pytest.fixture
def program(graph: Graph) -> Iterator[Program]:
    made = Program(graph)
    yield made
    made.kill()


def gone(number: int) -> bool:
    """Whether a process is dead; one that nobody has reaped is."""
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True


BOTH = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])


@BOTH
def test_it_ends_cleanly_when_told_to(program: Program, number: signal.Signals) -> None:
    program.start()
    program.assert_ends_cleanly(number)


@BOTH
def test_it_ends_cleanly_while_goals_wait_and_answers_each(program: Program, number: signal.Signals) -> None:
    program.start("frame_timeout:=50.0")
    goals = [program.ask() for _ in range(3)]
    program.assert_ends_cleanly(number)
    for goal in goals:
        program.graph.ended(goal)
        assert (goal.name, goal.status) == ("CANCELLED", GoalStatus.STATUS_ABORTED)
        assert goal.result is not None
        assert "the node is shutting down" in goal.result.status.message


@BOTH
def test_it_ends_cleanly_while_a_grounder_computes_and_takes_it_along(
    program: Program, number: signal.Signals, tmp_path: Path
) -> None:
    begun, end = tmp_path / "begun", tmp_path / "end"
    program.start(
        "base_frame:=''", "frame_timeout:=50.0", "grounder:=worker_backends:Chicks",
        f"grounder_options:='begun={begun} end={end}'",
    )  # fmt: skip
    children = program.children
    assert children
    program.ask()
    program.graph.feed(begun.exists, "the grounder has begun", TINY)
    program.assert_ends_cleanly(number)
    program.graph.until(lambda: all(gone(child) for child in children), "the grounder is dead")


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


@pytest.mark.parametrize(("number", "ends"), [("SIGINT", 0), ("SIGTERM", 0), ("SIGCONT", 1)])
def test_an_interrupt_that_a_compiled_module_turns_into_an_error_is_a_clean_end(
    program: Program, number: str, ends: int
) -> None:
    program.start(wait=False, code=INTERRUPTED.format(number))
    code, said = program.ends()
    assert (code, "Unable to convert" in said) == (ends, bool(ends)), said


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


@BOTH
def test_an_interrupt_while_its_executor_is_made_is_a_clean_end(program: Program, number: signal.Signals) -> None:
    program.start(wait=False, code=HALF_MADE.format(number.name))
    assert program.ends() == (0, "stopped\n")


ENDING = """
from rclpy.node import Node
from spatial_vlm_ros.nodes import main
from spatial_vlm_ros.nodes.perception import resolver
class Ending(Node):
    turns, asked = 0, False
    def __init__(self): super().__init__("ending")
    def start(self): self.create_timer(0.05, self.turn)
    def turn(self):
        self.turns += self.asked
        print("spins", flush=True)
    def end(self):
        self.asked = True
        print("asked to end", flush=True)
        return 60.0
    @property
    def ended(self): return self.turns >= {turns}
    def stop(self): print("taken down after", self.turns, flush=True)
resolver.ResolverNode = Ending
raise SystemExit(main.resolver([]))
"""


@BOTH
def test_a_node_that_has_something_to_bring_to_its_end_spins_until_then(
    program: Program, number: signal.Signals
) -> None:
    program.start(wait=False, code=ENDING.format(turns=5))
    assert program.process.stdout is not None
    assert program.process.stdout.readline() == "spins\n"
    program.process.send_signal(number)
    program.process.send_signal(number)  # as of a launcher after Ctrl-C: it is the same one
    code, said = program.ends()
    assert code == 0, said
    assert said.count("asked to end") == 1
    assert int(said.rpartition("taken down after")[2]) >= 5
    assert "Traceback" not in said


def test_a_second_signal_ends_it_at_once(program: Program) -> None:
    program.start(wait=False, code=ENDING.format(turns=10**9))
    assert program.process.stdout is not None
    assert program.process.stdout.readline() == "spins\n"
    program.process.send_signal(signal.SIGINT)
    while program.process.stdout.readline() != "asked to end\n":
        pass
    begun = time.monotonic()
    program.graph.until(lambda: time.monotonic() > begun + 1.2, "it is another one")
    program.process.send_signal(signal.SIGTERM)
    code, said = program.ends()
    assert (code, "taken down after" in said) == (0, True), said
    assert time.monotonic() - begun < 50.0  # and not the 60 s that it may take


@BOTH
def test_it_ends_while_a_grounder_loads(program: Program, number: signal.Signals, tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    program.start("grounder:=worker_backends:loading", f"grounder_options:=begun={begun}", wait=False)
    program.graph.until(begun.exists, "the grounder loads", PATIENCE)
    children = program.children
    program.process.send_signal(number)
    code, said = program.ends()
    assert code == 0, said
    assert "Traceback" not in said
    program.graph.until(lambda: all(gone(child) for child in children), "the grounder is dead")


def test_it_answers_as_a_process(program: Program) -> None:
    program.start("base_frame:=''", "frame_timeout:=50.0")
    goal = program.ask()
    program.graph.feed(lambda: goal.result is not None, "it has ended", TINY, ())
    assert goal.name == "NOT_FOUND"  # nothing was detected
    program.assert_ends_cleanly(signal.SIGINT)


def test_killing_it_takes_its_grounder_along(program: Program) -> None:
    program.start("grounder:=worker_backends:Chicks")
    children = program.children
    assert children
    program.process.kill()
    program.process.wait(PATIENCE)
    program.graph.until(lambda: all(gone(child) for child in children), "the grounder is dead")


# ------------------------------------------------------------------------------------------------ what is missing

WITHOUT = (
    "import sys; sys.modules[{0!r}] = None; from spatial_vlm_ros.nodes import __main__; "
    "sys.exit(__main__.run(sys.argv[1:]))"
)


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
def test_a_missing_package_is_named_with_its_repair(program: Program, package: str, repair: str) -> None:
    program.start(wait=False, code=WITHOUT.format(package))
    code, said = program.ends()
    assert code == 1
    assert package in said
    assert repair in said
    assert len(said.strip().splitlines()) == 1, said


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
def test_a_parameter_that_cannot_be_is_named_and_nothing_starts(
    program: Program, parameter: str, words: tuple[str, ...]
) -> None:
    program.start(parameter, wait=False)
    code, said = program.ends()
    assert code not in (0, 2)
    assert "Traceback" not in said
    assert all(word in said for word in words), said


def test_a_node_that_does_not_exist_is_a_usage_error() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "spatial_vlm_ros.nodes", "oracle"], capture_output=True, text=True, timeout=PATIENCE
    )
    assert done.returncode == 2
    assert "usage" in done.stderr
    assert "resolver" in done.stderr
