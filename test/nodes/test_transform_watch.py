# SPDX-License-Identifier: Apache-2.0
"""What the gate's watch makes of transforms: a camera that jumps, a base that moves, and not knowing either."""

import threading
from contextlib import nullcontext
from typing import Any

import pytest
from geometry_msgs.msg import TransformStamped
from tables import rows
from tf2_msgs.msg import TFMessage

from spatial_vlm_ros import errors
from spatial_vlm_ros.errors import ClockError, InputError, SceneChangedError, TransformUnavailableError
from spatial_vlm_ros.nodes.arm.transform_watch import TransformWatch
from spatial_vlm_ros.nodes.messages import time_of
from spatial_vlm_ros.parameters import ObservationConfig
from spatial_vlm_ros.streams.frame_assembler import SECOND, stamp_of

MOBILE = ObservationConfig(fixed_frame="odom")
SOON = 0.02  # s of patience where nothing is going to come


def told(parent: str, child: str, stamp_ns: int, x: float = 0.0, turn: float = 0.0) -> TFMessage:
    message = TransformStamped()
    message.header.frame_id, message.child_frame_id = parent, child
    message.header.stamp = time_of(stamp_ns)
    message.transform.translation.x = x
    message.transform.rotation.z, message.transform.rotation.w = turn, (1.0 - turn**2) ** 0.5
    return TFMessage(transforms=[message])


def odom(seconds: float, x: float = 0.0, turn: float = 0.0) -> TFMessage:
    return told("odom", "base", int(seconds * SECOND), x, turn)


@pytest.fixture
def watch() -> TransformWatch:
    """A base at rest for four seconds; the first look was at 2 s."""
    watch = TransformWatch(MOBILE, SOON)
    watch.add(told("base", "camera", 0), static=True)
    for tenth in range(10, 41):
        watch.add(odom(tenth / 10, x=1.5), static=False)
    watch.follow("base", "camera", 2 * SECOND)
    return watch


def test_a_base_at_rest_may_be_acted_on(watch: TransformWatch) -> None:
    watch.check(2 * SECOND)
    watch.add(odom(4.1, x=1.504), static=False)  # noise
    watch.check(4 * SECOND)
    with pytest.raises(TransformUnavailableError, match=r"newest sample is 400\.0 ms before"):
        watch.check(int(4.5 * SECOND))  # odometry that fell silent is no rest


def test_a_clock_that_was_set_back_ends_what_runs_and_the_next_request_begins_anew(watch: TransformWatch) -> None:
    watch.time_jumped()
    with pytest.raises(errors.SourceChangedError, match="the clock was set back"):
        watch.check(4 * SECOND)
    watch.forget()
    for tenth in range(5, 16):  # a second later than the new beginning, and before all that was heard
        watch.add(odom(tenth / 10, x=7.0), static=False)
    watch.follow("base", "camera", SECOND)
    watch.check(SECOND)


@pytest.mark.parametrize(
    ("heard", "looks", "words"),
    [
        ([odom(4.5, 1.52)], (), r"moved by 0\.020 m"),
        ([odom(4.5, 1.5, 0.01)], (), r"1\.1°"),
        ([odom(4.5, 1.6), odom(5.0, 1.5)], (5.0,), "moved"),
        ([odom(4 + step / 10, 1.5 + 0.003 * step) for step in range(1, 5)], (4.1, 4.2, 4.3, 4.4), r"moved by 0\.006 m"),
    ],
    ids=["it moved", "it turned", "it came back", "each step within the limit"],
)
def test_a_base_that_moved_since_the_first_look_is_named_with_how_far_until_a_new_request(
    watch: TransformWatch, heard: list[TFMessage], looks: tuple[float, ...], words: str
) -> None:
    watch.check(2 * SECOND)
    for message in heard:
        watch.add(message, static=False)
    for look in looks:
        watch.follow("base", "camera", int(look * SECOND))
    with pytest.raises(SceneChangedError, match=f"the base .*{words}") as caught:
        watch.check(4 * SECOND)
    assert (caught.value.what, caught.value.status_name) == ("the base", "SCENE_CHANGED")
    watch.forget()
    last = stamp_of(heard[-1].transforms[0])
    watch.follow("base", "camera", last)
    watch.check(last)


WATCHED = [pytest.param(*row, id=name) for name, *row in rows(__file__, "watched_transforms")]


@pytest.mark.parametrize(("fixed", "events", "error", "words"), WATCHED)
def test_what_was_heard_since_the_first_look_is_judged(fixed: str, events: list[Any], error: str, words: str) -> None:
    watch = TransformWatch(ObservationConfig(fixed_frame=fixed), SOON)
    refusal = pytest.raises(getattr(errors, error), match=words) if error else nullcontext()
    for number, (event, *given) in enumerate(events, 1):
        if event == "follow":
            watch.follow("base", "camera", int(given[0] * SECOND))
        elif event == "check":
            with refusal if number == len(events) else nullcontext():
                watch.check(int(given[0] * SECOND))
        else:
            parent, child, seconds, x = given
            watch.add(told(parent, child, int(seconds * SECOND), x), static=event == "static")


def test_odometry_that_comes_late_is_awaited() -> None:
    watch = TransformWatch(MOBILE, patience=30.0)
    watch.add(odom(1.0), static=False)
    watch.follow("base", "camera", 2 * SECOND)
    late = threading.Thread(target=watch.add, args=(odom(2.1), False))
    late.start()
    watch.check(2 * SECOND)
    late.join()


def test_the_newest_transforms_are_refused_once_nothing_comes_any_more() -> None:
    now = [1 * SECOND]
    watch = TransformWatch(MOBILE, SOON, lambda: now[0])
    watch.add(odom(1.0, x=1.5), static=False)
    assert watch.latest("odom", "base").translation[0] == 1.5
    now[0] += int((MOBILE.max_age + 0.1) * SECOND)
    with pytest.raises(TransformUnavailableError, match=r"the newest one is .* s old. Check that the arm's TF"):
        watch.latest("odom", "base")


@pytest.mark.parametrize("base", ["odom", "/odom"])
def test_a_base_does_not_stand_still_against_itself(base: str) -> None:
    with pytest.raises(InputError, match=r"observation\.fixed_frame"):
        TransformWatch(MOBILE, SOON).follow(base, "camera", SECOND)


def test_transforms_of_a_clock_that_is_ahead_are_refused_until_it_is_set_right() -> None:
    now = [4 * SECOND]
    watch = TransformWatch(MOBILE, SOON, lambda: now[0])
    watch.add(told("base", "camera", 0), static=True)
    watch.follow("base", "camera", 4 * SECOND)
    for tenth in range(35, 50):
        now[0] = tenth * SECOND // 10
        watch.add(odom(tenth / 10 + 0.3), static=False)
    with pytest.raises(ClockError, match=r"/tf odom <- base is stamped 0\.30 s ahead of now") as refused:
        watch.check(5 * SECOND)
    assert refused.value.ahead == pytest.approx(0.3)
    now[0] = 53 * SECOND // 10
    watch.add(odom(5.3), static=False)
    watch.check(5 * SECOND)


def test_the_pose_of_a_camera_is_that_of_the_time_of_its_image() -> None:
    watch = TransformWatch(ObservationConfig(), SOON)
    watch.add(told("hand", "camera", 0, x=0.25), static=True)
    for tenth in range(11):
        watch.add(told("base", "hand", SECOND + tenth * SECOND // 10, x=float(tenth)), static=False)
    assert watch.pose("base", "camera", SECOND + SECOND // 4).translation[0] == pytest.approx(2.75)
    with pytest.raises(TransformUnavailableError) as late:
        watch.pose("base", "camera", 3 * SECOND)
    with pytest.raises(TransformUnavailableError) as past:
        watch.pose("base", "camera", SECOND // 2)
    assert (late.value.may_come, past.value.may_come) == (True, False)


def test_the_pose_of_a_camera_by_a_clock_that_runs_ahead_is_refused() -> None:
    watch = TransformWatch(ObservationConfig(), SOON, lambda: 2 * SECOND)
    for tenth in range(11):
        watch.add(told("base", "camera", 5 * SECOND + tenth * SECOND // 10), static=False)
    with pytest.raises(ClockError, match="ahead of now"):
        watch.pose("base", "camera", 5 * SECOND)


def test_a_camera_on_the_arm_is_known_by_the_link_that_it_is_fixed_to() -> None:
    watch = TransformWatch(ObservationConfig(), SOON)
    links = ("base", "forearm", "hand")
    with pytest.raises(TransformUnavailableError):
        watch.mount("base", "camera", links)
    for parent, child in (("base", "forearm"), ("forearm", "wrist")):
        watch.add(told(parent, child, SECOND), static=False)
    watch.add(told("wrist", "hand", 0, x=0.1), static=True)
    watch.add(told("wrist", "camera", 0, x=0.25), static=True)
    mount = watch.mount("base", "camera", links)
    assert (mount.parent, mount.child) == ("hand", "camera")
    assert mount.translation[0] == pytest.approx(0.15)
    assert watch.mount("base", "camera", ("base", "forearm")) is None, "what it is fixed to is not known"
    watch.add(told("base", "other_camera", 0), static=True)
    assert watch.mount("base", "other_camera", links) is None, "it stands still"
