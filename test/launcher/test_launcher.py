# SPDX-License-Identifier: Apache-2.0
"""The launcher with real processes: they come up, answer, and none is left, whatever happens."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from frame_files import write_frame

from spatial_vlm_ros.launcher import supervisor
from spatial_vlm_ros.nodes.__main__ import CRASHED
from spatial_vlm_ros.sim.examples import chicks_and_cup_frame
from spatial_vlm_ros.types import Status

ANY = Callable[..., Any]
SENTENCE = "grab me the chick behind the cup"

DRIVER = """
import os, sys
from spatial_vlm_ros.launcher.plan import Command
from spatial_vlm_ros.launcher import supervisor
from spatial_vlm_ros.launcher.supervisor import run
supervisor.DELAY = {delay}
programs = {programs!r}
sys.exit(run([Command(name, (sys.executable, "-c", text), dict(os.environ), essential, again)
              for name, text, essential, again in programs]))
"""
WAITS = "import signal; print('ready', flush=True); signal.pause()"
STUBBORN = """
import signal
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, lambda *_: print("no", flush=True))
print("ready", flush=True)
while True:
    signal.pause()
"""


def programs(*entries: tuple[Any, ...], delay: float = 0.05) -> tuple[str, str]:
    """A launcher of small Python programs: name, text, whether the others end with it, whether it starts again."""
    whole = [(*entry, *(True, False)[len(entry) - 2 :]) for entry in entries]
    return "-c", DRIVER.format(programs=whole, delay=delay)


def answers(started: Any, graph: Any) -> Any:
    """What the resolver of a launch file says once it is up and all streams and transforms are there."""
    graph.until(graph.client.server_is_ready, "the action server is there")
    started.says("resolver is active")
    said: list[DiagnosticArray] = []
    graph.node.create_subscription(DiagnosticArray, "/diagnostics", said.append, 10)

    def well() -> bool:
        status = said[-1].status if said else []
        words = [entry.message for entry in status]
        return "all streams are arriving" in words and all(entry.level == DiagnosticStatus.OK for entry in status)

    started.until(well, "all streams are arriving")
    goal = graph.send_goal(SENTENCE)
    started.until(lambda: goal.result is not None, "the result is there")
    return goal


def ended(started: Any, children: list[int], number: signal.Signals = signal.SIGINT) -> None:
    started.process.send_signal(number)
    assert started.ends() == 0, started.output
    assert not started.alive(*children)
    assert "Traceback" not in started.output


def test_a_simulated_world_comes_up_and_answers_and_ctrl_c_ends_it(up: ANY, graph: Any) -> None:
    pytest.importorskip("mujoco")
    sim = up("sim", "world:=behind")
    sim.says("playing behind")
    goal = answers(sim, graph)
    assert goal.name == "OK", goal.message
    children = sim.children()
    assert len(children) == 2
    ended(sim, children)
    assert "[resolver] [INFO]" in sim.output


@pytest.mark.slow
def test_a_model_from_a_mirror_answers_live_where_torch_cannot_be_imported(
    up: ANY, start: ANY, graph: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for package in ("torch", "transformers", "onnxruntime", "tokenizers", "onnxscript"):  # of the model that is made
        pytest.importorskip(package)
    from fresh_user import NAME, OPTIONS, fresh_user

    frame = write_frame(tmp_path / "frame", chicks_and_cup_frame()[0])
    with fresh_user(tmp_path / "user") as (mirror, environment):
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        got = start("-m", "spatial_vlm_ros.cli", "models", "get", NAME, "--mirror", mirror.url)
        assert got.ends() == 0, got.output
    sim = up("sim", f"folder:={frame}", "base_frame:=/", "grounder:=onnx", f"grounder_options:={OPTIONS}")
    goal = answers(sim, graph)
    assert goal.name == "OK" or 30 <= Status[goal.name].code < 40, goal.message
    assert goal.result.candidates, "boxes were found, and lifted"
    children = sim.children()
    assert children
    ended(sim, children)


def test_a_robots_resolver_listens_to_its_camera_in_its_namespace(up: ANY, graph: Any, tmp_path: Path) -> None:
    own = tmp_path / "own.yaml"
    own.write_text("/**:\n  ros__parameters:\n    rgb_transport: compressed\n    base_frame: from_file\n")
    robot = up("realsense", "namespace:=left", "camera_namespace:=left", f"params_file:={own}", "autostart:=true")
    for topic in ("/left/camera/color/image_raw/compressed", "/left/camera/aligned_depth_to_color/image_raw",
                  "/left/instruction"):  # fmt: skip
        robot.until(lambda topic=topic: graph.node.count_subscribers(topic), f"it listens to {topic}")
    robot.until(lambda: graph.node.count_publishers("/left/target"), "it publishes /left/target")
    ended(robot, robot.children(), signal.SIGTERM)


def test_no_node_is_left_when_the_launcher_is_killed(up: ANY) -> None:
    robot = up("spatial_vlm")
    robot.says("resolver is active")
    children = robot.children()
    robot.process.kill()
    assert len(children) == 1
    robot.until(lambda: not robot.alive(*children), "the nodes have ended")


@pytest.mark.slow
def test_nodes_that_are_killed_start_again_and_answer(up: ANY, graph: Any) -> None:
    pytest.importorskip("mujoco")
    sim = up("sim")
    sim.says("resolver is active")
    sim.says("playing behind")
    before = sim.children()
    for name, words in (("frame_player", "playing behind"), ("resolver", "resolver is active")):
        said = sim.output.count(words)
        os.kill(sim.child(name), signal.SIGKILL)
        sim.says(f"[{name}] restarts in 2 s")
        sim.until(lambda words=words, said=said: sim.output.count(words) > said, f"{name} is there again")
    assert not set(sim.children()) & set(before)
    goal = answers(sim, graph)
    assert goal.name == "OK", goal.message
    ended(sim, sim.children())


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("sim", "rate:=-1.0"), supervisor.CONFIGURATION, "rate"),
        (("replay", "bag:=/nowhere"), 1, "[bag_player] bag_player: /nowhere"),
    ],
)
def test_a_node_that_cannot_be_configured_does_not_start_again(up: ANY, words: Any, code: int, said: str) -> None:
    launched = up(*words)
    assert launched.ends() == code, launched.output
    assert said in launched.output
    assert "restarts in" not in launched.output


def test_output_has_its_name_before_each_line_however_long(start: ANY) -> None:
    done = start(*programs(("talker", "print('a' * 300_000); print('ü', end='')")))
    assert done.ends() == 0
    assert f"[talker] {'a' * 300_000}\n[talker] ü\n" in done.output


def test_the_first_that_fails_gives_its_code_also_while_it_is_ended_and_ends_others(start: ANY, tmp_path: Path) -> None:
    done = start(*programs(("waits", WAITS), ("fails", "import sys; sys.exit(7)")))
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    fails = f"import signal, sys; signal.signal(2, lambda *_: sys.exit(9)); open({str(gate)!r}, 'w'); signal.pause()"
    ends = f"open({str(gate)!r}).read(1)"  # once the other one is ready
    while_ended = start(*programs(("ends", ends), ("fails", fails), ("waits", WAITS)))
    assert done.ends() == 7
    assert "[fails] has exited with code 7" in done.output
    assert while_ended.ends() == 9


def test_the_others_live_on_when_a_window_is_closed(start: ANY) -> None:
    both = start(*programs(("window", "print('closed')", False), ("waits", WAITS)))
    both.says("[window] has exited with code 0")
    both.says("[waits] ready")
    assert both.process.poll() is None
    both.process.send_signal(signal.SIGINT)
    assert both.ends() == 0


def slowly(*ends: str) -> list[Any]:
    """The same way, and tried by `make test-all`."""
    return [pytest.param(end, marks=pytest.mark.slow) for end in ends]


FALLS = "import os, pathlib; p = pathlib.Path({path!r}); p.write_text(p.read_text() + 'x'); {end}"


@pytest.fixture
def falls(tmp_path: Path) -> Path:
    path = tmp_path / "starts"
    path.write_text("")
    return path


@pytest.mark.parametrize("end", ["os._exit(70)", *slowly("os.kill(os.getpid(), 11)", "os.abort()")])
def test_one_that_crashes_starts_again_until_it_crashes_too_often(start: ANY, falls: Path, end: str) -> None:
    both = start(*programs(("falls", FALLS.format(path=str(falls), end=end), True, True), ("waits", WAITS)))
    code = both.ends()
    assert code in (128 + signal.SIGSEGV, supervisor.CRASHED, 128 + signal.SIGABRT)
    assert falls.read_text() == "x" * (1 + supervisor.MOST)
    assert both.output.count("[falls] restarts in") == supervisor.MOST
    assert both.output.count(f"[falls] has exited with code {code}") == 1 + supervisor.MOST


@pytest.mark.parametrize("end", ["os._exit(2)", *slowly("os._exit(0)", "os._exit(1)", "os.kill(os.getpid(), 15)")])
def test_one_that_ends_on_purpose_or_cannot_be_configured_ends_everything(start: ANY, falls: Path, end: str) -> None:
    both = start(*programs(("ends", FALLS.format(path=str(falls), end=end), True, True), ("waits", WAITS)))
    assert both.ends() in (0, 1, 2, 128 + signal.SIGTERM)
    assert falls.read_text() == "x"


def test_ctrl_c_while_one_waits_to_start_again_ends_everything(start: ANY, falls: Path) -> None:
    crashes = FALLS.format(path=str(falls), end="os.abort()")
    both = start(*programs(("falls", crashes, True, True), ("waits", WAITS), delay=3600.0))
    both.says("[falls] restarts in")
    both.says("[waits] ready")
    both.interrupt()
    assert both.ends() == 0, both.output
    assert falls.read_text() == "x"


def test_the_past_counts_for_a_minute() -> None:
    now = [0.0]
    life = supervisor.Respawn(lambda: now[0])
    assert [life.again(-9) for _ in range(4)] == [True] * supervisor.MOST + [False]
    now[0] = supervisor.WITHIN
    assert life.again(137)
    assert [life.again(code) for code in (0, 1, 2, -2, -15, 130, 143)] == [False] * 7
    assert supervisor.CRASHED == CRASHED


def test_one_that_will_not_end_is_ended_by_asking_again(start: ANY) -> None:
    stubborn = start(*programs(("stubborn", STUBBORN)))
    stubborn.says("ready")
    child = stubborn.children()[0]
    for count in (1, 2):
        stubborn.process.send_signal(signal.SIGINT)
        stubborn.until(lambda count=count: stubborn.output.count("] no") >= count, "it has heard")
    stubborn.process.send_signal(signal.SIGINT)
    assert stubborn.ends() == 0
    assert not stubborn.alive(child)


def test_nobody_reading_ends_everything(start: ANY) -> None:
    text = programs(("talks", "while True: print('x' * 1000, flush=True)"))[1]
    inner = f"import subprocess, sys; p = subprocess.Popen([sys.executable, '-c', {text!r}], stdout=subprocess.PIPE)\n"
    inner += "p.stdout.readline(); p.stdout.close(); print('code', p.wait(), flush=True)"
    done = start("-c", inner)
    assert done.ends() == 0
    assert "code" in done.output
