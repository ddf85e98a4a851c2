# SPDX-License-Identifier: Apache-2.0
"""Independent choices: who finds the objects, who gives masks, who is asked for the whole phrase."""

from __future__ import annotations

import numpy as np
import pytest
from referring_models import Echoing, Mute

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


def asked() -> Grounder:
    return Echoing()


def mute() -> Grounder:
    return Mute()


HERE = "test_composed"


def composed(options: str) -> Grounder:
    return load_grounder("composed", parse_options(options))


def test_one_finds_and_another_is_asked_for_the_whole_phrase() -> None:
    made = composed(f"grounder={HERE}:finding options=size=small second_opinion={HERE}:asked")
    assert made.ground(RGB, [NounPhrase("mug")]).detections == (MUG,)
    box, point = referrer_of(made).refer(RGB, "the mug")
    assert (box.label, point.point_xy) == ("the mug", (0.0, 7.0))
    assert made.domain == "photographs"  # type: ignore[attr-defined]
    assert made.answer() == "yes"  # type: ignore[attr-defined]


def test_what_is_left_out_is_left_to_the_grounder() -> None:
    assert isinstance(composed(f"grounder={HERE}:finding"), Finding)
    assert referrer_of(composed(f"grounder={HERE}:asked")).refer(RGB, "nothing") == ()
    with pytest.raises(InputError, match="cannot ground a whole phrase"):
        referrer_of(composed(f"grounder={HERE}:finding"))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("masks_options=model=x", "option masks_options.*Name masks"),
        ("second_opinion_options=model=x", "option second_opinion_options.*Name second_opinion"),
        ("masks=sam2", "option masks_model"),
        (f"second_opinion={HERE}:mute", "a backend that can ground a whole phrase"),
    ],
)
def test_choices_that_do_not_fit_are_refused(options: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        composed(f"grounder={HERE}:finding {options}")


def test_unknown_names_are_refused() -> None:
    for options in ("grounder=nobody", f"grounder={HERE}:finding second_opinion=nobody"):
        with pytest.raises(UnknownNameError, match="nobody"):
            composed(options)
    with pytest.raises(UnknownNameError, match="sam2"):
        composed(f"grounder={HERE}:finding masks=other")
