# SPDX-License-Identifier: Apache-2.0
"""Faults in words are read or refused, and do to messages and to a wrapped model what the catalogue says."""

import copy
import itertools
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from bag_builder import FIXED, scene
from tables import rows

from spatial_vlm_ros import errors
from spatial_vlm_ros.errors import InputError, ModelError, UnknownNameError
from spatial_vlm_ros.perception import load_grounder
from spatial_vlm_ros.perception.grounder import Grounding
from spatial_vlm_ros.perception.imported_detections import GivenDetections
from spatial_vlm_ros.recording.bags.topics import default_store
from spatial_vlm_ros.sim.examples import chicks_and_cup_frame
from spatial_vlm_ros.sim.faults import catalogue
from spatial_vlm_ros.sim.faults.catalogue import EFFECTS, FORMS, SECOND, Fault, FaultLine, nanoseconds, read_faults
from spatial_vlm_ros.sim.faults.grounder import FaultyGrounder
from spatial_vlm_ros.streams.decoding import rosbags_composer
from spatial_vlm_ros.streams.image import decode_depth, decode_rgb
from spatial_vlm_ros.types import NounPhrase

PERIOD = 0.1
PLAYED = {name: FORMS[name] for name in ("rgb", "depth", "info", "detections", "tf", "tf_static", "clock")}


Make = Callable[[str, int], Any]
Passed = tuple[float, float, Any]


@pytest.fixture(scope="module")
def message() -> Make:
    """A message of a stream, stamped; one header in all of its parts, as the players have it."""
    seen, composer = scene(), rosbags_composer(default_store())
    frame, camera, values = seen.frame, seen.frame.camera, composer._floats([0.1, 0.2])
    joints = {"name": ["a", "b"], "position": values, "velocity": values, "effort": values}
    making: dict[str, Callable[[Any, int], Any]] = {
        "colour": lambda header, _: composer.image_rgb(frame.rgb, header),
        "depth": lambda header, _: composer.image_depth(frame.depth, header),
        "info": lambda header, _: composer.camera_info(camera, header),
        "detections": lambda header, _: composer.detection_array(seen.detections, header, camera.width, camera.height),
        "transforms": lambda _, at: composer.tf_message([composer.transform_stamped(FIXED, at)]),
        "joints": lambda header, _: composer._make("sensor_msgs/msg/JointState", header=header, **joints),
        "clock": lambda _, at: composer._make("rosgraph_msgs/msg/Clock", clock=composer.time(at)),
    }
    # What goes in is never changed.
    return cache(lambda stream, at: making[FORMS[stream]](composer.header(at, frame.frame_id), at))


def run(message: Make, words: str, stream: str, n: int = 40, seed: int = 0, healthy: int = 1) -> list[Passed]:
    """(Time in, time out, message) of what comes out of `n` messages under a fault, after `healthy` ones without."""
    line = FaultLine(stream, FORMS[stream], seed)
    out = []
    for k in range(healthy + n):
        if k == healthy:
            line.set(read_faults(words))
        now = k * PERIOD
        given = message(stream, SECOND + round(now * SECOND))
        before = repr(given) if k == healthy else ""
        passed = line.pass_on(given, now)
        assert not before or repr(given) == before, "what goes in is never changed"
        out += [(now, due, made) for due, made in passed if k >= healthy]
    return out


def stamps(stream: str, out: list[Passed]) -> list[int]:
    if stream == "clock":
        return [nanoseconds(message.clock) for *_, message in out]
    stamped = [message.transforms[0] if stream.startswith("tf") else message for *_, message in out]
    return [nanoseconds(each.header.stamp) for each in stamped]


def test_words_are_read_and_written_alike() -> None:
    words = "depth=stuck tf=delayed:0.4 detections.frame_id=wrong"
    faults = read_faults(words, PLAYED)
    assert faults == (Fault("depth", "", "stuck"), Fault("tf", "", "delayed", 0.4),
                      Fault("detections", "frame_id", "wrong"))  # fmt: skip
    assert catalogue.as_words(faults) == words
    assert read_faults("  ", PLAYED) == ()
    camera = read_faults("camera.stamp=wrong:-0.15", PLAYED)
    assert [fault.stream for fault in camera] == ["rgb", "depth", "info", "detections"]
    assert {(fault.part, fault.amount) for fault in camera} == {("stamp", -0.15)}
    assert read_faults("rgb=slow", PLAYED)[0].amount == EFFECTS["colour"]["slow"].default


@pytest.mark.parametrize(("words", "says"), rows(__file__, "faults_refused"))
def test_words_that_are_no_fault_are_refused_with_what_is_allowed(words: str, says: list[str]) -> None:
    with pytest.raises(InputError) as refused:
        read_faults(words, PLAYED)
    for each in says:
        assert each in str(refused.value)


def test_every_stream_and_kind_has_an_effect_or_a_reason_why_not() -> None:
    for room in EFFECTS:
        for kind in catalogue.KINDS:
            assert (kind in EFFECTS[room]) != ((room, kind) in catalogue.IMPOSSIBLE), (room, kind)
    with pytest.raises(UnknownNameError):
        catalogue.effect_of("colour", "", "loud")


@pytest.mark.parametrize("stream", [*PLAYED, "joints"])
def test_kinds_that_are_about_time_drop_or_delay_messages_and_change_none(message: Make, stream: str) -> None:
    assert run(message, f"{stream}=off", stream) == []
    slow = run(message, f"{stream}=slow:2", stream)
    assert 7 <= len(slow) <= 9  # 40 messages in 4 s
    late = run(message, f"{stream}=delayed:0.25", stream)
    assert [due - now for now, due, _ in late] == pytest.approx([0.25] * 40)
    assert stamps(stream, late) == [SECOND + round(now * SECOND) for now, _, _ in late]
    some = run(message, f"{stream}=intermittent:0.3", stream, n=120)
    assert 66 <= len(some) <= 102
    kept = [now for now, _, _ in some]
    assert kept == [now for now, _, _ in run(message, f"{stream}=intermittent:0.3", stream, n=120)]
    assert kept != [now for now, _, _ in run(message, f"{stream}=intermittent:0.3", stream, n=120, seed=1)]


def test_stuck_contents_have_new_headers(message: Callable[[str, int], Any]) -> None:
    """A frozen image buffer: only the scene tells, not the stamps."""
    line = FaultLine("rgb", "colour")
    first = message("rgb", SECOND)
    line.pass_on(first, 0.0)
    line.set(read_faults("rgb=stuck"))
    later = copy.copy(message("rgb", 2 * SECOND))
    later.data = np.zeros_like(later.data)
    ((_, out),) = line.pass_on(later, 1.0)
    assert np.array_equal(out.data, first.data)
    assert nanoseconds(out.header.stamp) == 2 * SECOND
    line.set(())
    ((_, out),) = line.pass_on(later, 2.0)
    assert not out.data.any()
    time = run(message, "clock=stuck", "clock", n=5, healthy=3)
    assert set(stamps("clock", time)) == {SECOND + round(0.2 * SECOND)}


def test_wrong_contents_are_wrong_by_what_was_asked(message: Callable[[str, int], Any]) -> None:
    def one(words: str, stream: str) -> tuple[Any, Any]:
        return message(stream, SECOND), run(message, words, stream, n=1, healthy=0)[0][2]

    right, wrong = one("rgb=wrong", "rgb")
    assert np.array_equal(decode_rgb(wrong), decode_rgb(right)[:, ::-1])
    right, wrong = one("depth=wrong:1.25", "depth")
    assert np.nanmax(np.abs(decode_depth(wrong) - 1.25 * decode_depth(right))) < 1e-3
    right, wrong = one("info=wrong:1.1", "info")
    times = [wrong.k[n] / right.k[n] for n in (0, 4, 2)] + [wrong.p[5] / right.p[5]]
    assert times == pytest.approx([1.1, 1.1, 1.0, 1.1])
    right, wrong = one("detections=wrong", "detections")
    assert [d.label for d in wrong.detections] == [*[d.label for d in right.detections][1:], right.detections[0].label]
    assert [list(d.box) for d in wrong.detections] == [list(d.box) for d in right.detections]
    right, wrong = one("tf=wrong:0.3", "tf")
    shifted = wrong.transforms[0].transform.translation.x - right.transforms[0].transform.translation.x
    assert shifted == pytest.approx(0.3)
    right, wrong = one("joints=wrong:-0.1", "joints")
    assert list(wrong.position) == pytest.approx([0.0, 0.1])
    assert stamps("clock", [(0, 0, one("clock=wrong:0.5", "clock")[1])]) == [SECOND + SECOND // 2]
    assert stamps("clock", [(0, 0, one("clock=wrong:-5", "clock")[1])]) == [0]  # a message holds no less


@pytest.mark.parametrize("stream", [*PLAYED, "joints"])
def test_garbage_differs_from_the_message_and_is_the_same_for_a_seed(message: Make, stream: str) -> None:
    made = [repr(run(message, f"{stream}=garbage", stream, n=3, seed=seed)) for seed in (0, 0, 1)]
    assert made[0] == made[1]
    assert made[0] != repr(run(message, f"{stream}=delayed:0.001", stream, n=3))
    if stream not in ("tf", "tf_static", "joints"):  # nothing is random about NaN
        assert made[0] != made[2]


def test_stamps_and_frame_ids_of_every_part_of_a_message_change_once(message: Callable[[str, int], Any]) -> None:
    """Mask and message share one header: what is added is added once."""
    ((_, _, out),) = run(message, "detections.stamp=wrong:0.15 detections.frame_id=wrong", "detections", n=1, healthy=0)
    mask = next(d.mask[0] for d in out.detections if d.mask)
    for header in (out.header, mask.header):
        assert (nanoseconds(header.stamp), header.frame_id) == (SECOND + 150_000_000, "wrong_frame")
    assert set(stamps("rgb", run(message, "rgb.stamp=off", "rgb", n=3))) == {0}
    assert len(set(stamps("rgb", run(message, "rgb.stamp=stuck", "rgb", n=5)))) == 1
    drift = stamps("tf", run(message, "tf.stamp=slow:0.5", "tf", n=11))
    assert drift[-1] - drift[0] == pytest.approx(0.5 * SECOND)
    gone = stamps("rgb", run(message, "rgb.stamp=intermittent:0.5", "rgb", n=100))
    assert 30 <= gone.count(0) <= 70
    assert len(set(stamps("rgb", run(message, "rgb.stamp=garbage", "rgb", n=20)))) == 20


def test_every_target_takes_every_kind_that_it_lists(message: Callable[[str, int], Any]) -> None:
    """None raises, and none passes the message on as it is."""
    tried = 0
    for stream, form in PLAYED.items():
        for part in catalogue.parts_of(form):
            for kind in EFFECTS[part or form]:
                target = f"{stream}.{part}" if part else stream
                assert target in catalogue.targets(PLAYED)
                out = run(message, f"{target}={kind}", stream, n=12)
                plain = [message(stream, SECOND + round(k * PERIOD * SECOND)) for k in range(1, 13)]
                same = [due == now for now, due, _ in out] == [True] * 12 and repr([m for *_, m in out]) == repr(plain)
                assert same == (kind == "stuck" and not part and form != "clock"), (target, kind)
                tried += 1
    assert tried == 7 * 7 + 6 * 6 + 6 * 4


FRAME, DETECTIONS = chicks_and_cup_frame()
time = itertools.count(0.0, 0.5).__next__  # a clock that goes on by half a second when it is read


def test_a_file_switches_the_faults_of_a_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "faults"
    inner = GivenDetections(DETECTIONS)
    model = FaultyGrounder(inner, file=file)

    def found(words: str | None = None) -> Grounding:
        if words is not None:
            file.write_text(words)
        return model.ground(FRAME.rgb, (NounPhrase("chick"), NounPhrase("cup")))

    right = found()
    assert right.detections == DETECTIONS
    for words, error, says in (("model=off", ModelError, "injected fault"), ("depth=off", UnknownNameError, "model")):
        with pytest.raises(error, match=says):
            found(words)
    wrong = found("model=wrong")
    assert [d.label for d in wrong.detections] == [*[d.label for d in DETECTIONS][1:], DETECTIONS[0].label]
    assert np.array_equal(wrong.match[:, 0], right.match[:, 1])
    assert [d.box_xyxy for d in wrong.detections] == [d.box_xyxy for d in DETECTIONS]

    garbage = found("model=garbage").detections
    assert {d.label for d in garbage}.isdisjoint({d.label for d in DETECTIONS})
    height, width = FRAME.rgb.shape[:2]
    assert any(d.box_xyxy[2] > width or d.box_xyxy[3] > height for d in garbage)

    slept = list[float]()
    monkeypatch.setattr("spatial_vlm_ros.sim.faults.grounder.time", SimpleNamespace(monotonic=time, sleep=slept.append))
    assert found("model=delayed:0.2").detections == found("model=slow:3").detections == DETECTIONS
    assert slept == [0.2, 2 * 0.5]  # the model took half a second

    model._inner = GivenDetections(())
    assert found("").detections == ()
    model._inner = inner
    assert found("model=stuck").detections == ()
    file.unlink()
    assert found().detections == DETECTIONS

    failed = 0
    for _ in range(100):
        try:
            found("model=intermittent:0.4")
        except ModelError:
            failed += 1
    assert 25 <= failed <= 55


@pytest.mark.parametrize(("options", "error", "words"), rows(__file__, "faulty_refused"))
def test_options_that_cannot_be_used_are_refused(options: dict[str, str], error: str, words: str) -> None:
    with pytest.raises(getattr(errors, error), match=words):
        load_grounder("spatial_vlm_ros.sim.faults.grounder:load", options)
