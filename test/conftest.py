# SPDX-License-Identifier: Apache-2.0
"""Shared fixtures: a camera, a table to put objects on and ask about, and the folder of real frames."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import gc
import importlib.util
import os
import shutil
import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

# Before any import of NumPy or torch: threads that wait for each other spin, and cost minutes where a core is busy.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from leftovers import end_leftovers
from waiting import SLOWNESS

from spatial_vlm_ros.errors import ModelError
from spatial_vlm_ros.geometry.camera import normalised_grid
from spatial_vlm_ros.geometry.lift import build_scene
from spatial_vlm_ros.parameters import DepthConfig, LiftConfig, ResolverConfig
from spatial_vlm_ros.resolver import Resolver
from spatial_vlm_ros.sim.physics import load_mujoco
from spatial_vlm_ros.sim.tabletop import Body, Box, Cup, Cylinder, Rendering, Sphere, World, look_at, render
from spatial_vlm_ros.types import Detection, Mask, PinholeCamera, Resolution, RgbdFrame, Scene, SceneObject, Vector3

# A test that imports MuJoCo in its own way would settle how MuJoCo's renderer draws: off screen, as the package has it.
if importlib.util.find_spec("mujoco") is not None:
    with contextlib.suppress(ModelError):
        load_mujoco()

# A run that a script starts in the background ignores SIGINT. Every process it starts would, too, and Ctrl-C is tested.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Where a change is judged, the examples are the same for everyone; elsewhere they are drawn anew each time. How long
# drawing them takes tells of the machine alone.
settings.register_profile("anywhere", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("anywhere"), derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "anywhere")

REAL_FRAMES_VARIABLE = "SPATIAL_VLM_REAL_RGBD"
REAL_FRAMES_DEFAULT = Path(__file__).parents[2] / "shared" / "data" / "real_rgbd"
SHARED, LEAST_SHARED = Path("/dev/shm"), 16  # noqa: S108  # MiB: where it is full, Fast DDS ends by SIGBUS
EYE: Vector3 = (0.0, -0.9, 0.6)
TARGET: Vector3 = (0.0, 0.0, 0.03)


@dataclasses.dataclass(frozen=True)
class Tabletop:
    """Puts bodies on a table, looks at them, and asks. World: z up, x to the camera's right, y away from it."""

    camera: PinholeCamera

    def block(
        self,
        id_: str,
        x: float,
        y: float,
        size: Vector3 = (0.05, 0.05, 0.05),
        label: str = "block",
        z: float = 0.0,
        colour: str = "red",
        yaw: float = 0.0,
    ) -> Body:
        return Body(id_, label, Box(size), (x, y, z), colour, yaw)

    def can(self, id_: str, x: float, y: float, radius: float = 0.035, height: float = 0.1, label: str = "can",
            z: float = 0.0, colour: str = "blue") -> Body:  # fmt: skip
        return Body(id_, label, Cylinder(radius, height), (x, y, z), colour)

    def cup(self, id_: str, x: float, y: float, radius: float = 0.04, height: float = 0.1, label: str = "cup",
            z: float = 0.0, colour: str = "green") -> Body:  # fmt: skip
        return Body(id_, label, Cup(radius, height), (x, y, z), colour)

    def ball(self, id_: str, x: float, y: float, radius: float = 0.035, label: str = "ball", z: float = 0.0,
             colour: str = "yellow") -> Body:  # fmt: skip
        return Body(id_, label, Sphere(radius), (x, y, z), colour)

    def see(self, *bodies: Body, eye: Vector3 = EYE, target: Vector3 = TARGET, roll_deg: float = 0.0, stamp_ns: int = 0,
            **world: Any) -> Rendering:  # fmt: skip
        """The bodies as seen from `eye`; `roll_deg` turns the camera about its optical axis."""
        pose = look_at(eye, target)
        c, s = np.cos(np.radians(roll_deg)), np.sin(np.radians(roll_deg))
        rolled = pose.matrix.copy()
        rolled[:3, :3] = pose.rotation @ np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
        return render(World(bodies, **world), self.camera, dataclasses.replace(pose, matrix=rolled), stamp_ns)

    @staticmethod
    def pitched(pitch_deg: float, distance: float = 0.95) -> Vector3:
        """An eye that looks at the middle of the table at `pitch_deg` downwards."""
        pitch = np.radians(pitch_deg)
        return 0.0, -distance * float(np.cos(pitch)), distance * float(np.sin(pitch))

    @staticmethod
    def heights(seen: Rendering) -> np.ndarray:
        """(H, W) metres of each pixel over the table; NaN where there is no depth."""
        grid, depth = normalised_grid(seen.frame.camera), seen.frame.depth.astype(np.float64)[..., None]
        return seen.frame.base_T_camera.apply(np.concatenate((grid * depth, depth), axis=2))[..., 2]

    @staticmethod
    def of_mask(label: str, mask: Mask, id_: str | None = None) -> Detection:
        """A detection whose box is around its mask."""
        rows, columns = np.nonzero(mask)
        box = (float(columns.min()), float(rows.min()), float(columns.max() + 1), float(rows.max() + 1))
        return Detection(id_ or label, label, 0.9, box, mask)

    @staticmethod
    def boxes_only(detections: Sequence[Detection]) -> tuple[Detection, ...]:
        return tuple(dataclasses.replace(d, mask=None) for d in detections)

    @staticmethod
    def without_pose(frame: RgbdFrame, up: Any = None) -> RgbdFrame:
        """The frame of a camera that does not know where it is, but for `up`."""
        return dataclasses.replace(frame, base_T_camera=None, up=up)

    @staticmethod
    def lift(seen: Rendering, detections: Sequence[Detection] | None = None, frame: RgbdFrame | None = None) -> Scene:
        given = seen.detections if detections is None else detections
        return build_scene(frame or seen.frame, given, DepthConfig(), LiftConfig())

    def lift_one(self, *bodies: Body, **view: Any) -> tuple[SceneObject, Scene, Rendering]:
        """The first body's object, its scene, and the truth."""
        seen = self.see(*bodies, **view)
        scene = self.lift(seen)
        return next(o for o in scene.objects if o.id == bodies[0].id), scene, seen

    @staticmethod
    def ask(seen: Rendering, words: str, detections: Sequence[Detection] | None = None, frame: RgbdFrame | None = None,
            config: ResolverConfig | None = None, **request: Any) -> Resolution:  # fmt: skip
        given = seen.detections if detections is None else detections
        return Resolver(config).resolve(frame or seen.frame, words, given, **request)


@pytest.fixture(scope="session")
def camera() -> PinholeCamera:
    """A rectified 640x480 camera with a view of 56° by 44°."""
    return PinholeCamera(np.array([[600.0, 0, 319.5], [0, 600, 239.5], [0, 0, 1]]), 640, 480)


@pytest.fixture(scope="session")
def tabletop(camera: PinholeCamera) -> Tabletop:
    return Tabletop(camera)


@pytest.fixture(scope="session")
def real_frames() -> Path:
    """The folder of real RGB-D frames; tests that use it are marked `real_frames` and skipped where it is absent."""
    folder = Path(os.environ.get(REAL_FRAMES_VARIABLE) or REAL_FRAMES_DEFAULT)
    if not (folder / "cases.jsonl").is_file():
        pytest.skip(f"real RGB-D frames not found at {folder}; set {REAL_FRAMES_VARIABLE}")
    return folder


REQUIRED = {
    "ROS": ("of the live nodes", "ros", "rclpy"),
    "MODELS": (
        *("of models", "models"),
        "torch transformers tokenizers onnxruntime onnxscript accelerate fastapi uvicorn openai",
    ),
    "ARM": ("of the arm", "sim arm", "pinocchio coal ompl daqp mujoco"),
    "SCALE": ("of stores", "scale", "pyarrow fsspec s3fs moto mcap"),
    "DOCS": ("of the site", "docs", "sphinx myst_parser pydata_sphinx_theme"),
    "BROWSER": ("in a browser", "web browser", "starlette uvicorn jinja2 selenium chromium chromedriver axe-core"),
}
"""What SPATIAL_VLM_REQUIRE_… requires: which tests need it, parts of scripts/setup.sh, packages and programs."""


def axe_core() -> Path | None:
    """The accessibility rules that scripts/setup.sh has fetched, or None."""
    found = sorted(Path(sys.prefix).glob("share/axe-core-*/axe.min.js"))
    return found[-1] if found else None


def _is_there(name: str) -> bool:
    if name == "axe-core":
        return axe_core() is not None
    return (shutil.which if name.startswith("chrom") else importlib.util.find_spec)(name) is not None


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    from approval_browser import Browser

    browser = Browser()
    yield browser
    browser.close()


@pytest.fixture
def browser(chromium: Any) -> Any:
    chromium.forget()
    return chromium


@pytest.fixture(scope="session")
def axe_script() -> str:
    path = axe_core()
    if path is None:
        pytest.skip("axe-core is not here: scripts/setup.sh browser")
    return path.read_text(encoding="utf-8")


def _missing() -> Iterator[tuple[str, str]]:
    for variable, (subject, parts, needed) in REQUIRED.items():
        missing = [name for name in needed.split() if not _is_there(name)]
        if missing:
            yield variable, f"tests {subject} need {', '.join(missing)}: scripts/setup.sh test {parts}"


def pytest_configure(config: pytest.Config) -> None:
    for variable, words in _missing():
        if os.environ.get(f"SPATIAL_VLM_REQUIRE_{variable}"):
            raise pytest.UsageError(words)
    config.addinivalue_line("markers", "real_frames: needs the folder of real RGB-D frames")
    if not hasattr(config, "workerinput"):
        end_leftovers()
        free = shutil.disk_usage(SHARED).free >> 20 if SHARED.exists() else LEAST_SHARED
        if free < LEAST_SHARED:
            cleaning = "scripts/test.sh removes what killed nodes left there"
            raise pytest.UsageError(f"tests need {LEAST_SHARED} MiB of {SHARED}, and {free} are free: {cleaning}")


def pytest_report_header() -> str:
    return f"deadlines of tests that wait: {SLOWNESS:.1f} times as long as on the idle machine they were chosen on"


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Modules and tests live to the end: the garbage collector goes through them neither while they are collected nor
    during the tests, where each pass would take as long as a hundred small tests."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.freeze()
        gc.set_threshold(20_000, 20, 20)  # not after every 700 new objects


def pytest_unconfigure() -> None:
    gc.unfreeze()


LIVE_FOLDERS = ("labelling_page", "launcher", "nodes", "nodes_arm", "perception/backends", "sim_arm", "system", "vlm")
"""All tests of these are marked `live`: their subject is a live graph, a browser, a launch file, an arm or a model."""
STARTING = ("subprocess.Popen", "os.fork", "os.forkpty", "os.posix_spawn")


@functools.cache
def _is_live(path: Path) -> bool:
    return any(path.is_relative_to(Path(__file__).parent / folder) for folder in LIVE_FOLDERS)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """What a tier leaves out as a whole is not even imported."""
    wanted, is_live = config.option.markexpr, _is_live(collection_path)
    if "not live" in wanted:
        return True if is_live else None
    if wanted.startswith("live") and not is_live and collection_path.match("test_*.py"):
        return None if "mark.live" in collection_path.read_text(encoding="utf-8") else True
    return None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "real_frames" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.real_frames)
        if _is_live(item.path):
            item.add_marker(pytest.mark.live)


class Started:
    """Programs that the test that runs now has started."""

    programs: list[str] = []  # noqa: RUF012


def _heard(event: str, arguments: tuple[Any, ...]) -> None:
    if event in STARTING:
        Started.programs.append(str(arguments[0]) if arguments else event)


sys.addaudithook(_heard)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol() -> Iterator[None]:
    Started.programs.clear()
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Iterator[None]:
    yield
    if Started.programs and item.get_closest_marker("live") is None and item.get_closest_marker("slow") is None:
        pytest.fail(f"a test that starts a process ({Started.programs[0]}) is marked live", pytrace=False)


WHOLE_ARMS = {
    "test_demo_arm.py", "test_fault_controllers.py", "test_free_words_live.py", "test_pick_launched.py",
    "test_planner_gate.py", "test_stopping.py", "test_way_watch_live.py",
}  # fmt: skip
"""Files that simulate an arm beside resolver, planner and gate: each takes two cores, so one worker runs them all."""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    from xdist.scheduler import LoadFileScheduling

    class OneArmAtATime(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file: str = super()._split_scope(nodeid)
            return "arm" if Path(file).name in WHOLE_ARMS else file

    return OneArmAtATime(config, log) if config.getvalue("dist") == "loadfile" else None


def pytest_terminal_summary(terminalreporter: Any) -> None:
    for _, words in _missing():
        terminalreporter.write_line(words)
    passed, failed, skipped = (
        sum("real_frames" in getattr(report, "keywords", ()) for report in terminalreporter.stats.get(outcome, ()))
        for outcome in ("passed", "failed", "skipped")
    )
    if passed or failed or skipped:
        terminalreporter.write_line(f"real frames: {passed + failed} tests ran, {skipped} were skipped")
