# SPDX-License-Identifier: Apache-2.0
"""The gate's watch on the way of the arm: what enters, depth that is lost, bad images, cameras that move."""

import dataclasses
import itertools
import math
import re
import threading
import time
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import numpy as np
import planned_offer
import pytest
from planning_scenes import CLEAR, depth_of_boxes
from sensor_msgs.msg import CameraInfo, Image, JointState
from tf2_msgs.msg import TFMessage
from waiting import DEADLINE

from spatial_vlm_ros import errors
from spatial_vlm_ros.manipulation.arm_kinematics import kinematics_of
from spatial_vlm_ros.manipulation.builtin_planner.known_arms import ARM_JOINTS, HOME, description_file
from spatial_vlm_ros.manipulation.occupancy.watching import IntrusionWatch
from spatial_vlm_ros.manipulation.pick_sequence import Offer
from spatial_vlm_ros.nodes import messages
from spatial_vlm_ros.nodes.arm import way_watch
from spatial_vlm_ros.nodes.arm.transform_watch import TransformWatch
from spatial_vlm_ros.nodes.arm.way_watch import Elapsed, WayWatch
from spatial_vlm_ros.parameters import GateConfig
from spatial_vlm_ros.sim.arm.worlds import wrist_camera
from spatial_vlm_ros.streams.transforms import SECOND
from spatial_vlm_ros.types import PinholeCamera, Transform

DEPTH, JOINTS, FINGERS = "/camera/depth/image", "/joint_states", "/gripper/joint_states"
WIDTH, HEIGHT, FOCAL, MIDDLE = 320, 240, 250.0, (159.5, 119.5)
SILENCE = 0.6  # s
PATIENT = 5.0  # s: where silence is not what is tested, a busy machine may pause the camera
MILLISECOND = 1_000_000
URDF = str(description_file())
Box = tuple[tuple[float, float, float], tuple[float, float, float]]


def remembered(make: Callable[..., Any]) -> Callable[..., Any]:
    """The function, which makes the same from the same objects once."""
    kept: dict[tuple[int, ...], Any] = {}

    def made(*words: Any) -> Any:
        key = tuple(map(id, words))
        if key not in kept:
            kept[key] = make(*words), words  # they live on, and their ids with them
        return kept[key][0]

    return made


@pytest.fixture(scope="module", autouse=True)
def prepared_once() -> Iterator[None]:
    """All watches are of the same motion: its space, which takes seconds, is the same."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("motion_of", "kinematics_of", "swept_space", "Hull"):
            patch.setattr(way_watch, name, remembered(getattr(way_watch, name)))
        yield


def planned_from() -> np.ndarray:
    """(4, 4) base_T_camera of the plan's image."""
    return planned_offer.matrix(planned_offer.SEEN.camera)


def depth(*more: Box, pose: np.ndarray | None = None) -> np.ndarray:
    """(H, W) float32 metres, from where `planned_offer.SEEN` was seen, or another pose; the arm is out of sight."""
    solids = [each.solid for each in (planned_offer.BLOCK, planned_offer.CUP, planned_offer.TRAY)]
    seen = [(np.subtract(s.centre, np.divide(s.size, 2)), np.add(s.centre, np.divide(s.size, 2))) for s in solids]
    lens = PinholeCamera(np.array([[FOCAL, 0, MIDDLE[0]], [0, FOCAL, MIDDLE[1]], [0, 0, 1]]), WIDTH, HEIGHT)
    return depth_of_boxes((*seen, *more), lens, planned_from() if pose is None else pose).astype(np.float32)


class Hearing:
    def __init__(self) -> None:
        self.heard: dict[str, Callable[[Any], None]] = {}

    def create_subscription(self, _: Any, topic: str, callback: Callable[[Any], None], __: Any) -> None:
        self.heard[topic] = callback


COMPOSER = messages.composer()


def transform(parent: str, child: str, stamp_ns: int, pose: np.ndarray) -> TFMessage:
    return COMPOSER.tf_message([COMPOSER.transform_stamped(Transform(parent, child, pose), stamp_ns)])


def swaying(stamp_ns: int) -> np.ndarray:
    """base_T_camera of a camera that goes 12 cm to and fro in 4 s."""
    pose = planned_from()
    pose[0, 3] += 0.12 * math.sin(math.tau * stamp_ns / 4e9)
    return pose


class Bench:
    """A watch, a camera at 25 images a second, and somebody who would stop the arm.

    The camera stands still, or is where `moves` (stamp → (4, 4) pose) says; with `mount` that is the hand, and the
    camera is fixed to it. TF tells where it is, unless `tf_lost`, `tf_late` images later.
    """

    def __init__(
        self, urdf: str = URDF, moves: Any = None, mount: Any = None, untold: bool = False, ahead_ns: int = 0, **of: Any
    ) -> None:
        self.node, self.stopped = Hearing(), threading.Event()
        self.moves, self.more, self.tf_lost, self.tf_late = moves, (), False, 0
        self._now, self._ahead, self.rate, self.images = 0, ahead_ns, 1.0, 0
        self._sent: list[TFMessage] = []
        self.transforms = TransformWatch(planned_offer.CONFIG.observation, now_ns=lambda: self._now - self._ahead)
        self._mount = mount
        if mount is not None:
            self.transforms.add(transform("panda_hand", "camera", 0, mount), static=True)
        if not untold and moves is None:
            self.transforms.add(transform("panda_link0", "camera", 0, planned_from()), static=True)
        self.words: list[str] = []
        given = {"watch_depth": DEPTH, "watch_silence": SILENCE, **of}
        self.holds = True
        hears: Any = self.node
        topics = [JOINTS, FINGERS]
        self.watch = WayWatch(hears, GateConfig(**given), topics, self.transforms, self._stop, lambda: self.holds)
        self.watch.prepare(self.offer(), planned_offer.CONFIG, urdf)
        self.image: np.ndarray | None = depth()
        self.frame, self.joints, self.behind, self.frozen = "camera", list(ARM_JOINTS), 0, False
        self.encoding, self.info_width, self.fx = "32FC1", WIDTH, FOCAL
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._send, daemon=True)
        self._thread.start()

    @staticmethod
    @cache
    def offer() -> Offer:
        made = planned_offer.offer()
        return dataclasses.replace(made, scene=dataclasses.replace(made.scene, occupancy=CLEAR))

    def _stop(self, words: str) -> None:
        self.words.append(words)
        self.stopped.set()

    def _send(self) -> None:
        last = 0
        for number in itertools.count(1000):
            stamp = number * 40 * MILLISECOND
            at = HOME.tolist()[: len(self.joints)]
            state = JointState(header=COMPOSER.header(stamp, ""), name=self.joints, position=at)
            self.node.heard[JOINTS](state)
            self._now = round(stamp * self.rate)
            if self.moves is not None:
                self._move(stamp, self.moves(stamp))
            image = self.image
            if image is not None:
                last = last if self.frozen else stamp - self.behind
                header = COMPOSER.header(last, self.frame)
                told = Image(header=header, height=HEIGHT, width=WIDTH, encoding=self.encoding,
                             step=WIDTH * image.itemsize, data=np.ascontiguousarray(image).tobytes())  # fmt: skip
                p = [FOCAL, 0.0, MIDDLE[0], 0.0, FOCAL, MIDDLE[1], 0.0, 0.0, 1.0]
                k = [self.fx, *p[1:4], self.fx, *p[5:]]
                info = CameraInfo(
                    header=told.header, height=HEIGHT, width=self.info_width, k=k, distortion_model="plumb_bob"
                )
                info.d, info.p = [0.0] * 5, [*p[:3], 0.0, *p[3:6], 0.0, *p[6:], 0.0]
                self.node.heard["/camera/depth/camera_info"](info)
                self.node.heard[DEPTH](told)
                self.images += 1
            if self._ends.wait(0.04):
                return

    def _move(self, stamp: int, pose: np.ndarray) -> None:
        self.image = depth(*self.more, pose=pose if self._mount is None else pose @ self._mount)
        self._sent.append(transform("panda_link0", "camera" if self._mount is None else "panda_hand", stamp, pose))
        if not self.tf_lost and len(self._sent) > self.tf_late:
            self.transforms.add(self._sent[-1 - self.tf_late], static=False)

    def end(self) -> None:
        self.watch.end()
        self._ends.set()
        self._thread.join()

    def clean(self, images: int) -> None:
        until, end = self.images + images, time.monotonic() + DEADLINE
        while self.images < until:
            assert time.monotonic() < end
            assert not self.stopped.wait(0.02), self.words
        assert not self.words

    def stops(self) -> str:
        assert self.stopped.wait(DEADLINE)
        return self.words[0]


Make = Callable[..., Bench]


@pytest.fixture
def make() -> Iterator[Make]:
    running: list[Bench] = []

    def begin(**options: Any) -> Bench:
        running.append(Bench(**options))
        return running[-1]

    yield begin
    for each in running:
        each.end()


def in_the_way() -> Box:
    x, y, _ = planned_offer.BLOCK.solid.centre
    return (x - 0.05, y - 0.2, 0.15), (x + 0.05, y - 0.08, 0.3)


ENTERED = "entered the arm's path at (0.4"


def test_a_clean_motion_is_not_stopped_and_what_enters_stops_it(make: Make) -> None:
    bench = make()
    bench.image = depth(in_the_way())
    with pytest.raises(errors.SceneChangedError, match="the path of the arm is not free"):
        bench.watch.begin()
    bench.image = depth()
    bench.watch.begin()
    bench.clean(30)
    bench.image = depth(in_the_way())
    assert ENTERED in bench.stops()
    bench.watch.end()
    assert len(bench.words) == 1


def test_depth_in_units_of_a_device_and_rectified_is_read_as_told(make: Make) -> None:
    bench = make(watch_depth_scale=0.0005, watch_rectified=True)
    bench.encoding, bench.fx = "16UC1", 2 * FOCAL
    bench.image = np.rint(depth() / 0.0005).astype(np.uint16)
    bench.watch.begin()
    bench.clean(15)
    bench.image = np.rint(depth(in_the_way()) / 0.0005).astype(np.uint16)
    assert ENTERED in bench.stops()


BLIND = np.full((HEIGHT, WIDTH), np.nan, np.float32)
LATE = int(3 * SILENCE * 1000) * MILLISECOND
LOST, UNWATCHED = "depth of the path was lost", "cannot be watched"


@pytest.mark.parametrize(
    ("fault", "error", "words", "kind"),
    [
        ({"image": None}, errors.DepthError, "no image arrives", LOST),
        ({"image": BLIND}, errors.DepthError, "covers only 0%", LOST),
        ({"behind": LATE}, errors.DepthError, "too old", LOST),
        ({"frozen": True}, None, "too old", LOST),
        ({"joints": list(ARM_JOINTS[:3])}, None, "no joint states", LOST),
        ({"frame": "wrist_camera"}, errors.InputError, "frame of the watched depth.*wrist_camera", UNWATCHED),
        ({"encoding": "rgb8"}, errors.SpatialVlmError, "lost its unit|8 bits|depth", UNWATCHED),
        ({"encoding": "deep"}, errors.SpatialVlmError, "encoding", UNWATCHED),
        ({"image": BLIND[:10]}, errors.SpatialVlmError, "data", UNWATCHED),
        ({"info_width": 2 * WIDTH}, errors.SpatialVlmError, "size of the", UNWATCHED),
    ],
    ids=["none", "blind", "late", "frozen", "joints", "frame", "colour", "encoding", "cut", "size"],
)
def test_depth_that_cannot_be_used_lets_nothing_begin_and_stops_a_motion(
    make: Make, fault: dict[str, Any], error: type[Exception] | None, words: str, kind: str
) -> None:
    bench = make()
    well = {name: vars(bench)[name] for name in fault}
    if error is not None:
        vars(bench).update(fault)
        with pytest.raises(error, match=words):
            bench.watch.begin()
        assert not bench.words
        vars(bench).update(well)
    bench.watch.begin()
    vars(bench).update(fault)
    told = bench.stops()
    assert re.search(words, told, re.DOTALL), told
    assert kind in told
    assert "report this" not in told, "a typed refusal"


def test_silence_passes_no_faster_than_the_nodes_clock_unless_it_stands_still(monkeypatch: pytest.MonkeyPatch) -> None:
    told, real = [100.0], [0.0]
    monkeypatch.setattr("spatial_vlm_ros.nodes.arm.way_watch.time.monotonic", lambda: real[0])

    def passes(silent: Elapsed, seconds: float, rate: float) -> float:
        """Real time until so much has passed, while the node's clock goes at a rate."""
        begun = real[0]
        while silent() < seconds:
            real[0] += 0.01
            told[0] += 0.01 * rate
        return real[0] - begun

    assert passes(Elapsed(lambda: told[0]), 0.2, 0.0) == pytest.approx(0.2, abs=0.02)  # it stands still: real time
    assert passes(Elapsed(lambda: told[0]), 0.1, 0.1) > 0.9
    jumps = Elapsed(lambda: told[0])
    for told[0] in (1000.0, 5.0, 2000.0):
        assert jumps() < 0.1


def test_a_slow_clock_that_is_not_the_arms_own_does_not_make_the_silence_longer(make: Make) -> None:
    bench = make()
    bench.rate = 0.001  # `use_sim_time` beside a bag, and an arm and a camera that stamp by real time
    bench.watch.begin()
    bench.image = None
    assert LOST in bench.stops()  # by the node's clock: after ten minutes


def test_what_fails_inside_the_watch_stops_the_arm(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = make()
    bench.watch.begin()

    def fails(*_: object) -> None:
        raise ZeroDivisionError("a fault of the package's own")

    monkeypatch.setattr("spatial_vlm_ros.nodes.arm.way_watch.decode_depth", fails)
    assert "ZeroDivisionError" in bench.stops()


@pytest.mark.parametrize("description", ["", "<robot/>"])
def test_an_arm_that_is_not_known_cannot_be_watched(description: str) -> None:
    with pytest.raises(errors.InputError, match="robot_description"):
        Bench(urdf=description)


def watch_of(node: Any, **given: Any) -> WayWatch:
    transforms = TransformWatch(planned_offer.CONFIG.observation)
    return WayWatch(node, GateConfig(**given), [JOINTS, FINGERS], transforms, lambda _: None, lambda: False)


def test_nothing_is_watched_where_that_is_not_wanted() -> None:
    node = Hearing()
    watch = watch_of(node)
    watch.prepare(Bench.offer(), planned_offer.CONFIG, "")
    watch.begin()
    watch.end()
    assert not node.heard


def test_joint_states_at_1_khz_and_those_of_the_gripper_reach_back_to_the_image() -> None:
    node = Hearing()
    watch = watch_of(node, watch_depth=DEPTH)
    for k in range(2000):
        header = COMPOSER.header(SECOND + k * MILLISECOND, "")
        node.heard[JOINTS](JointState(header=header, name=["a"], position=[k * 1e-3]))
        node.heard[FINGERS](JointState(header=header, name=["b"], position=[-k * 1e-3]))
    found = watch._joints_at(SECOND + 1300 * MILLISECOND, 1.0)
    assert found == {"a": pytest.approx(1.3, abs=0.005), "b": pytest.approx(-1.3, abs=0.005)}


def test_images_count_by_the_nodes_time_although_joint_states_are_as_old(make: Make) -> None:
    bench = make(ahead_ns=-int(2 * SILENCE * 1000) * MILLISECOND)
    with pytest.raises(errors.DepthError, match="the images are too old"):
        bench.watch.begin()


def test_the_target_is_taken_out_of_images_only_while_it_is_held(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[set[str]] = []
    look = IntrusionWatch.look

    def spy(watch: IntrusionWatch, *words: Any) -> Any:
        seen.append({link.name for link in words[-1]})
        return look(watch, *words)

    monkeypatch.setattr(IntrusionWatch, "look", spy)
    for holds in (False, True):
        seen.clear()
        bench = make()
        bench.holds = holds
        bench.watch.begin()
        bench.watch.end()
        assert seen
        assert all(("held" in links) == holds and "panda_hand" in links for links in seen)


def test_a_camera_that_moves_is_watched_from_where_it_is_also_where_tf_is_late(make: Make) -> None:
    bench = make(moves=swaying, watch_silence=PATIENT)
    bench.watch.begin()
    bench.clean(50)
    bench.tf_late = 1  # an image waits for the transform of its time
    bench.clean(20)
    bench.more = (in_the_way(),)
    assert ENTERED in bench.stops()


def test_the_pose_of_the_plan_does_not_do_for_a_camera_that_moves(make: Make) -> None:
    bench = make(moves=swaying, watch_silence=PATIENT)
    bench.tf_lost = True
    bench.transforms.add(transform("panda_link0", "camera", 0, planned_from()), static=True)
    try:
        bench.watch.begin()
    except errors.SceneChangedError as error:
        told = str(error)
    else:
        told = bench.stops()
    assert "something has entered the arm's path" in told


def test_without_the_pose_of_the_camera_nothing_begins(make: Make) -> None:
    bench = make(untold=True)
    words = "the pose of the camera is not known: nothing could be"
    with pytest.raises(errors.TransformUnavailableError, match=words) as told:
        bench.watch.begin()
    assert (told.value.parent, told.value.child) == ("panda_link0", "camera")
    assert "within 0.2 s of the image" in told.value.repair
    assert not bench.words
    ahead = make(moves=swaying, ahead_ns=500 * MILLISECOND)  # transforms from the future
    with pytest.raises(errors.ClockError, match=r"is stamped 0\.50 s ahead of now"):
        ahead.watch.begin()


@pytest.mark.parametrize("late", [0, 20])
def test_a_camera_whose_pose_is_lost_or_late_stops_a_motion(make: Make, late: int) -> None:
    bench = make(moves=swaying)
    bench.watch.begin()
    bench.tf_lost, bench.tf_late = not late, late
    told = bench.stops()
    assert "the path of the arm cannot be watched" in told
    assert "the pose of the camera is not known: nothing could be watched for 0.6 s" in told


def on_the_hand() -> np.ndarray:
    names = planned_offer.offer().plan.trajectories[0].joint_names
    motion = planned_offer.CONFIG.motion
    arm = kinematics_of(URDF, motion.planning_frame, motion.tip_link, names)
    poses, _ = arm.poses(dict(zip(ARM_JOINTS, HOME.tolist(), strict=True)))
    return poses[list(arm.vertices).index("panda_hand")]


def test_a_camera_on_the_arm_watches_where_it_sees_enough_for_the_silence_that_is_allowed(make: Make) -> None:
    hand, mount = on_the_hand(), wrist_camera().matrix
    blind = make(moves=lambda _: hand, mount=mount)
    words = r"the camera moves with panda_hand and does not see the path of the arm for \d\.\d s of the motion"
    with pytest.raises(errors.DepthError, match=words) as told:
        blind.watch.begin()
    assert "watch_silence is 0.6 s" in told.value.reason
    assert "raise watch_silence" in told.value.repair
    with pytest.raises(errors.DepthError, match=words):  # camera info has come: nobody is asked to approve this
        blind.watch.prepare(Bench.offer(), planned_offer.CONFIG, URDF)
    assert not blind.words
    bench = make(moves=lambda _: hand, mount=mount, watch_silence=9.0)
    bench.watch.begin()
    bench.clean(15)
    x, y, _ = (hand @ mount)[:3, 3]
    bench.more = (((x - 0.04, y - 0.04, 0.1), (x + 0.04, y + 0.04, 0.3)),)
    assert "something has entered the arm's path" in bench.stops()
