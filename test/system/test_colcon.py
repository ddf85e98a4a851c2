# SPDX-License-Identifier: Apache-2.0
"""Both packages build in a colcon workspace, copied and linked, what it installed runs, and `colcon test` tests it."""

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from live_graph import Graph
from live_scene import DETECTIONS, FRAME, SENTENCE
from waiting import DEADLINE

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]
SHIPPED = ("config", "executables", "interfaces", "launch", "models", "resource", "spatial_vlm_lab", "spatial_vlm_ros",
           "test", "worlds", "package.xml", "pyproject.toml", "setup.py", "setup.cfg", "README.md")  # fmt: skip
BOTH = ("--base-paths", "src", "src/spatial_vlm_ros/interfaces")


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    top = tmp_path_factory.mktemp("ws")
    source = top / "src" / "spatial_vlm_ros"
    source.mkdir(parents=True)
    for name in SHIPPED:
        path = ROOT / name
        if path.is_dir():
            shutil.copytree(path, source / name, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
        else:
            shutil.copy(path, source / name)
    return top


def colcon(workspace: Path, *words: str) -> str:
    own = {"AMENT_PREFIX_PATH": sys.prefix, "CMAKE_PREFIX_PATH": sys.prefix, "COLCON_HOME": str(workspace / "colcon")}
    done = subprocess.run(
        [sys.executable, "-m", "colcon", *words],
        cwd=workspace, env={**environment(), **own}, capture_output=True, text=True, timeout=30 * DEADLINE, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def build(workspace: Path, *words: str) -> None:
    cmake = ["-DBUILD_TESTING=OFF", f"-DCMAKE_PROJECT_INCLUDE={ROOT / 'scripts' / 'ros_wheels.cmake'}",
             f"-DPython3_EXECUTABLE={sys.executable}"]  # fmt: skip
    colcon(workspace, "build", *words, "--cmake-args", *cmake)


def run_sourced(workspace: Path, command: str, path: str = "") -> subprocess.CompletedProcess[str]:
    """A shell command after the workspace was sourced."""
    script = f". install/setup.sh && export PYTHONPATH={path}:$PYTHONPATH && {command}"
    return subprocess.run(["sh", "-c", script], cwd=workspace, env=environment(), capture_output=True, text=True,
                          timeout=4 * DEADLINE, check=False)  # fmt: skip


def environment() -> dict[str, str]:
    """That of a shell with this Python on its path, where nothing else was sourced."""
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTEST_ADDOPTS")}
    return {**kept, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}


def imported(workspace: Path) -> list[Path]:
    """Where both packages are imported from after the workspace was sourced."""
    names = ("spatial_vlm_interfaces", "spatial_vlm_ros")
    done = run_sourced(workspace, f"python -c 'import {', '.join(names)}; print({'.__file__, '.join(names)}.__file__)'")
    assert done.returncode == 0, done.stderr
    return [Path(path) for path in done.stdout.split()]


NODE = "install/spatial_vlm_ros/lib/spatial_vlm_ros/resolver"


def test_the_python_package_alone_builds_and_its_nodes_say_what_is_missing(workspace: Path, tmp_path: Path) -> None:
    build(workspace, "--base-paths", "src")
    assert not (workspace / "install" / "spatial_vlm_interfaces").exists()
    hidden = tmp_path / "spatial_vlm_interfaces"  # installed in this environment too: hide it
    hidden.mkdir()
    (hidden / "__init__.py").write_text(
        "raise ModuleNotFoundError(\"No module named 'spatial_vlm_interfaces'\", name='spatial_vlm_interfaces')\n"
    )
    done = run_sourced(workspace, NODE, str(tmp_path))
    assert done.returncode == 1, done.stdout + done.stderr
    assert "colcon build --base-paths src src/spatial_vlm_ros/interfaces" in done.stderr


def test_a_linked_install_follows_its_sources_and_can_be_copied_again(workspace: Path) -> None:
    build(workspace, *BOTH, "--symlink-install")
    source = workspace / "src" / "spatial_vlm_ros"
    installed = workspace / "install" / "spatial_vlm_ros"
    for name in ("share/spatial_vlm_ros/launch/sim.launch.py", "share/spatial_vlm_ros/package.xml",
                 "share/spatial_vlm_ros/models/compact/model.onnx", "lib/spatial_vlm_ros/resolver"):  # fmt: skip
        assert (installed / name).is_symlink(), name
        assert (installed / name).resolve().is_relative_to(source), name
    messages, package = imported(workspace)
    assert messages.is_relative_to(workspace / "install")
    assert package.resolve() == source / "spatial_vlm_ros" / "__init__.py"
    (source / "spatial_vlm_ros" / "_written_later.py").write_text('print("seen without a build")\n')
    done = run_sourced(workspace, "python -m spatial_vlm_ros._written_later && install/spatial_vlm_ros/lib/"
                       "spatial_vlm_ros/spatial-vlm up sim --print")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("seen without a build\n")
    assert "spatial_vlm_ros.nodes frame_player" in done.stdout
    (source / "spatial_vlm_ros" / "_written_later.py").unlink()
    build(workspace, "--base-paths", "src")
    assert not (installed / "lib" / "spatial_vlm_ros" / "resolver").is_symlink()
    assert imported(workspace)[1].is_relative_to(installed)


def test_both_packages_build_and_the_installed_node_runs(workspace: Path, graph: Graph, tmp_path: Path) -> None:
    build(workspace, *BOTH)
    share = workspace / "install" / "spatial_vlm_ros" / "share" / "spatial_vlm_ros"
    for name in ("launch/spatial_vlm.launch.py", "config/resolver.yaml", "config/fastdds_images.xml",
                 "launch/gazebo.launch.py", "config/gazebo_bridge.yaml", "worlds/chicks.sdf",
                 "worlds/meshes/cup_0.obj"):  # fmt: skip
        assert (share / name).is_file(), name
    assert {path.name for path in (share / "config" / "cameras").iterdir()} == {
        path.name for path in (ROOT / "config" / "cameras").iterdir()
    }
    assert all(path.is_relative_to(workspace / "install") for path in imported(workspace))
    log = tmp_path / "log.txt"
    with log.open("wb") as said:
        running = subprocess.Popen(
            ["sh", "-c", f". install/setup.sh && exec {NODE} --ros-args -p base_frame:=world"],
            cwd=workspace, env={**environment(), "ROS_DOMAIN_ID": str(graph.domain)}, stdout=said,
            stderr=subprocess.STDOUT,
        )  # fmt: skip
    try:
        graph.until(lambda: running.poll() is not None or "resolver is active" in log.read_text(), "it is active")
        assert running.poll() is None, log.read_text()
        graph.until(graph.client.server_is_ready, "the action is offered")
        graph.camera.tf(FRAME.base_T_camera, static=True)
        goal = graph.ask(SENTENCE, FRAME, DETECTIONS)
        assert goal.name == "OK", goal.result
        running.send_signal(signal.SIGINT)
        assert running.wait(DEADLINE) == 0, log.read_text()
        assert "Traceback" not in log.read_text()
    finally:
        running.kill()
        running.wait()


def test_colcon_test_runs_tests_and_tells_of_failures(workspace: Path) -> None:
    build(workspace, "--base-paths", "src")
    words = ("test", "--base-paths", "src", "--pytest-args", "test/language/test_words.py")
    colcon(workspace, *words)
    told = colcon(workspace, "test-result", "--all")
    assert re.search(r"spatial_vlm_ros/pytest.xml: [1-9]\d* tests, 0 errors, 0 failures", told), told
    broken = workspace / "src" / "spatial_vlm_ros" / "test" / "language" / "test_broken.py"
    broken.write_text("def test_nothing() -> None:\n    assert not 'this'\n")
    colcon(workspace, *words[:-1], "test/language/test_broken.py")
    with pytest.raises(AssertionError, match="1 test, 0 errors, 1 failure"):
        colcon(workspace, "test-result", "--all")
