# SPDX-License-Identifier: Apache-2.0
"""Transforms of /tf and /tf_static: poses between any two frames at any time, or why there is none yet."""

import math
import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from geometry_msgs.msg import TransformStamped
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.spatial.transform import Rotation, Slerp
from tables import tables
from waiting import DEADLINE

from spatial_vlm_ros.errors import InputError, TransformError, TransformUnavailableError
from spatial_vlm_ros.streams.transforms import SECOND, TransformBuffer

TABLES = tables(__file__)
NONE = (0.0, 0.0, 0.0, 1.0)
QUARTER_TURN = (0.0, 0.0, math.sqrt(0.5), math.sqrt(0.5))  # about z
T0 = 1_700_000_000 * SECOND  # a time of today: its nanoseconds do not fit into a float


def moving(*stamps: int, parent: str = "base", child: str = "arm") -> TransformBuffer:
    buffer = TransformBuffer()
    for stamp in stamps:
        buffer.add(parent, child, stamp, ((stamp - T0) / SECOND, 0, 0), NONE)
    return buffer


def x_of(buffer: TransformBuffer, stamp: int | None, target: str = "base", source: str = "arm") -> float:
    return float(buffer.lookup(target, source, stamp).translation[0])


def refusal(buffer: TransformBuffer, target: str, source: str, stamp: int | None = None) -> TransformUnavailableError:
    with pytest.raises(TransformUnavailableError) as caught:
        buffer.lookup(target, source, stamp)
    return caught.value


def test_a_lookup_maps_the_source_to_the_target() -> None:
    buffer = TransformBuffer()
    buffer.add("base", "camera", 0, (1, 2, 3), QUARTER_TURN, static=True)
    base_T_camera = buffer.lookup("base", "camera")
    assert (base_T_camera.parent, base_T_camera.child) == ("base", "camera")
    np.testing.assert_allclose(base_T_camera.apply(np.array([1.0, 0, 0])), [1, 3, 3], atol=1e-12)
    np.testing.assert_allclose(buffer.lookup("camera", "base").apply(np.array([1.0, 3, 3])), [1, 0, 0], atol=1e-12)
    np.testing.assert_array_equal(buffer.lookup("nowhere", "/nowhere", T0).matrix, np.eye(4))
    assert buffer.latest_stamp("nowhere", "nowhere") is None
    # Two branches meet at the frame above both: right lies 2 m along -y of left, whose x axis is base's y axis.
    buffer.add("base", "left", 0, (0, 1, 0), tuple(1.004 * x for x in QUARTER_TURN), static=True)  # norm made exact
    buffer.add("/base", "/right", 0, (0, -1, 0), NONE, static=True)  # leading slashes are dropped
    np.testing.assert_allclose(buffer.lookup("left", "/right").translation, [-2, 0, 0], atol=1e-12)
    np.testing.assert_allclose(buffer.lookup("base", "left").rotation, [[0, -1, 0], [1, 0, 0], [0, 0, 1]], atol=1e-15)
    assert buffer.frames() == {"camera": "base", "left": "base", "right": "base"}


@st.composite
def trees(draw: st.DrawFn) -> tuple[list[int], np.ndarray, np.ndarray]:
    n = draw(st.integers(1, 8))
    parents = [draw(st.integers(0, i)) for i in range(n)]
    numbers = draw(hnp.arrays(np.float64, (n, 2, 7), elements=st.floats(-1, 1, width=32)))
    quaternions, translations = numbers[..., :4].copy(), numbers[..., 4:]
    quaternions[np.linalg.norm(quaternions, axis=-1) < 0.1] = NONE
    return parents, quaternions / np.linalg.norm(quaternions, axis=-1, keepdims=True), translations * 5


@given(trees(), st.integers(0, SECOND), st.data())
def test_every_lookup_agrees_with_scipy_and_a_product_of_matrices(tree: Any, after: int, data: st.DataObject) -> None:
    parents, quaternions, translations = tree
    buffer = TransformBuffer()
    root_T = [np.eye(4)]
    share = after / SECOND
    for i, parent in enumerate(parents):
        for j, stamp in enumerate((T0, T0 + SECOND)):
            buffer.add(f"f{parent}", f"f{i + 1}", stamp, translations[i, j].tolist(), quaternions[i, j].tolist())
        pose = np.eye(4)
        between = Rotation.from_quat(quaternions[i, 0]).inv() * Rotation.from_quat(quaternions[i, 1])
        if between.magnitude() > math.pi - 1e-3:  # both ways round are as long: either is right
            return
        pose[:3, :3] = Slerp([0, 1], Rotation.from_quat(quaternions[i]))(share).as_matrix()
        pose[:3, 3] = (1 - share) * translations[i, 0] + share * translations[i, 1]
        root_T.append(root_T[parent] @ pose)
    a, b = (data.draw(st.integers(0, len(parents))) for _ in range(2))
    found = buffer.lookup(f"f{a}", f"f{b}", T0 + after)
    np.testing.assert_allclose(found.matrix, np.linalg.inv(root_T[a]) @ root_T[b], atol=1e-9)
    R = found.rotation
    np.testing.assert_allclose(R @ R.T, np.eye(3), atol=1e-12)


def test_between_two_samples_the_pose_is_interpolated_to_the_nanosecond() -> None:
    buffer = moving(T0, T0 + SECOND)
    assert x_of(buffer, T0 + SECOND // 4) == pytest.approx(0.25, abs=1e-15)
    assert x_of(buffer, T0 + 1) == pytest.approx(1e-9, abs=1e-20)
    buffer.add("arm", "camera", 5, (0, 0, 1), NONE, static=True)  # holds at all times
    np.testing.assert_allclose(buffer.lookup("base", "camera", T0 + SECOND // 2).translation, [0.5, 0, 1])
    assert buffer.lookup("arm", "camera", 1).translation[2] == 1
    buffer.add("base", "arm", T0, (9, 0, 0), NONE)  # replaces the one at the same stamp
    assert x_of(buffer, T0) == 9
    assert x_of(moving(T0 + 3 * SECOND, T0, T0 + 2 * SECOND), T0 + 5 * SECOND // 2) == pytest.approx(2.5)


@given(st.floats(1e-12, 1e-3), st.floats(0, 1))
def test_tiny_rotations_are_interpolated_as_exactly_as_large_ones(angle: float, share: float) -> None:
    buffer = TransformBuffer()
    buffer.add("base", "arm", T0, (0, 0, 0), NONE)
    buffer.add("base", "arm", T0 + SECOND, (0, 0, 0), (0, 0, math.sin(angle / 2), math.cos(angle / 2)))
    after = int(share * SECOND)
    expected = pytest.approx(math.sin(angle * after / SECOND), rel=1e-9, abs=1e-18)
    assert buffer.lookup("base", "arm", T0 + after).rotation[1, 0] == expected


def test_the_future_may_come_and_the_past_may_not() -> None:
    single = moving(T0)
    assert x_of(single, T0) == 0
    assert refusal(single, "base", "arm", T0 + 1).may_come
    assert not refusal(single, "base", "arm", T0 - 1).may_come
    buffer = moving(T0, T0 + SECOND)
    future = refusal(buffer, "base", "arm", T0 + SECOND + 5_000_000)
    assert (future.may_come, future.is_past) == (True, False)
    assert "5.0 ms before" in str(future)
    past = refusal(buffer, "base", "arm", T0 - 5_000_000)
    assert (past.may_come, past.is_past) == (False, True)
    assert (past.advising("look").may_come, past.advising("look").is_past) == (False, True)
    assert "5.0 ms after" in str(past)
    buffer.add("base", "head", T0 + 9 * SECOND, (0, 0, 0), NONE)
    for target, source in (("arm", "head"), ("head", "arm")):  # of two missing edges the one that may come is named
        assert refusal(buffer, target, source, T0 + 2 * SECOND).may_come


@pytest.mark.parametrize("stamp", [None, 0])
def test_without_a_stamp_the_latest_time_that_all_edges_know_counts(stamp: int | None) -> None:
    buffer = moving(T0, T0 + SECOND)
    for at in (T0, T0 + 4 * SECOND):
        buffer.add("arm", "hand", at, (0, (at - T0) / SECOND, 0), NONE)
    buffer.add("hand", "camera", 0, (0, 0, 1), NONE, static=True)
    np.testing.assert_allclose(buffer.lookup("base", "camera", stamp).translation, [1, 1, 1])  # at T0 + 1 s
    assert buffer.latest_stamp("base", "camera") == T0 + SECOND
    assert buffer.latest_stamp("arm", "hand") == T0 + 4 * SECOND
    assert buffer.latest_stamp("hand", "camera") is None


def test_an_edge_above_the_common_frame_needs_no_sample() -> None:
    buffer = moving(T0, T0 + SECOND, parent="base", child="arm")
    buffer.add("arm", "hand", 0, (1, 0, 0), NONE, static=True)
    buffer.add("arm", "camera", 0, (3, 0, 0), NONE, static=True)
    assert x_of(buffer, T0 + 60 * SECOND, "hand", "camera") == 2
    assert x_of(buffer, T0 + 60 * SECOND, "arm", "camera") == 3


def test_a_fixed_frame_connects_two_times() -> None:
    buffer = moving(T0, T0 + SECOND, parent="odom", child="base")
    buffer.add("base", "camera", 0, (0, 0, 1), NONE, static=True)
    # The base drove 1 m between the two stamps: what the camera saw then is 1 m behind now.
    moved = buffer.lookup_via("base", T0 + SECOND, "camera", T0, "odom")
    assert (moved.parent, moved.child) == ("base", "camera")
    np.testing.assert_allclose(moved.translation, [-1, 0, 1])
    with pytest.raises(TransformUnavailableError, match="nowhere"):
        buffer.lookup_via("base", T0, "camera", T0, "nowhere")


@given(st.lists(st.integers(0, 30), min_size=1, max_size=30))
def test_any_order_of_arrival_gives_what_the_kept_samples_say(seconds: list[int]) -> None:
    buffer = TransformBuffer(cache_ns=10 * SECOND)
    kept: dict[int, int] = {}
    for number, second in enumerate(seconds):
        try:
            buffer.add("base", "arm", T0 + second * SECOND, (number, 0, 0), NONE)
        except InputError as error:
            assert second < max(kept) - 10
            assert "older than the cache" in str(error)  # noqa: PT017
            continue
        kept[second] = number
        kept = {s: n for s, n in kept.items() if s >= max(kept) - 10}
    for second in range(31):
        if min(kept) <= second <= max(kept):
            expected = np.interp(second, sorted(kept), [kept[s] for s in sorted(kept)])
            assert x_of(buffer, T0 + second * SECOND) == pytest.approx(expected)
        else:
            assert refusal(buffer, "base", "arm", T0 + second * SECOND).may_come == (second > max(kept))


def test_after_a_jump_of_time_only_static_transforms_are_kept() -> None:
    buffer = moving(T0, T0 + SECOND)
    buffer.add("arm", "camera", 0, (0, 0, 1), NONE, static=True)
    buffer.clear()
    assert buffer.frames() == {"camera": "arm"}
    assert refusal(buffer, "base", "arm").may_come
    buffer.add("base", "arm", 5, (4, 0, 0), NONE)
    assert x_of(buffer, 5) == 4


def test_a_child_has_one_parent_at_a_time_and_is_not_interpolated_between_two() -> None:
    buffer = moving(T0, T0 + SECOND, parent="table", child="cup")
    buffer.add("hand", "cup", T0 + 2 * SECOND, (7, 0, 0), NONE)
    assert x_of(buffer, T0 + SECOND // 2, "table", "cup") == 0.5
    assert x_of(buffer, T0 + 3 * SECOND // 2, "table", "cup") == 1  # as tf2: the older sample holds
    buffer.add("hand", "cup", T0 + 3 * SECOND, (8, 0, 0), NONE)
    assert x_of(buffer, T0 + 2 * SECOND, "hand", "cup") == 7
    assert "not connected" in str(refusal(buffer, "table", "cup", T0 + 2 * SECOND))
    assert buffer.frames() == {"cup": "hand"}


def test_a_child_is_static_or_moving_as_it_was_published_last() -> None:
    buffer = moving(T0, T0 + SECOND)
    buffer.add("base", "arm", 0, (9, 0, 0), NONE, static=True)
    assert x_of(buffer, T0 - SECOND) == 9
    buffer.add("mast", "arm", 0, (8, 0, 0), NONE, static=True)
    assert x_of(buffer, T0, "mast", "arm") == 8
    buffer.add("base", "arm", T0, (1, 0, 0), NONE)
    assert x_of(buffer, T0) == 1
    assert refusal(buffer, "base", "arm", T0 - SECOND)


def test_an_unknown_frame_is_named_with_a_few_of_those_that_are_known() -> None:
    error = refusal(moving(T0), "base", "camera", T0)
    assert error.may_come
    assert "'camera'" in str(error)
    assert "arm, base" in str(error)
    assert "none yet" in str(refusal(TransformBuffer(), "base", "camera"))
    with pytest.raises(TransformUnavailableError, match="none yet"):
        TransformBuffer().latest_stamp("base", "camera")
    buffer = TransformBuffer()
    for i in range(100):
        buffer.add("base", f"f{i:03}", 0, (0, 0, 0), NONE, static=True)
    assert "and 93 more" in str(refusal(buffer, "base", "camera"))


@pytest.mark.parametrize("name", ["", "/", None])
def test_what_cannot_be_asked_is_refused(name: Any) -> None:
    for ask in (moving(T0).lookup, moving(T0).latest_stamp):
        with pytest.raises(InputError, match="frame id"):
            ask("base", name)
    for cache_ns in (0, -1):
        with pytest.raises(InputError, match="transform cache"):
            TransformBuffer(cache_ns)
    buffer = TransformBuffer()
    buffer.add("utm", "map", 0, (4e6, 5e5, 0), NONE, static=True)
    buffer.add("map", "camera", 0, (1, 0, 0), NONE, static=True)
    assert x_of(buffer, None, "map", "camera") == 1
    with pytest.raises(TransformError, match="metres"):  # absurdly far apart
        buffer.lookup("utm", "camera")


@pytest.mark.parametrize("stamp", [None, T0])
def test_two_trees_may_still_become_one(stamp: int | None) -> None:
    buffer = moving(T0)
    buffer.add("mast", "camera", 0, (0, 0, 0), NONE, static=True)
    error = refusal(buffer, "base", "camera", stamp)
    assert error.may_come
    assert "not connected" in str(error)


@pytest.mark.parametrize("static", [False, True])
@pytest.mark.parametrize("stamp", [None, T0])
def test_a_loop_is_refused_and_does_not_hang(static: bool, stamp: int | None) -> None:
    buffer = TransformBuffer()
    for parent, child in (("a", "b"), ("b", "c"), ("c", "a")):
        buffer.add(parent, child, T0, (0, 0, 0), NONE, static)
    buffer.add("base", "camera", T0, (0, 0, 0), NONE, static)
    for target, source in (("base", "a"), ("a", "camera")):
        error = refusal(buffer, target, source, stamp)
        assert "loop" in str(error)
        assert not error.may_come
    assert {one.child for one in buffer.excerpt(["a"], [T0])} == {"a", "b", "c"}


@pytest.mark.parametrize(("parent", "child", "t", "q", "reason"), TABLES["no transforms"])
def test_a_sample_that_is_no_transform_is_refused(parent: str, child: str, t: Any, q: Any, reason: str) -> None:
    buffer = TransformBuffer()
    with pytest.raises(InputError, match=reason):
        buffer.add(parent, child, T0, t, q)
    assert buffer.frames() == {}


def stamped(parent: str = "base", child: str = "arm", x: float = 1.0, w: float = 1.0, after: int = 7) -> Any:
    message = TransformStamped(child_frame_id=child)
    message.header.frame_id = parent
    message.header.stamp.sec, message.header.stamp.nanosec = divmod(T0 + after, SECOND)
    message.transform.translation.x = x
    message.transform.rotation.w = w
    return message


def test_messages_fill_the_buffer_with_their_stamps() -> None:
    buffer = TransformBuffer()
    buffer.add_message(SimpleNamespace(transforms=[stamped(), stamped(child="head", x=3.0)]))
    assert x_of(buffer, T0 + 7, "arm", "head") == 2
    buffer.add_message(SimpleNamespace(transforms=[stamped("arm", "camera")]), static=True)
    assert x_of(buffer, T0 + 9 * SECOND, "arm", "camera") == 1
    assert buffer.rejected == {}


def test_a_stamp_from_the_far_future_does_not_outlast_the_next_message() -> None:
    buffer = moving(T0, T0 + SECOND)
    for seconds, x in ((3600, 9.0), (2, 5.0), (3, 6.0)):
        message = SimpleNamespace(transforms=[stamped(x=x, after=seconds * SECOND)])
        buffer.add_message(message, arrival_ns=T0 + 3 * SECOND)
    assert (x_of(buffer, T0 + 2 * SECOND), x_of(buffer, None)) == (5, 6)


def test_bad_entries_are_counted_by_reason_and_the_others_are_used() -> None:
    buffer = TransformBuffer()
    entries = [stamped(child="base"), stamped(w=0.0), stamped(w=0.0), stamped(x=math.nan), stamped(), SimpleNamespace()]
    buffer.add_message(SimpleNamespace(transforms=entries))
    assert x_of(buffer, T0 + 7) == 1
    assert buffer.rejected == dict(TABLES["rejected"])
    for nothing in (SimpleNamespace(), SimpleNamespace(transforms=None), SimpleNamespace(transforms=[])):
        buffer.add_message(nothing)
    assert buffer.frames() == {"arm": "base"}
    for i in range(300):  # a broken publisher does not fill the memory
        buffer.add_message(SimpleNamespace(transforms=[stamped(child=f"{i}" + "x" * 1000, w=0.0)]))
    assert sum(buffer.rejected.values()) == 305
    assert len(buffer.rejected) == 101
    assert max(map(len, buffer.rejected)) <= 200


def test_threads_may_write_and_read_at_once() -> None:
    buffer, done = TransformBuffer(cache_ns=SECOND // 10), threading.Event()
    buffer.add("base", "arm", T0, (0, 0, 0), NONE)

    def read() -> None:
        while not done.is_set():
            buffer.lookup("base", "arm")

    with ThreadPoolExecutor(3) as pool:
        readers = [pool.submit(read) for _ in range(3)]
        for i in range(1000):
            buffer.add("base", "arm", T0 + i * SECOND // 1000, (i, 0, 0), NONE)
        done.set()
        for reader in readers:
            reader.result(timeout=DEADLINE)


def wandering(seed: int) -> TransformBuffer:
    rng, buffer = np.random.default_rng(seed), TransformBuffer()
    for parent, child, period in TABLES["wandering"]:
        for n in range(60):
            pose = rng.normal(size=3), Rotation.random(random_state=rng).as_quat()
            buffer.add(parent, child, T0 + n * period * 1_000_000 + int(rng.integers(1000)), *pose)
    for parent, child in (("arm", "camera"), ("camera", "depth"), ("map", "elsewhere")):
        buffer.add(parent, child, 0, rng.normal(size=3), Rotation.random(random_state=rng).as_quat(), static=True)
    return buffer


def filled(samples: Any) -> TransformBuffer:
    buffer = TransformBuffer()
    for one in samples:
        buffer.add(one.parent, one.child, one.stamp_ns, one.translation, one.quaternion_xyzw, one.static)
    return buffer


@pytest.mark.parametrize("seed", [0, 1, 2, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(3, 20))])
def test_an_excerpt_gives_the_very_same_poses(seed: int) -> None:
    buffer, stamps = wandering(seed), (T0 + 321_000_123, T0 + 333_000_456)
    samples = buffer.excerpt(["/base", "camera", "depth", "", "nobody"], stamps)
    again = filled(samples)
    for target, source in (("base", "camera"), ("camera", "depth"), ("odom", "depth"), ("map", "base")):
        for stamp_ns in stamps:
            one, other = buffer.lookup(target, source, stamp_ns), again.lookup(target, source, stamp_ns)
            assert np.array_equal(one.matrix, other.matrix)
    via = [each.lookup_via("camera", stamps[0], "depth", stamps[1], "odom").matrix for each in (buffer, again)]
    assert np.array_equal(*via)
    assert {one.child for one in samples} == {"odom", "base", "arm", "camera", "depth"}
    assert len(samples) <= 3 * 4 + 2


def test_an_excerpt_outside_of_what_is_known_has_the_nearest_sample_and_refuses_alike() -> None:
    buffer = moving(T0, T0 + SECOND)
    late = buffer.excerpt(["arm"], [T0 + 5 * SECOND])
    assert [one.stamp_ns for one in late] == [T0 + SECOND]
    words = {str(refusal(each, "base", "arm", T0 + 5 * SECOND)) for each in (buffer, filled(late))}
    assert len(words) == 1
    assert [one.stamp_ns for one in buffer.excerpt(["arm"], [0])] == [T0 + SECOND]
