# SPDX-License-Identifier: Apache-2.0
"""A model sees the image: where that misleads, it is not asked, or what it says is no evidence."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from judges import GOOD, Asked, Says, report_of, told
from rendered_tables import Table, meant, without_depth

from spatial_vlm_ros.geometry.image_height import in_image
from spatial_vlm_ros.sim.tabletop import Rendering, look_at
from spatial_vlm_ros.spatial.clause_judge import JudgeCalibration, fitted
from spatial_vlm_ros.spatial.layout import Array
from spatial_vlm_ros.spatial.model_evidence import Box, is_upright, shows_side
from spatial_vlm_ros.types import PinholeCamera, Status

HIGH, LOW = (100.0, 50.0, 140.0, 90.0), (100.0, 300.0, 140.0, 380.0)


def in_picture(seen: Rendering) -> dict[str, float]:
    """x of the middle of each object's box, pixels."""
    return {one.id: (one.box_xyxy[0] + one.box_xyxy[2]) / 2 for one in seen.detections}


def by_picture(seen: Rendering) -> Says:
    """A model that is right about sides in the picture."""
    x = in_picture(seen)
    return lambda relation, target, anchor: 0.97 if (x[target] < x[anchor]) == (relation == "left of") else 0.03


def logistic(x: Array | float) -> Array:
    return 1.0 / (1.0 + np.exp(-np.asarray(x, np.float64)))


@settings(max_examples=150)
@given(
    roll=st.floats(-29, 29), pitch=st.floats(5, 74), anchor=st.tuples(st.floats(-0.5, 0.5), st.floats(-0.4, 0.5)),
    away=st.tuples(st.floats(-0.4, 0.4), st.floats(-0.4, 0.4)), height=st.floats(0, 0.2), half=st.floats(1, 60),
)  # fmt: skip
def test_what_is_asked_about_is_in_the_picture_on_the_side_on_which_it_is(
    roll: float, pitch: float, anchor: tuple[float, float], away: tuple[float, float], height: float, half: float
) -> None:
    """Sides by the plane through camera, anchor and "up"; the picture by the middles of the boxes."""
    eye = np.array([0.0, -math.cos(math.radians(pitch)), math.sin(math.radians(pitch))])
    world_R_camera = look_at(tuple(eye), (0.0, 0.0, 0.0)).rotation
    c, s = math.cos(math.radians(roll)), math.sin(math.radians(roll))
    world_R_camera = world_R_camera @ np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    up = world_R_camera.T @ np.array([0.0, 0.0, 1.0])
    points = np.array([(*anchor, 0.05), (anchor[0] + away[0], anchor[1] + away[1], 0.05 + height)])
    seen = (points - eye) @ world_R_camera
    assume(seen[:, 2].min() > 0.1)
    camera = PinholeCamera(np.array([[600.0, 0, 319.5], [0, 580.0, 239.5], [0, 0, 1]]), 640, 480)
    u, v = 600.0 * seen[:, 0] / seen[:, 2] + 319.5, 580.0 * seen[:, 1] / seen[:, 2] + 239.5
    of_anchor, of_target = ((x - half, y - half, x + half, y + half) for x, y in zip(u, v, strict=True))
    if is_upright(up) and shows_side("left of", of_target, of_anchor, camera, up):
        ahead, there = points[0, :2] - eye[:2], points[1, :2] - eye[:2]
        to_the_left = ahead[0] * there[1] - ahead[1] * there[0] > 0
        assert (u[1] < u[0]) == to_the_left


def test_relations_that_are_no_sides_always_show(camera: PinholeCamera) -> None:
    up = np.array([0.4, -0.7, -0.59])
    assert all(shows_side(one, HIGH, LOW, camera, up) for one in ("behind", "in front of", "on", "under", "inside"))
    assert not shows_side("left of", HIGH, LOW, camera, up)


@pytest.mark.parametrize("roll", [-28, -10, 0, 20, *(pytest.param(r, marks=pytest.mark.slow) for r in (-20, 10, 28))])
def test_a_tilted_camera_chooses_nothing_by_the_picture(asked: Asked, tabletop: Table, roll: int) -> None:
    """Behind and before the cup the picture shifts by up to 60 pixels what is a hair to its right and to its left."""
    seen = tabletop.scene("cup cup 0 0; can a 0.004 0.25; can b -0.006 -0.2; can clear 0.25 0", roll_deg=roll)
    words = "the can left of the cup"
    answer, judge = asked(seen, words, by_picture(seen), {"left of": GOOD})
    if roll == 0:
        assert (meant(answer), len(judge.asked)) == ("b", 3)
        return
    assert judge.asked == [("left of", "clear", "cup")]
    assert (tabletop.meant(seen, words), meant(answer), answer.target) == ("AMBIGUOUS", "AMBIGUOUS", None)
    assert report_of(answer).effect == "reported"


@pytest.mark.parametrize(("roll", "n"), [(90.0, 0), (180.0, 0), (15.0, 2)])
def test_a_turned_camera_is_not_asked_about_depth(asked: Asked, tabletop: Table, roll: float, n: int) -> None:
    seen = tabletop.scene("cup cup 0 0; can near 0 -0.2; can far 0.02 0.2", roll_deg=roll)
    _, judge = asked(seen, "the can behind the cup", lambda *_: 0.9)
    assert len(judge.asked) == n


@pytest.mark.parametrize("side", [-1, 1])
def test_beside_a_steep_cameras_axis_the_picture_chooses_nothing(asked: Asked, tabletop: Table, side: int) -> None:
    """55 degrees down: the line of sight over the cup is slanted in the picture, and both cans lie close to it."""
    eye = tabletop.pitched(55, 1.0)
    cup = np.array([0.25 * side, 0.0])
    ahead = cup - eye[:2]
    ahead /= np.linalg.norm(ahead)
    right = np.array([ahead[1], -ahead[0]]) * side
    far, near = cup + 0.22 * ahead - 0.006 * right, cup - 0.22 * ahead + 0.006 * right
    seen = tabletop.see(tabletop.cup("cup", *cup), tabletop.can("far", *far), tabletop.can("near", *near), eye=eye)
    x = in_picture(seen)
    assert (x["far"] - x["cup"]) * side > 20  # it looks outside of the cup, and is inside of its line of sight
    words = f"the can {'left' if side > 0 else 'right'} of the cup"
    frame = without_depth(seen, "cup")
    relations = {"left of": GOOD, "right of": GOOD}
    answer, judge = asked(seen, words, by_picture(seen), relations, frame=frame)
    assert (answer.status, answer.target, judge.asked) == (Status.AMBIGUOUS, None, [])


@pytest.mark.parametrize(
    ("relation", "target", "anchor", "name"),
    [
        ("behind", HIGH, LOW, "behind, higher"), ("behind", LOW, HIGH, "behind, lower"),
        ("in front of", HIGH, LOW, "in front of, higher"), ("in front of", LOW, HIGH, "in front of, lower"),
        ("behind", LOW, LOW, "behind, lower"), ("left of", HIGH, LOW, "left of"), ("on", HIGH, LOW, "on"),
    ],
)  # fmt: skip
def test_depth_is_calibrated_by_which_of_the_two_is_higher(relation: str, target: Box, anchor: Box, name: str) -> None:
    assert in_image(relation, target, anchor) == name


def measured(rows: Iterable[tuple[str, Box, Box, float, bool]]) -> Mapping[str, JudgeCalibration]:
    """Calibrations of labelled answers: (relation, target, anchor, what the model has, whether it holds)."""
    by: dict[str, list[tuple[float, bool]]] = {}
    for relation, target, anchor, p, holds in rows:
        by.setdefault(in_image(relation, target, anchor), []).append((p, holds))
    return {name: fitted(np.array([p for p, _ in of]), np.array([y for _, y in of])) for name, of in by.items()}


def by_height(
    follow: int, contrary: int, gap: float, noise: float, levels: int
) -> list[tuple[str, Box, Box, float, bool]]:
    """Answers of a model that takes higher for farther, as sure as `gap`; its noise knows nothing of the truth.

    Times `levels` of the noise, of `follow` pairs of each kind the higher one is farther, and of `contrary` nearer. Gap
    and noise are on the scale of log-odds.
    """
    rows = []
    for relation, sign in (("behind", 1.0), ("in front of", -1.0)):
        for target, anchor, higher in ((HIGH, LOW, 1.0), (LOW, HIGH, -1.0)):
            for p in logistic(sign * higher * gap + np.linspace(-noise, noise, levels)):
                for times, right in ((follow, True), (contrary, False)):
                    rows += [(relation, target, anchor, float(p), (sign * higher > 0) == right)] * times
    return rows


@settings(max_examples=60)
@given(
    follow=st.integers(1, 40), contrary=st.integers(1, 40), gap=st.floats(0, 8), noise=st.floats(0, 4),
    levels=st.integers(1, 5),
)  # fmt: skip
def test_higher_for_farther_is_no_knowledge(follow: int, contrary: int, gap: float, noise: float, levels: int) -> None:
    found = measured(by_height(follow, contrary, gap, noise, levels))
    assert set(found) == {f"{one}, {where}" for one in ("behind", "in front of") for where in ("higher", "lower")}
    assert not any(one.informs for one in found.values())


def test_what_it_knows_beyond_the_height_is_measured() -> None:
    """Whatever is higher, it is a little surer of what holds."""
    rows = [
        ("behind", target, anchor, float(logistic(higher * 3.0 + (0.5 if holds else -0.5) + wobble)), holds)
        for target, anchor, higher in ((HIGH, LOW, 1.0), (LOW, HIGH, -1.0))
        for holds in (True, False)
        for wobble in np.linspace(-1, 1, 100)
    ]
    found = measured(rows)
    assert all(one.informs for one in found.values())
    assert found["behind, higher"].offset < 0 < found["behind, lower"].offset


@pytest.mark.parametrize("words", ["the can behind the cup", "the can in front of the cup"])
@pytest.mark.parametrize("contrary", [1, 20])
def test_fused_such_a_model_changes_nothing(asked: Asked, tabletop: Table, words: str, contrary: int) -> None:
    """The can on a high block looks farther than the cup, and is nearer; the cup's depth is missing, or not."""
    block = tabletop.block("block", 0.11, -0.2, (0.1, 0.1, 0.2))
    seen = tabletop.scene("cup cup -0.04 0.05; can near 0.11 -0.2 0.2; can far -0.03 0.3", block,
                          eye=(0.0, -1.1, 0.55), target=(0.0, 0.0, 0.1))  # fmt: skip
    y = {one.id: one.box_xyxy[1] + one.box_xyxy[3] for one in seen.detections}
    assert y["near"] < y["cup"]
    known = measured(by_height(20, contrary, 3.0, 1.0, 5))
    assert tabletop.meant(seen, words) == ("far" if "behind" in words else "near")
    for frame in (seen.frame, without_depth(seen, "cup")):
        alone = tabletop.ask(seen, words, frame=frame)
        answer, judge = asked(
            seen, words, lambda relation, one, anchor: 0.95 if (y[one] < y[anchor]) == (relation == "behind") else 0.05,
            known, frame=frame,
        )  # fmt: skip
        assert len(judge.asked) == 2
        assert (meant(answer), answer.confidence) == (meant(alone), alone.confidence)
        assert report_of(answer).effect == "reported"


def test_a_verdict_counts_only_where_the_model_knows_beyond_the_height(asked: Asked, two_sides: Rendering) -> None:
    answer, judge = asked(two_sides, "the can behind the cup", lambda *_: 0.5, {"behind, higher": GOOD})
    assert len(judge.asked) == 2
    assert told(answer) == {"far": 0.5, "near": None}
