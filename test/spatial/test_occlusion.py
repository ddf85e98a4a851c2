# SPDX-License-Identifier: Apache-2.0
"""One order decides among refusals; what is hidden against the truth."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from rendered_tables import Table, without_depth

from benchmarks.scenes import random_tabletop
from spatial_vlm_ros.geometry.camera import normalised_grid, project
from spatial_vlm_ros.language import parse
from spatial_vlm_ros.parameters import DecisionConfig, ResolverConfig
from spatial_vlm_ros.sim.tabletop import Body, Cylinder, Rendering, World, noisy
from spatial_vlm_ros.spatial.decision import decide
from spatial_vlm_ros.spatial.occlusion import expected_size, hidden_regions, is_inside, is_open
from spatial_vlm_ros.spatial.phrase_scorer import PhraseScorer
from spatial_vlm_ros.types import ClauseState, FrameOfReference, HiddenRegion, NounPhrase, Resolution, Status

AMBIGUOUS, NOT_FOUND, UNSATISFIED = Status.AMBIGUOUS, Status.NOT_FOUND, Status.RELATION_UNSATISFIED
LOW, NO_PLACE = Status.LOW_CONFIDENCE, Status.NO_PLACE


def assert_refused(answer: Resolution, status: Status, *named: str) -> None:
    assert answer.status is status, answer.message
    assert (answer.target, answer.place) == (None, None)
    assert all(words in answer.message for words in named), answer.message


@pytest.mark.parametrize("words", ["the can", "the leftmost can", "the can closest to the box", "the can on the table"])
def test_an_empty_table_has_nothing_to_find(tabletop: Table, words: str) -> None:
    assert_refused(tabletop.ask(tabletop.see(), words, detections=()), NOT_FOUND)


def test_what_was_not_found_may_be_behind_what_is_large_enough_to_hide_it(tabletop: Table) -> None:
    big = tabletop.block("big", -0.15, 0.0, (0.1, 0.1, 0.25), label="box")
    seen = tabletop.see(big, tabletop.block("small", 0.2, 0.0, (0.04, 0.04, 0.03)))
    answer = tabletop.ask(seen, "the banana")
    assert_refused(answer, NOT_FOUND, "box")
    assert [region.occluder_id for region in answer.hidden_regions] == ["big"]
    region = answer.hidden_regions[0]
    behind = seen.frame.base_T_camera.apply(np.array(region.position))
    assert region.frame_id == seen.frame.frame_id
    assert behind[1] > 0.05, "beyond the box, as seen from the camera"
    assert behind[2] == pytest.approx(0.03, abs=0.03), "half as high as what could be there"
    assert region.size[1] > 0.1, "as wide as a banana is long"
    assert region.size[2] == pytest.approx(0.04), "as high as a banana lies"
    low = tabletop.ask(tabletop.see(tabletop.block("low", 0, 0, (0.1, 0.1, 0.03))), "the banana")
    assert_refused(low, NOT_FOUND)
    assert low.hidden_regions == ()


def test_a_relation_that_is_false_of_every_candidate_is_said_with_what_was_measured(tabletop: Table) -> None:
    answer = tabletop.ask(tabletop.scene("cup cup 0 0; can a 0 -0.2; can b 0.3 0"), "the can behind the cup")
    assert_refused(answer, UNSATISFIED, "behind the cup", "the can (a) is 20 cm in front of it.")
    assert {c.id for c in answer.candidates} == {"a", "b"}
    for candidate in answer.candidates:
        (clause,) = candidate.clauses
        assert (clause.relation, clause.state) == ("behind", ClauseState.FAILS)
        assert clause.margin_m < 0


def test_a_lone_candidate_on_the_border_of_its_relation_is_low_confidence(tabletop: Table) -> None:
    answer = tabletop.ask(tabletop.scene("cup cup 0 0; can can 0 0.2"), "the can to the left of the cup")
    assert_refused(answer, LOW, "left of the cup")
    assert answer.candidates[0].clauses[0].state is ClauseState.UNCLEAR
    assert answer.question
    assert 0 < answer.confidence < 0.8


def test_readings_that_all_count_little_still_choose(tabletop: Table) -> None:
    """A sentence with many attachments shares its preference among many readings, none of them likely."""
    one = np.ones(1)
    layout = tabletop.layout(tabletop.scene("can only 0 0"))
    scorer = PhraseScorer(layout, ResolverConfig(), lambda _: one, one, FrameOfReference.VIEWER)
    query = parse("the can")[0]
    verdict = decide([dataclasses.replace(query, preference=1 / 40)] * 40, scorer)
    assert (verdict.status, verdict.chosen) == (Status.OK, 0)


def test_two_that_fit_are_ambiguous_and_relations_narrow_before(tabletop: Table) -> None:
    bodies = "can a -0.2 0; can b 0.2 0"
    answer = tabletop.ask(tabletop.scene(bodies), "the can")
    assert_refused(answer, AMBIGUOUS)
    assert answer.question
    one_cup = tabletop.scene("cup cup 0 0; can one -0.15 0.1 red; can other 0.15 0.1")
    assert tabletop.ask(one_cup, "put the can next to the cup").question
    assert tabletop.ask(one_cup, "put the can next to the teapot").question is None
    assert [c.probability for c in answer.candidates] == pytest.approx([0.5, 0.5], abs=0.02)
    first, later = tabletop.scene(bodies, stamp_ns=1), tabletop.scene(bodies, stamp_ns=2)
    ids = [tabletop.ask(first, "the can").dialogue_id, tabletop.ask(later, "the can").dialogue_id,
           tabletop.ask(first, "give me the can").dialogue_id]  # fmt: skip
    assert len(set(ids)) == 3
    assert tabletop.ask(first, "the can").dialogue_id == ids[0]
    three = tabletop.scene("cup cup 0 0; can a -0.2 0; can b -0.3 0.1; can c 0.2 0")
    answer = tabletop.ask(three, "the can to the left of the cup")
    assert_refused(answer, AMBIGUOUS)
    assert {c.id for c in answer.candidates if c.probability > 0.1} == {"a", "b"}


def test_an_object_hidden_beyond_the_configured_part_is_occluded(tabletop: Table) -> None:
    can, wall = tabletop.can("can", 0.0, 0.05, height=0.12), tabletop.block("wall", 0.0, -0.08, (0.16, 0.04, 0.07))
    seen = tabletop.see(can, wall, eye=tabletop.pitched(22))
    strict = ResolverConfig(decision=DecisionConfig(min_visible=0.9))
    assert_refused(tabletop.ask(seen, "the can", config=strict), Status.OCCLUDED, "block", "%")
    assert tabletop.meant(seen, "the can") == "can"


def test_several_are_moved_or_given_the_nearest_first_and_a_person_needs_no_place(tabletop: Table) -> None:
    seen = tabletop.scene("can a -0.2 -0.1; can b 0.2 0; cup cup 0 0.1")
    answer = tabletop.ask(seen, "put both cans next to the cup")
    assert answer.status is Status.OK, answer.message
    assert {target.id for target in answer.targets} == {"a", "b"}
    assert answer.place is not None
    answer = tabletop.ask(tabletop.scene("can a -0.2 0.1; can b 0.2 -0.1"), "the two cans")
    assert [target.id for target in answer.targets] == ["b", "a"]
    assert answer.target == answer.targets[0]
    answer = tabletop.ask(tabletop.scene("can can 0.2 0"), "bring the can to me")
    assert (answer.status, answer.place) == (Status.OK, None), answer.message


def test_an_answer_carries_its_candidates_margins_and_confidence(tabletop: Table) -> None:
    answer = tabletop.ask(tabletop.scene("cup cup 0 0; can near 0 -0.2; can far 0 0.2"), "the can behind the cup")
    assert (answer.status, answer.question, answer.hidden_regions) == (Status.OK, None, ())
    assert answer.candidates[0].probability > answer.confidence > 0.9, "detectors err, too"
    assert [c.id for c in answer.candidates] == ["far", "near"]
    good, bad = (c.clauses[0] for c in answer.candidates)
    assert (good.state, good.anchor_ids, bad.state) == (ClauseState.HOLDS, ("cup",), ClauseState.FAILS)
    # 0.2 m apart; the can is narrower by 5 mm on its near side than the cup
    assert good.margin_m == pytest.approx(0.205, abs=0.012)
    assert bad.margin_m == pytest.approx(-0.195, abs=0.012)
    assert sum(c.probability for c in answer.candidates) <= 1.0


def visible_part(seen: Rendering, body: Body) -> float:
    camera, pose = seen.frame.camera, seen.frame.base_T_camera
    pixels = project(camera, pose.inverse().apply(body.corners()))
    (u0, v0), (u1, v1) = np.clip(pixels.min(axis=0), 0, None).astype(int), np.ceil(pixels.max(axis=0)).astype(int) + 1
    grid = normalised_grid(camera)[v0:v1, u0:u1].reshape(-1, 2)
    rays = np.column_stack((grid, np.ones(len(grid)))) @ pose.rotation.T
    distance = body.hit(pose.translation, rays)[0]
    own = np.isfinite(distance)
    scene = np.nan_to_num(seen.frame.depth[v0:v1, u0:u1].reshape(-1), nan=np.inf)
    return float((distance[own] < scene[own]).mean())


@dataclasses.dataclass(frozen=True)
class Spot:
    place: np.ndarray
    turn: np.ndarray
    half: np.ndarray

    @staticmethod
    def of(region: HiddenRegion, seen: Rendering) -> Spot:
        pose = seen.frame.base_T_camera
        place = pose.apply(np.array(region.position))
        ahead = place[:2] - pose.translation[:2]
        ahead /= np.linalg.norm(ahead)
        return Spot(place, np.array([ahead, (ahead[1], -ahead[0])]), np.array(region.size) / 2)

    def holds(self, x: float, y: float) -> bool:
        return bool((np.abs(self.turn @ ((x, y) - self.place[:2])) <= self.half[:2]).all())


def apart(one: Body, other: Body) -> float:
    return math.dist(one.position[:2], other.position[:2])


def collides(body: Body, world: World) -> bool:
    return any(apart(body, b) < (body.size[0] + min(b.size[:2])) / 2 - 0.003 for b in world.bodies)


Trial = tuple[str, float]  # where, and how much of it is visible


@pytest.fixture(scope="module", params=[12, pytest.param(100, marks=pytest.mark.slow)], ids="{} scenes".format)
def trials(request: pytest.FixtureRequest, tabletop: Table) -> dict[str, list[Trial]]:
    found: dict[str, list[Trial]] = {"behind": [], "inside": [], "elsewhere": []}
    for seed in range(request.param):
        rng = np.random.default_rng(seed)
        world = random_tabletop(rng, int(rng.integers(3, 8)))
        pitch = float(rng.uniform(20, 50))
        seen = tabletop.see(*world.bodies, eye=tabletop.pitched(pitch, 1.0))
        layout = tabletop.layout(seen, frame=noisy(seen.frame, rng))
        obj = Cylinder(float(rng.uniform(0.02, 0.04)), float(rng.uniform(0.03, 0.07)))
        regions = hidden_regions(layout, (obj.size[0], obj.height))
        for kind, body in (*placed(regions, seen, world, obj, rng), *elsewhere(regions, seen, world, obj, rng)):
            where = f"seed {seed}, {kind}: {np.round(body.position, 3)} {np.round(obj.size, 3)}"
            found[kind].append((where, visible_part(seen, body)))
    least = {"behind": 2.0, "inside": 0.15, "elsewhere": 5.0}  # of a scene
    assert all(len(found[kind]) >= share * request.param for kind, share in least.items())
    return found


def placed(
    regions: Sequence[HiddenRegion], seen: Rendering, world: World, obj: Cylinder, rng: np.random.Generator
) -> Iterator[tuple[str, Body]]:
    for region in regions:
        spot = Spot.of(region, seen)
        room = np.maximum(spot.half[:2] - obj.radius, 0.0)
        for _ in range(2):
            x, y = spot.place[:2] + (rng.uniform(-1, 1, 2) * room) @ spot.turn
            base = max(0.0, float(spot.place[2] - spot.half[2]))
            body = Body("new", "new", obj, (float(x), float(y), base))
            holder = world[region.occluder_id]
            if apart(body, holder) + obj.radius < holder.size[0] / 2:
                yield "inside", body
            elif not collides(body, world):
                yield "behind", body


def elsewhere(
    regions: Sequence[HiddenRegion], seen: Rendering, world: World, obj: Cylinder, rng: np.random.Generator
) -> Iterator[tuple[str, Body]]:
    spots = [Spot.of(region, seen) for region in regions]
    pose = seen.frame.base_T_camera
    for _ in range(12):
        x, y = (float(c) for c in rng.uniform((-0.4, -0.3), (0.4, 0.4)))
        body = Body("new", "new", obj, (x, y, 0.0))
        pixels = project(seen.frame.camera, pose.inverse().apply(body.corners()))
        inside = (pixels >= 0).all() and (pixels < (seen.frame.camera.width, seen.frame.camera.height)).all()
        if inside and not collides(body, world) and not any(spot.holds(x, y) for spot in spots):
            yield "elsewhere", body


@pytest.mark.parametrize(("kind", "most"), [("behind", 0.05), ("inside", 0.05), ("elsewhere", 0.01)])
def test_what_is_in_a_region_is_hidden_and_elsewhere_seen(trials: Any, kind: str, most: float) -> None:
    hidden = kind != "elsewhere"
    errors = [f"{where}: {seen:.2f} visible" for where, seen in trials[kind] if (seen <= 0.1) is not hidden]
    assert len(errors) <= most * len(trials[kind]), "\n".join(errors)


def regions_of(tabletop: Table, seen: Rendering, *size: float) -> tuple[HiddenRegion, ...]:
    return hidden_regions(tabletop.layout(seen), size)


def test_the_shadow_of_a_block_has_the_length_that_similar_triangles_give(tabletop: Table) -> None:
    """Eye 0.6 m high and 0.9 m before the block's middle: the far edge of its top hides 5 cm up to 0.95·0.55/0.45 m."""
    seen = tabletop.see(tabletop.block("wall", 0.0, 0.0, (0.3, 0.1, 0.15)), eye=(0.0, -0.9, 0.6))
    (region,) = regions_of(tabletop, seen, 0.05, 0.05)
    assert region.occluder_id == "wall"
    assert region.size[0] == pytest.approx(0.95 * (0.55 / 0.45 - 1), abs=0.02)
    # The sides of the shadow run apart as lines of sight do: it is wider behind the block than the block.
    assert 0.29 < region.size[1] < 0.3 * 0.55 / 0.45
    assert region.size[2] == 0.05
    np.testing.assert_allclose(Spot.of(region, seen).place, (0.0, 0.05 + 0.211 / 2, 0.025), atol=0.015)
    assert regions_of(tabletop, seen, 0.05, 0.15) == (), "as high as the wall"
    assert regions_of(tabletop, seen, 0.25, 0.05) == (), "longer than the shadow"
    tower = tabletop.see(tabletop.block("tower", 0.0, 0.0, (0.3, 0.1, 0.7)), eye=(0, -0.9, 0.5), target=(0, 0, 0.2))
    (region,) = regions_of(tabletop, tower, 0.06, 0.06)
    assert 0.5 < region.size[0] < 1.2, "what is taller than the camera hides a metre"


@pytest.mark.parametrize(("apart", "number"), [(0.064, 1), (0.4, 2)])
def test_shadows_that_overlap_are_one_region(tabletop: Table, apart: float, number: int) -> None:
    cans = [tabletop.can(f"c{side}", side * apart / 2, 0.0, height=0.15) for side in (-1, 1)]
    assert len(regions_of(tabletop, tabletop.see(*cans, eye=(0.0, -0.9, 0.5)), 0.04, 0.04)) == number


def test_the_largest_region_comes_first_and_they_are_the_same_each_time(tabletop: Table) -> None:
    blocks = tabletop.block("small", -0.2, 0, (0.1, 0.05, 0.1)), tabletop.block("large", 0.15, 0, (0.2, 0.05, 0.2))
    regions = regions_of(tabletop, tabletop.see(*blocks), 0.05, 0.05)
    assert [region.occluder_id for region in regions] == ["large", "small"]
    seen = tabletop.see(*random_tabletop(np.random.default_rng(5), 8).bodies)
    regions = regions_of(tabletop, seen, 0.04, 0.04)
    assert regions
    assert regions == regions_of(tabletop, seen, 0.04, 0.04)
    areas = [region.size[0] * region.size[1] for region in regions]
    assert areas == sorted(areas, reverse=True)


def test_a_bowl_hides_low_objects_behind_its_near_wall_and_a_block_none_inside(tabletop: Table) -> None:
    eye = tabletop.pitched(15)
    bowl = tabletop.see(tabletop.cup("a", 0.0, 0.0, radius=0.08, height=0.09, label="bowl"), eye=eye)
    block = tabletop.see(tabletop.block("a", 0.0, 0.0, (0.14, 0.14, 0.09)), eye=eye)
    within = {
        (name, height): [r for r in regions_of(tabletop, seen, 0.04, height) if is_inside(tabletop.layout(seen), r)]
        for name, seen in (("bowl", bowl), ("block", block))
        for height in (0.03, 0.085)
    }
    (inside,) = within.pop(("bowl", 0.03))
    assert np.linalg.norm(Spot.of(inside, bowl).place[:2]) < 0.06
    assert not any(within.values())


@pytest.mark.parametrize("pitch", [30, 50])
def test_an_open_object_is_known_by_its_name_or_its_missing_top(tabletop: Table, pitch: float) -> None:
    bodies = (
        tabletop.cup("named", -0.25, 0.0, radius=0.06, height=0.1, label="bowl"),
        tabletop.cup("seen", 0.0, 0.0, radius=0.08, height=0.08, label="thing"),
        tabletop.can("full", 0.25, 0.0, radius=0.06, label="thing"),
        tabletop.ball("round", 0.0, 0.25, radius=0.05, label="thing"),
        tabletop.block("block", -0.2, 0.25, (0.14, 0.1, 0.08), label="thing", yaw=0.5),
    )
    layout = tabletop.layout(tabletop.see(*bodies, eye=tabletop.pitched(pitch)))
    assert [is_open(layout, row) for row in range(5)] == [True, True, False, False, False]


def test_without_ground_or_objects_nothing_is_hidden(tabletop: Table) -> None:
    seen = tabletop.scene("can a 0 0")
    layout = tabletop.layout(seen)
    nowhere = dataclasses.replace(layout, scene=dataclasses.replace(layout.scene, support=None))
    assert hidden_regions(nowhere, (0.03, 0.03)) == ()
    assert hidden_regions(layout, (0.03, 0.7)) == ()
    assert hidden_regions(layout, (0.0, 0.03)) == ()
    assert hidden_regions(tabletop.layout(seen, frame=without_depth(seen, "a")), (0.03, 0.03)) == ()


@pytest.mark.parametrize(
    ("noun", "size"),
    [("banana", (0.12, 0.04)), ("soup bowl", (0.15, 0.06)), ("fruit", (0.08, 0.08)), ("gizmo", (0.06, 0.06)),
     ("object", (0.06, 0.06)), ("can", None), ("mug", None)],
)  # fmt: skip
def test_sizes_are_those_of_its_like_or_the_usual(tabletop: Table, noun: str, size: tuple[float, float] | None) -> None:
    seen = tabletop.scene("cup c 0.2 0", tabletop.can("a", -0.2, 0, radius=0.045, height=0.16))
    match = np.array([1.0, 0.0]) if noun == "mug" else None
    found = expected_size(NounPhrase(noun, ("red",) if noun == "can" else ()), tabletop.layout(seen), 0.06, match)
    like = {"can": (0.09, 0.16), "mug": (0.08, 0.1)}
    assert found == size if size else found == pytest.approx(like[noun], abs=0.015)
