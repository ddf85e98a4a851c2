# SPDX-License-Identifier: Apache-2.0
"""Independent choices: who finds the objects, who gives masks, who is asked for the whole phrase."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from spatial_vlm_ros.errors import InputError, UnknownNameError
from spatial_vlm_ros.perception import load_grounder, parse_options
from spatial_vlm_ros.perception.given_detections import GivenDetections
from spatial_vlm_ros.perception.grounder import Grounder
from spatial_vlm_ros.perception.referring import referrer_of
from spatial_vlm_ros.types import Detection, NounPhrase

RGB = np.zeros((10, 20, 3), np.uint8)
MUG = Detection("m", "mug", 0.9, (1.0, 2.0, 5.0, 6.0))


class Finding(GivenDetections):
    """Finds a mug; trained on photographs."""

    domain = "photographs"

    def answer(self, *_: object) -> str:
        return "yes"


def finding(size: str = "") -> Grounder:
    assert size in ("", "small")
    return Finding([MUG])


HERE, MODELS = "test_composed", "referring_models"


def composed(options: str) -> Grounder:
    return load_grounder("composed", parse_options(options))


def test_one_finds_and_another_is_asked_for_the_whole_phrase() -> None:
    made: Any = composed(f"grounder={HERE}:finding options=size=small second_opinion={MODELS}:Echoing")
    assert made.ground(RGB, [NounPhrase("mug")]).detections == (MUG,)
    box, point = referrer_of(made).refer(RGB, "the mug")
    assert (box.label, point.point_xy) == ("the mug", (0.0, 7.0))
    assert (made.domain, made.answer()) == ("photographs", "yes")
    assert isinstance(composed(f"grounder={HERE}:finding"), Finding)  # what is left out is left to the grounder
    assert referrer_of(composed(f"grounder={MODELS}:Echoing")).refer(RGB, "nothing") == ()
    with pytest.raises(InputError, match="cannot ground a whole phrase"):
        referrer_of(composed(f"grounder={HERE}:finding"))


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ("masks_options=model=x", InputError, "option masks_options.*Name masks"),
        ("second_opinion_options=model=x", InputError, "option second_opinion_options.*Name second_opinion"),
        ("masks=sam2", InputError, "option masks_model"),
        (f"second_opinion={MODELS}:Mute", InputError, "a backend that can ground a whole phrase"),
        ("second_opinion=nobody", UnknownNameError, "nobody"),
        ("masks=other", UnknownNameError, "sam2"),
    ],
)
def test_choices_that_do_not_fit_are_refused(options: str, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        composed(f"grounder={HERE}:finding {options}")
    with pytest.raises(UnknownNameError, match="nobody"):
        composed("grounder=nobody")
