# SPDX-License-Identifier: Apache-2.0
"""Random worlds at rest: their relations hold, the same seed makes the same, and what fell is found."""

import dataclasses
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from tables import rows

from spatial_vlm_ros import errors
from spatial_vlm_ros.sim import settled as settling
from spatial_vlm_ros.sim.physics import PhysicsRendering, PhysicsWorld, PlacedModel
from spatial_vlm_ros.sim.settled import KINDS, broken, kept, make, random_view, relation_holds, settled_tabletop
from spatial_vlm_ros.sim.tabletop import VGA
from spatial_vlm_ros.sim.truth import Placed

pytestmark = pytest.mark.usefixtures("_mujoco")
Seen = tuple[PhysicsWorld, PhysicsRendering]


def test_recorded_relations_hold_as_the_objects_lie(settled: Seen) -> None:
    world, _ = settled
    related = [true for true in world.truth.values() if true.placed is not None]
    assert len(related) >= 3
    for true in related:
        assert relation_holds(world, true.id)


@pytest.mark.parametrize("seeds", [(50, 52), pytest.param(range(50, 62), marks=pytest.mark.slow)], ids=["two", "many"])
def test_every_relation_comes_up_and_nothing_lies_beside_the_table(seeds: Sequence[int]) -> None:
    relations: Counter[str] = Counter()
    for seed in seeds:
        with settled_tabletop(seed) as world:
            assert len(world.truth) >= 6
            assert broken(world) == set()
            relations.update(true.placed.relation for true in world.truth.values() if true.placed)
            for true in world.truth.values():
                assert true.bottom > world.scenery.table_height - 0.005
                assert (np.abs(true.centre[:2] - world.scenery.table_centre) < (0.6, 0.75)).all()
    assert {"left of", "right of", "behind", "in front of", "on", "next to"} <= set(relations)


def test_the_same_seed_makes_the_same_world_and_another_one_another() -> None:
    seen, truth = [], []
    for seed in (5, 5, 6):
        with settled_tabletop(seed) as world:
            seen.append(world.render(VGA))
            truth.append(world.truth)
    np.testing.assert_array_equal(seen[0].frame.rgb, seen[1].frame.rgb)
    np.testing.assert_array_equal(seen[0].frame.depth, seen[1].frame.depth)
    assert list(truth[0]) == list(truth[1])
    for id_, true in truth[0].items():
        np.testing.assert_array_equal(true.base_T_object.matrix, truth[1][id_].base_T_object.matrix)
        np.testing.assert_array_equal(true.centre, truth[1][id_].centre)
        assert true.placed == truth[1][id_].placed
    assert not np.array_equal(seen[0].frame.rgb, seen[2].frame.rgb)
    with settled_tabletop(1, objects=4, kinds=("cup", "apple")) as world:
        assert {true.label for true in world.truth.values()} <= {"cup", "apple"}
        assert 3 <= len(world.truth) <= 4


MADE: dict[str, Callable[..., Any]] = {
    "world": settled_tabletop,
    "object": lambda kind, *colour: make(kind, np.random.default_rng(0), *colour),
}


@pytest.mark.parametrize(("made", "argument", "options", "error", "words"), rows(__file__, "settled_refused"))
def test_worlds_and_objects_that_cannot_be_made_are_refused(
    made: str, argument: Any, options: Any, error: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settling, "_ATTEMPTS", 2)
    with pytest.raises(getattr(errors, error), match=words):
        MADE[made](*argument, **options)


def test_what_fell_tipped_or_moved_away_is_found(demo: Seen) -> None:
    world, _ = demo
    scenery, camera, rng = world.scenery, world.base_T_camera, np.random.default_rng(0)
    top = scenery.table_height
    objects = [
        PlacedModel("fallen", make("can", rng, "red"), (3.0, 0.0, top)),
        PlacedModel("halfway", make("can", rng, "red"), (1.44, 0.3, top + 0.002)),
        PlacedModel("stands", make("can", rng, "blue"), (0.8, 0.0, top + 0.002)),
        PlacedModel("wrong", make("cup", rng, "blue"), (0.6, 0.0, top + 0.002), placed=Placed("behind", ("stands",))),
        PlacedModel("right", make("cup", rng, "green"), (1.0, 0.02, top + 0.002), placed=Placed("behind", ("stands",))),
    ]
    with PhysicsWorld(objects, scenery, camera) as bad:
        assert broken(bad) == {"fallen", "halfway", "wrong"}
    assert [t.id for t in kept(objects, {"stands"})] == ["fallen", "halfway"]  # what is placed by it goes, too


def test_views_are_level_and_about_a_metre_away() -> None:
    for seed in range(30):
        pose = random_view(np.random.default_rng(seed))
        assert abs(pose.rotation[2, 0]) < 1e-9
        assert 0.8 < np.linalg.norm(pose.translation - (0.8, 0.0, 0.13)) < 1.2
        assert 20 < np.degrees(np.arcsin(-pose.rotation[2, 2])) < 55


@pytest.mark.parametrize("kind", KINDS)
def test_surfaces_are_closed_and_face_outwards(kind: str) -> None:
    model = make(kind, np.random.default_rng(3))
    assert 0.02 < model.mass < 2
    for part in model.parts:
        triangles = part.mesh.vertices[part.mesh.faces]
        volume = np.einsum("ij,ij->i", triangles[:, 0], np.cross(triangles[:, 1], triangles[:, 2])).sum() / 6
        assert volume > 0, "seen from outside, faces run counter-clockwise"
    assert dataclasses.replace(model).size == model.size


def test_sizes_and_colours_are_drawn_and_may_be_given() -> None:
    assert len({make("mug", np.random.default_rng(seed)).size for seed in range(5)}) == 5
    assert make("mug", np.random.default_rng(0), "pink").attributes == ("pink",)
    assert {make("apple", np.random.default_rng(seed)).attributes for seed in range(20)} == {("red",), ("green",)}
