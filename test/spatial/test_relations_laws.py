# SPDX-License-Identifier: Apache-2.0
"""Laws of the relations, on random scenes of turned boxes, discs and plates, some with fronts."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import pytest
from relation_scenes import (
    LIMITS,
    PAIRWISE,
    VIEWER,
    lay,
    margins,
    mirrored,
    rotation,
    rounded,
    seen_by_another_camera,
    turned,
    with_front,
)

from spatial_vlm_ros.errors import FrameUndefinedError
from spatial_vlm_ros.spatial.relations import Pairs, measure_set, measure_two
from spatial_vlm_ros.types import FrameOfReference, Scene, Transform

if TYPE_CHECKING:
    from spatial.conftest import Ground, Object

    MakeThing = Callable[..., Object]

SEEDS = range(12)
EXACT = {"atol": 1e-9}
ROUNDED = {"atol": 2e-6}  # points are float32
SIDES = {
    "left of": "right of",
    "right of": "left of",
    "at the left side of": "at the right side of",
    "at the right side of": "at the left side of",
}


def random_scene(ground: Ground, obj: MakeThing, seed: int, pitch_deg: float = 35.0, **frames: object) -> Scene:
    """Seven objects, some of them on each other or in each other, turned; the third is round; three have fronts."""
    rng = np.random.default_rng(seed)
    objects = []
    for _ in range(7):
        ahead, right = rng.uniform((0.6, -0.5), (1.6, 0.5))
        size = rng.uniform((0.02, 0.02, 0.01), (0.25, 0.25, 0.3))
        objects.append(obj(float(ahead), float(right), tuple(size), base=float(rng.choice((0.0, 0.0, 0.1, 0.3)))))
    first = objects[0]
    objects[1] = obj(first.ahead, first.right, (0.03, 0.03, 0.03), base=first.size[2])
    scene = turned(ground.scene(objects, pitch_deg=pitch_deg, **frames), rng.uniform(-3, 3, 7))
    for row in (0, 2, 4):
        scene = with_front(
            scene, row, *(float(v) for v in rng.normal(size=2)), label=str(rng.choice(("chair", "stove")))
        )
    return rounded(scene, 2)


def all_margins(scene: Scene, frame: FrameOfReference = VIEWER) -> dict[str, np.ndarray]:
    """Margins of every relation, pairwise and not."""
    layout, rows = lay(scene), np.arange(len(scene.objects))
    found = {}
    for name in PAIRWISE:
        try:
            found[name] = margins(layout, name, frame)
        except FrameUndefinedError:
            assert frame is FrameOfReference.OBJECT
            assert name in ("closer than", "farther than")
    for name in ("between", "on the other side of"):
        found[name + ", two"] = measure_two(name, layout, layout.viewpoint(frame), rows, rows, rows)[0]
    found["among"] = measure_set("among", layout, rows, rows[2:])[0]
    return found


@pytest.fixture(params=SEEDS)
def scene(ground: Ground, obj: MakeThing, request: pytest.FixtureRequest) -> Scene:
    return random_scene(ground, obj, request.param)


@pytest.fixture
def found(scene: Scene) -> dict[str, np.ndarray]:
    return all_margins(scene)


def off_diagonal(matrix: np.ndarray) -> np.ndarray:
    return matrix[~np.eye(len(matrix), dtype=np.bool_)]


# ------------------------------------------------------------------------------------------------ one against another


def test_left_is_minus_right(found: dict[str, np.ndarray]) -> None:
    """But for what lies within the other's outline, which is on neither side of it."""
    left, right = found["left of"], found["right of"]
    within = (left < 0) & (right < 0)
    np.testing.assert_allclose(left[~within], -right[~within], **EXACT)
    assert (~within).any()
    assert within.diagonal().all()


def test_nothing_is_both_behind_and_in_front(found: dict[str, np.ndarray]) -> None:
    assert off_diagonal(np.minimum(found["behind"], found["in front of"])).max() < 0


def test_the_other_side_is_behind(found: dict[str, np.ndarray]) -> None:
    np.testing.assert_allclose(found["on the other side of"], found["behind"], **EXACT)


def test_nothing_is_on_the_other_side_seen_from_either_side(found: dict[str, np.ndarray]) -> None:
    """Behind the box from the cup: then the cup is behind the box from there, or off the cone; never before it."""
    two = found["on the other side of, two"]
    rows = np.arange(len(two))
    assert np.isnan(two[:, rows, rows]).all(), "nothing is looked at from itself"
    for seen_from in rows:
        itself = np.delete(two[seen_from, :, seen_from], seen_from)
        assert not (itself >= 0).any(), "what looks is not on the other side"


@pytest.mark.parametrize(
    ("relation", "other"),
    [("out of", "inside"), ("higher than", None), ("taller than", None), ("larger than", None), ("wider than", None),
     ("longer than", None), ("thicker than", None), ("narrower than", None), ("closer than", None)],
)  # fmt: skip
def test_what_turns_its_sign(found: dict[str, np.ndarray], relation: str, other: str | None) -> None:
    """Out of is not inside; comparisons change sign with the roles."""
    expected = -found[relation].T if other is None else -found[other]
    np.testing.assert_allclose(found[relation], expected, **EXACT)


@pytest.mark.parametrize(
    ("one", "other"),
    [("containing", "inside"), ("supporting", "on"), ("lower than", "lower than"), ("shorter than", "taller than"),
     ("smaller than", "larger than"), ("thinner than", "thicker than"), ("farther than", "closer than"),
     ("above", "below"), ("touching", "touching"), ("next to", "next to"), ("near", "near"), ("far from", "far from")],
)  # fmt: skip
def test_the_same_from_the_other_end(found: dict[str, np.ndarray], one: str, other: str) -> None:
    expected = -found[one].T if one == other == "lower than" else found[other].T
    np.testing.assert_allclose(found[one], expected, **EXACT)


@pytest.mark.parametrize(
    ("narrower", "wider"),
    [("on", "above"), ("under", "below"), ("next to", "near"), ("near", "around")],
)
def test_what_holds_implies(found: dict[str, np.ndarray], narrower: str, wider: str) -> None:
    held = found[narrower] > 0
    np.fill_diagonal(held, False)
    assert (found[wider][held] > 0).all()


@pytest.mark.parametrize(
    ("one", "other"),
    [("near", "far from"), ("inside", "next to"), ("on", "inside"), ("above", "below"), ("facing", "facing away from"),
     ("at the left side of", "at the right side of"), ("at the front of", "at the back of"),
     ("at the top of", "at the bottom of"), ("at the top of", "in the middle of the height of")],
)  # fmt: skip
def test_what_excludes_each_other(found: dict[str, np.ndarray], one: str, other: str) -> None:
    both = off_diagonal(np.minimum(found[one], found[other]))
    assert not (both > 0.0).any()


def test_of_three_objects_one_is_between_the_others(found: dict[str, np.ndarray]) -> None:
    between = found["between, two"]
    np.testing.assert_allclose(between, between.transpose(0, 2, 1), **EXACT)
    for t, a, b in np.argwhere(between > 0):
        assert len({t, a, b}) == 3
        assert between[a, t, b] < 0
        assert between[b, a, t] < 0


def test_against_is_touching_sideways(found: dict[str, np.ndarray]) -> None:
    held = (found["against"] > 0) & ~np.eye(7, dtype=np.bool_)
    assert (found["touching"][held] > 0).all()
    assert not ((found["against"] > 0) & (found["above"] > 0.015)).any()


def test_touching_and_at_a_distance_share_one_gap(scene: Scene, found: dict[str, np.ndarray]) -> None:
    """They differ by the contact that noise allows."""
    layout, rows = lay(scene), np.arange(7)
    noise = Pairs(layout, layout.viewpoint(VIEWER), rows, rows).noise
    np.testing.assert_allclose(found["touching"] + found["at a distance from"], 2 * noise, **EXACT)


def test_where_no_front_decides_opposite_is_mutual_for_what_is_off_the_middle(
    scene: Scene, found: dict[str, np.ndarray]
) -> None:
    layout = lay(scene)
    off = np.linalg.norm(layout.centre[:, :2] - layout.middle, axis=1) > layout.reach.max()
    rows = np.flatnonzero(off & ~np.isfinite(layout.front[:, 0]))
    across = found["opposite"][np.ix_(rows, rows)] > 0
    assert (across == across.T).all()


@pytest.mark.parametrize("relation", ["at the edge of", "at the corner of", "at the centre of", "at the end of"])
def test_at_a_part_is_over_the_object(found: dict[str, np.ndarray], scene: Scene, relation: str) -> None:
    layout = lay(scene)
    t, a = np.nonzero(found[relation] > 0)
    apart = np.linalg.norm(layout.centre[t, :2] - layout.centre[a, :2], axis=1)
    assert (apart < layout.radius[a] + layout.mean_side[t] / 2).all()


def test_a_part_lies_inside_the_box(found: dict[str, np.ndarray], scene: Scene) -> None:
    layout = lay(scene)
    t, a = np.nonzero(found["part of"] > 0)
    contact = layout.relation.contact
    assert (layout.centre[t, 2] < layout.top[a] + contact).all()
    assert (layout.centre[t, 2] > layout.bottom[a] - contact).all()


def test_among_is_no_farther_than_the_widened_outline(found: dict[str, np.ndarray], scene: Scene) -> None:
    layout = lay(scene)
    high, low = layout.centre[2:, :2].max(axis=0), layout.centre[2:, :2].min(axis=0)
    inside = found["among"] > 0
    widest = layout.reach.max()
    assert (layout.centre[inside, :2] < high + widest).all()
    assert (layout.centre[inside, :2] > low - widest).all()


# ------------------------------------------------------------------------------------------------ scenes moved


def test_in_the_mirror_left_and_right_are_exchanged_and_nothing_else(
    scene: Scene, found: dict[str, np.ndarray]
) -> None:
    """Not even what a stove's or a chair's front decides."""
    reflected = all_margins(mirrored(scene))
    for name, expected in found.items():
        np.testing.assert_allclose(reflected[SIDES.get(name, name)], expected, **ROUNDED, err_msg=name)


def test_the_order_of_detections_changes_nothing(scene: Scene, found: dict[str, np.ndarray]) -> None:
    order = np.random.default_rng(1).permutation(7)
    shuffled = dataclasses.replace(scene, objects=tuple(scene.objects[row] for row in order))
    for name, got in all_margins(shuffled).items():
        if name == "among":
            continue  # its set was said by row
        expected = found[name][np.ix_(*(order for _ in range(found[name].ndim)))]
        np.testing.assert_allclose(got, expected, **ROUNDED, err_msg=name)


@pytest.mark.parametrize("roll_deg", [30.0, 90.0, 180.0, -137.0])
def test_a_rolled_or_upside_down_camera_changes_nothing(
    scene: Scene, found: dict[str, np.ndarray], roll_deg: float
) -> None:
    matrix = np.eye(4)
    matrix[:3, :3] = rotation(np.array([0.0, 0.0, 1.0]), np.radians(roll_deg))
    rolled = seen_by_another_camera(scene, Transform("camera_color_optical_frame", "rolled", matrix))
    for name, got in all_margins(rolled).items():
        np.testing.assert_allclose(got, found[name], **ROUNDED, err_msg=name)


@pytest.mark.parametrize("frame", [f for f in FrameOfReference if f is not VIEWER])
@pytest.mark.parametrize("seed", SEEDS)
def test_where_the_camera_is_means_nothing_to_others(
    ground: Ground, obj: MakeThing, seed: int, frame: FrameOfReference
) -> None:
    """The robot, the speaker, the world and the objects themselves keep their sides, however the camera is moved."""
    rng = np.random.default_rng(seed)
    scene = random_scene(ground, obj, seed, base_T_camera=ground.looking_from(0.3, 0.4, -40.0))
    speaker = ground.looking_from(1.8, 0.5, 160.0).inverse()
    speaker = Transform(speaker.parent, "person", speaker.matrix)
    scene = dataclasses.replace(scene, frame=dataclasses.replace(scene.frame, camera_T_speaker=speaker))
    matrix = np.eye(4)
    axis = rng.normal(size=3)
    matrix[:3, :3] = rotation(axis / np.linalg.norm(axis), rng.uniform(-3, 3))
    matrix[:3, 3] = rng.uniform(-0.5, 0.5, 3)
    elsewhere = seen_by_another_camera(scene, Transform("camera_color_optical_frame", "other", matrix))
    assert abs(lay(scene).down_deg - lay(elsewhere).down_deg) > 1e-3
    before, after = (_framed(s, frame) for s in (scene, elsewhere))
    for name, expected in before.items():
        np.testing.assert_allclose(after[name], expected, atol=1e-5, err_msg=name)


def _framed(scene: Scene, frame: FrameOfReference) -> dict[str, np.ndarray]:
    layout = lay(scene, dataclasses.replace(LIMITS, world_defined=True, world_azimuth_deg=25.0))
    skipped = ("closer than", "farther than") if frame is FrameOfReference.OBJECT else ()
    return {name: margins(layout, name, frame) for name in PAIRWISE if name not in skipped}


@pytest.mark.parametrize("relation", ["left of", "right of", "behind", "in front of", "at the left side of"])
def test_heights_decide_nothing_on_the_ground(ground: Ground, obj: MakeThing, relation: str) -> None:
    rng = np.random.default_rng(5)
    places = rng.uniform((0.6, -0.5), (1.6, 0.5), (6, 2))
    flat = [obj(float(a), float(r), base=0.4) for a, r in places]
    tall = [
        dataclasses.replace(t, size=(0.06, 0.06, float(h))) for t, h in zip(flat, rng.uniform(0, 1, 6), strict=True)
    ]
    np.testing.assert_allclose(*(margins(lay(ground.scene(objects)), relation) for objects in (flat, tall)), **EXACT)
