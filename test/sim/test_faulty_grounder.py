# SPDX-License-Identifier: Apache-2.0
"""A wrapped model has the fault that its file names at each request, and none without."""

from __future__ import annotations

import itertools
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from spatial_vlm_ros.errors import InputError, ModelError, UnknownNameError
from spatial_vlm_ros.perception import load_grounder
from spatial_vlm_ros.perception.given_detections import GivenDetections
from spatial_vlm_ros.sim.examples import chicks_and_cup_frame
from spatial_vlm_ros.sim.faults.grounder import FaultyGrounder
from spatial_vlm_ros.types import NounPhrase

FRAME, DETECTIONS = chicks_and_cup_frame()
time = itertools.count(0.0, 0.5).__next__  # a clock that goes on by half a second when it is read
LOADER = "spatial_vlm_ros.sim.faults.grounder:load"


def test_a_file_switches_the_faults_of_a_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "faults"
    inner = GivenDetections(DETECTIONS)
    model = FaultyGrounder(inner, file=file)
    phrases = (NounPhrase("chick"), NounPhrase("cup"))
    right = model.ground(FRAME.rgb, phrases)
    assert right.detections == DETECTIONS

    file.write_text("model=off")
    with pytest.raises(ModelError, match="an injected fault"):
        model.ground(FRAME.rgb, phrases)

    file.write_text("model=wrong")
    wrong = model.ground(FRAME.rgb, phrases)
    assert [d.label for d in wrong.detections] == [*[d.label for d in DETECTIONS][1:], DETECTIONS[0].label]
    assert np.array_equal(wrong.match[:, 0], right.match[:, 1])
    assert [d.box_xyxy for d in wrong.detections] == [d.box_xyxy for d in DETECTIONS]

    file.write_text("model=garbage")
    first = model.ground(FRAME.rgb, phrases)
    assert {d.label for d in first.detections}.isdisjoint({d.label for d in DETECTIONS})
    height, width = FRAME.rgb.shape[:2]
    assert any(d.box_xyxy[2] > width or d.box_xyxy[3] > height for d in first.detections)

    file.write_text("model=delayed:0.2")
    slept = list[float]()
    monkeypatch.setattr("spatial_vlm_ros.sim.faults.grounder.time", SimpleNamespace(monotonic=time, sleep=slept.append))
    assert model.ground(FRAME.rgb, phrases).detections == DETECTIONS
    file.write_text("model=slow:3")
    assert model.ground(FRAME.rgb, phrases).detections == DETECTIONS
    assert slept == [0.2, 2 * 0.5]  # the model took half a second

    file.write_text("")
    empty = GivenDetections(())
    model._inner = empty
    assert model.ground(FRAME.rgb, phrases).detections == ()
    model._inner = inner
    file.write_text("model=stuck")
    assert model.ground(FRAME.rgb, phrases).detections == ()
    file.unlink()
    assert model.ground(FRAME.rgb, phrases).detections == DETECTIONS

    file.write_text("model=intermittent:0.4")
    failed = 0
    for _ in range(100):
        try:
            model.ground(FRAME.rgb, phrases)
        except ModelError:
            failed += 1
    assert 25 <= failed <= 55

    file.write_text("depth=off")
    with pytest.raises(UnknownNameError, match="model"):
        model.ground(FRAME.rgb, phrases)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({}, InputError, "of=NAME"),
        ({"of": "nothing"}, UnknownNameError, "grounding-dino"),
        ({"of": "compact", "faults": "model=loud"}, UnknownNameError, "garbage"),
        ({"of": "compact", "fault_seed": "x"}, InputError, "fault_seed"),
    ],
)
def test_options_that_cannot_be_used_are_refused(options: dict[str, str], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        load_grounder(LOADER, options)
