# SPDX-License-Identifier: Apache-2.0
"""Values of the wrong type end in typed errors or refusals, never in raw ones."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from spatial_vlm_ros.errors import InputError
from spatial_vlm_ros.resolver import Resolver
from spatial_vlm_ros.types import Detection, Resolution, Status


def test_a_frame_without_detections_answers_not_found(tabletop: Any) -> None:
    seen = tabletop.see(tabletop.cup("a", 0, 0))
    answer = Resolver().resolve(seen.frame, "the cup", ())
    assert answer.status is Status.NOT_FOUND


@pytest.mark.parametrize("frame", ["robot", "mars"])
def test_a_frame_of_reference_given_as_a_string_is_understood_or_refused(tabletop: Any, frame: str) -> None:
    seen = tabletop.see(tabletop.cup("a", -0.1, 0), tabletop.can("b", 0.1, 0))
    answer = Resolver().resolve(seen.frame, "the cup left of the can", seen.detections, frame_of_reference=frame)
    assert isinstance(answer, Resolution)


@pytest.mark.parametrize(
    "change",
    [
        {"box_xyxy": None},
        {"box_xyxy": ("a", 0, 1, 1)},
        {"score": None},
        {"score": "high"},
        {"mask": [[True]]},
        {"label": None},
    ],
)
def test_a_detection_of_the_wrong_types_is_an_input_error(change: dict[str, Any]) -> None:
    fields = {"id": "x", "label": "cup", "score": 1.0, "box_xyxy": (10, 10, 50, 50), **change}
    with pytest.raises(InputError):
        Detection(**fields)


def test_zeros_in_float_depth_are_said_to_be_unmeasured_not_a_wrong_unit(tabletop: Any) -> None:
    seen = tabletop.see(tabletop.cup("a", 0, 0))
    depth = seen.frame.depth.copy()
    depth[:300] = np.where(seen.masks["a"][:300], depth[:300], 0.0)
    answer = Resolver().resolve(dataclasses.replace(seen.frame, depth=depth), "the cup", seen.detections)
    assert "divided by 1000" not in answer.message
