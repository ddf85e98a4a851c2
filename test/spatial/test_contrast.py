# SPDX-License-Identifier: Apache-2.0
"""Contrast, colours and sizes, numbers and places in an order."""

import dataclasses
from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
from relation_scenes import Ground, Object, scorer_of
from rendered_tables import Table, laid_out, lifted, meant, without_attributes, without_depth
from tables import tables

from benchmarks.resolving import FIVE, scene_of
from spatial_vlm_ros.errors import NotUnderstoodError
from spatial_vlm_ros.language import parse
from spatial_vlm_ros.output.json_schema import resolution_json
from spatial_vlm_ros.parameters import DepthConfig, LiftConfig, RelationConfig
from spatial_vlm_ros.perception.labels import label_fit
from spatial_vlm_ros.resolver import Resolver
from spatial_vlm_ros.sim.tabletop import COLOURS, Rendering, noisy
from spatial_vlm_ros.spatial import clauses, superlatives
from spatial_vlm_ros.spatial.attributes import attribute_likelihood, colour_shares
from spatial_vlm_ros.spatial.colours import colour_family
from spatial_vlm_ros.spatial.decision import ResolvedChoice, decide
from spatial_vlm_ros.spatial.layout import Layout
from spatial_vlm_ros.spatial.phrase_scorer import PhraseScorer
from spatial_vlm_ros.spatial.relations import RelationMeasure
from spatial_vlm_ros.spatial.superlatives import Key, middle_of_spread, place_in_order, places_in_order
from spatial_vlm_ros.spatial.support_check import check_supported
from spatial_vlm_ros.types import FrameOfReference, Ordinal, Status

TABLES = tables(__file__)
AMBIGUOUS, OK, UNSATISFIED = Status.AMBIGUOUS, Status.OK, Status.RELATION_UNSATISFIED
KETTLE = Object(0.9, 0.0, (0.16, 0.16, 0.2), label="kettle")


def decided(words: str, layout: Layout) -> ResolvedChoice:
    return decide(parse(words), scorer_of(layout, relation=RelationConfig()))


def cup(ahead: float, right: float) -> Object:
    return Object(ahead, right, label="cup")


def beside(*gaps: float) -> list[Object]:
    """Cups of 6 cm that leave these gaps to the kettle, on its right and on its left by turns."""
    return [cup(0.9, (-1) ** n * (0.08 + gap + 0.03)) for n, gap in enumerate(gaps)]


AROUND = [cup(0.9 + 0.16 * np.cos(a), 0.16 * np.sin(a)) for a in np.linspace(0, 2 * np.pi, 8, endpoint=False)]
SPOONS = [Object(1.1, right, label="spoon") for right in (0.13, -0.18)]


@pytest.mark.parametrize(
    ("words", "others", "status", "meant_"),
    [
        ("the cup next to the kettle", beside(0.02, 0.07), OK, {1}),  # the nearer of two that are both near
        ("the cup near the kettle", beside(0.02, 0.07), OK, {1}),
        ("the cup by the kettle", beside(0.02, 0.07), OK, {1}),
        ("the cup next to the kettle", beside(0.03, 1.15 * 0.03), AMBIGUOUS, {1, 2}),
        ("the cup next to the kettle", beside(0.06, 1.15 * 0.06), AMBIGUOUS, {1, 2}),
        ("the cup next to the kettle", AROUND, AMBIGUOUS, None),  # and not excluded
        ("the cup that is far from the kettle", beside(0.03, 0.5), OK, {2}),
        ("the cup next to the kettle", beside(0.6, 0.9), UNSATISFIED, None),  # although it is the nearest
        ("the cups next to the kettle", beside(0.02, 0.06), OK, {1, 2}),
        ("the spoon behind the cup next to the kettle", [cup(0.9, 0.13), cup(0.9, -0.18), *SPOONS], OK, {3}),
    ],
)
def test_vague_words_choose_by_contrast(ground: Ground, words: str, others: Any, status: Status, meant_: Any) -> None:
    verdict = decided(words, ground.layout([KETTLE, *others]))
    assert verdict.status is status
    assert meant_ is None or set(verdict.rivals or verdict.meant) == meant_


@pytest.mark.parametrize("angle_deg", [0, 30, 45, 90, 135])
def test_the_middle_is_that_of_the_direction_of_spread(ground: Ground, angle_deg: float) -> None:
    angle = np.radians(angle_deg)
    cups = [cup(0.9 + s * np.sin(angle), s * np.cos(angle)) for s in (-0.15, 0.01, 0.14)]
    verdict = decided("the middle cup", ground.layout(cups))
    assert (verdict.status, verdict.chosen) == (OK, 1)


def test_of_a_set_as_deep_as_wide_and_of_two_there_is_no_middle(ground: Ground) -> None:
    cups = [cup(0.75, 0.0), cup(0.9, 0.15), cup(1.05, -0.02), cup(0.92, -0.15), cup(0.83, 0.06)]
    layout = ground.layout(cups)
    found, _ = middle_of_spread(layout, layout.viewpoint(FrameOfReference.VIEWER), np.ones(len(layout)))
    assert found.max() < 0.8
    assert decided("the middle cup", layout).status is not OK
    assert decided("the middle cup", ground.layout([cup(0.9, 0), cup(0.9, 0.2)])).status is UNSATISFIED


def test_the_one_whose_colours_are_all_said_is_meant(tabletop: Table) -> None:
    seen = tabletop.scene("cup plain -0.15 0; cup striped 0.15 0")
    colours = {"plain": ("white",), "striped": ("yellow", "white")}
    detections = [dataclasses.replace(d, attributes=colours[d.id]) for d in seen.detections]
    for said, id_ in (("white", "plain"), ("yellow and white", "striped"), ("yellow", "striped")):
        assert tabletop.meant(seen, f"the {said} cup", detections) == id_


def test_a_word_that_nobody_can_check_does_not_exclude_the_only_candidate_and_is_mentioned(tabletop: Table) -> None:
    answer = tabletop.ask(tabletop.scene("cup cup 0 0"), "the ceramic cup")
    assert (meant(answer), [(t.phrase, t.id) for t in answer.taken_for]) == ("cup", [("ceramic cup", "cup")])
    assert "where 'ceramic cup' means the cup (cup)" in answer.message
    answer = tabletop.ask(tabletop.scene("cup cup 0 0"), "the mug")
    assert (meant(answer), answer.taken_for) == ("cup", ())


CRATE = "can can 0 -0.1; block:{} c0 0 0.25 size=0.14x0.14x0.08"


@pytest.mark.parametrize("said", [f"the {word} crate" for word in ("wooden", "toy", "storage", "old wooden", "apple")])
def test_a_word_that_separates_nothing_leaves_an_order_clear(tabletop: Table, said: str) -> None:
    seen = tabletop.scene(CRATE.format("crate"))
    for words, target in ((f"{said} behind the can", "c0"), (f"the can in front of {said}", "can"),
                          (f"put the can on {said}", "can")):  # fmt: skip
        answer = tabletop.ask(seen, words)
        assert (meant(answer), [taken.id for taken in answer.taken_for]) == (target, ["c0"]), words
    carried = tabletop.ask(tabletop.scene(CRATE.format(said[4:].replace(" ", "_"))), said)
    assert (meant(carried), carried.taken_for) == ("c0", ())


def test_the_nearest_name_is_offered_and_never_used(tabletop: Table) -> None:
    answer = tabletop.ask(tabletop.scene("can can 0 0; block:kettle b 0.2 0"), "the ketle")
    assert (answer.status, answer.question) == (Status.NOT_FOUND, "Did you mean the kettle?")
    assert [(a.text, a.ids) for a in answer.answers] == [("the kettle", ("b",)), ("yes", ("b",)), ("no", ())]
    assert tabletop.ask(tabletop.scene("can can 0 0"), "the banana").question is None
    seen = tabletop.see(tabletop.block("b", 0, 0, label="pig candle"), tabletop.can("can", 0.2, 0))
    answer = tabletop.ask(seen, "take the pig")
    assert (answer.status, answer.question) == (Status.NOT_FOUND, "Did you mean the pig candle?")
    named = dataclasses.replace(seen.detections[0], label="pig figurine")
    assert tabletop.meant(seen, "take the pig", (named, *seen.detections[1:])) == "b"


@pytest.mark.parametrize(("said", "label", "fits"), TABLES["labels"])
def test_another_material_colour_or_kind_is_another_object(said: str, label: str, fits: bool) -> None:
    assert (label_fit(said, label) > 0.3) is fits


@pytest.mark.parametrize(("holder", "relation"), [("table", "behind"), ("tray", "on")])
def test_on_the_table_tells_which_box_and_on_the_tray_where_to(tabletop: Table, holder: str, relation: str) -> None:
    box = tabletop.block("box", 0, 0.0, (0.08, 0.08, 0.08), label="box")
    tray = tabletop.block("tray", 0.35, 0.05, (0.25, 0.2, 0.01), label="tray")
    seen = tabletop.see(box, tabletop.ball("ball", 0.02, 0.2, 0.03), tray)
    answer = tabletop.ask(seen, f"put the ball behind the box on the {holder}")
    assert meant(answer) == "ball"
    assert answer.query.destination.relation == relation


def layout_of(seen: Rendering, attributes: Sequence[tuple[str, ...]] | None = None) -> Layout:
    words = attributes or [()] * len(seen.detections)
    given = tuple(dataclasses.replace(d, attributes=w) for d, w in zip(seen.detections, words, strict=True))
    frame = noisy(seen.frame, np.random.default_rng(0))
    return laid_out(lifted(frame, given, DepthConfig(), LiftConfig()), DepthConfig(), RelationConfig())


def judged(word: str, layout: Layout) -> np.ndarray:
    view = layout.viewpoint(FrameOfReference.VIEWER)
    return attribute_likelihood(word, layout, view, np.ones(len(layout), np.bool_))


def cans(tabletop: Table, *colours: str) -> Rendering:
    step = 0.6 / max(1, len(colours) - 1)
    return tabletop.see(*(tabletop.can(c, -0.3 + n * step, 0.0, colour=c) for n, c in enumerate(colours)))


def picked(tabletop: Table, seen: Rendering, words: str) -> str:
    return tabletop.meant(seen, words, without_attributes(seen.detections))


OPPOSITES = {
    "red": "green blue", "green": "red purple", "blue": "orange red", "yellow": "blue black", "orange": "blue green",
    "purple": "yellow green", "pink": "green blue", "brown": "blue white", "white": "blue red", "black": "white yellow",
    "grey": "red yellow",
}  # fmt: skip
KINDS = [("can", colour) for colour in COLOURS] + [("block", "red"), ("cup", "red"), ("ball", "red")]
SWEEP = [(kind, colour) for kind in ("block", "cup", "ball") for colour in COLOURS if colour != "red"]


@pytest.mark.parametrize(("kind", "colour"), [*KINDS, *(pytest.param(*row, marks=pytest.mark.slow) for row in SWEEP)])
def test_a_colour_is_told_from_pixels_and_its_opposites_do_not_fit(tabletop: Table, colour: str, kind: str) -> None:
    layout = layout_of(tabletop.see(getattr(tabletop, kind)("a", 0.05, 0.0, colour=colour)))
    assert judged(colour, layout)[0] > 0.8
    assert sum(colour_shares(layout.scene.objects[0], layout).values()) == pytest.approx(1.0)
    if kind == "can":
        for word in OPPOSITES[colour].split():
            assert judged(word, layout)[0] < 0.2, word


@pytest.mark.parametrize(("near", "said"), TABLES["near colours"])
def test_a_near_colour_is_not_surely_the_colour_said_and_gives_way_to_it(tabletop: Table, near: str, said: str) -> None:
    alone = tabletop.see(tabletop.can("a", 0.05, 0.0, colour=near))
    assert picked(tabletop, alone, f"the {said} can") != "a"
    both = tabletop.see(tabletop.can(near, -0.1, 0.0, colour=near), tabletop.can(said, 0.1, 0.0, colour=said))
    assert picked(tabletop, both, f"the {said} can") == said


def test_an_object_without_depth_is_not_judged_by_pixels(tabletop: Table) -> None:
    seen = cans(tabletop, "blue", "red")
    layout = tabletop.layout(seen, without_attributes(seen.detections), without_depth(seen, "blue"))
    assert colour_shares(layout.scene.objects[0], layout) == {}
    assert judged("blue", layout)[0] == 0.5


@pytest.mark.parametrize(("attributes", "word", "expected"), TABLES["detectors words"], ids=str)
def test_the_detectors_words_come_before_pixels(tabletop: Table, attributes: Any, word: str, expected: Any) -> None:
    """A near colour will do unless a better one is in view; what nothing can tell stays open; they tell parts alone."""
    found = judged(word, layout_of(cans(tabletop, "blue", "green"), [tuple(said) for said in attributes]))
    for value, (low, high) in zip(found, expected, strict=True):
        assert low - 1e-9 <= value <= high + 1e-9


def test_shades_belong_to_their_family(tabletop: Table) -> None:
    layout = layout_of(cans(tabletop, "blue", "red"), [("navy",), ("crimson",)])
    assert judged("blue", layout).argmax() == 0
    assert judged("dark red", layout).argmax() == 1
    words = ("dark blue", "light-green", "gray", "turquoise", "wooden", "navy blue")
    assert [colour_family(word) for word in words] == ["blue", "green", "grey", "teal", None, "blue"]


def test_equals_are_neither_large_nor_small_and_alone_any_size_fits(tabletop: Table) -> None:
    np.testing.assert_allclose(judged("large", layout_of(tabletop.scene("can a -0.15 0; can b 0.15 0"))), 0.5, atol=0.2)
    alone = layout_of(tabletop.scene("can a 0 0"))
    assert judged("large", alone)[0] > 0.9
    assert judged("small", alone)[0] > 0.9


@pytest.mark.parametrize(
    "instruction",
    ["the 999 leftmost objects", "the first 999 cups from the right", "the 190th object from the left",
     *(pytest.param(words, marks=pytest.mark.slow) for words in (
         "the last 500 objects from the left", "the 150 tallest objects", "the 999 objects behind the 999 boxes"))],
)  # fmt: skip
def test_a_number_costs_no_more_than_the_objects_there_are(instruction: str, monkeypatch: pytest.MonkeyPatch) -> None:
    how_many = Mock(wraps=superlatives._how_many)
    monkeypatch.setattr(superlatives, "_how_many", how_many)
    answer = Resolver().answer(scene_of(195), instruction)
    assert answer.status not in (Status.OK, Status.INTERNAL_ERROR)
    counted = [call.args for call in how_many.call_args_list]
    assert max((most for _, most in counted), default=0) <= 195
    assert sum(chance.size for chance, _ in counted) <= 4 * 195**2


def test_a_refusal_points_at_the_words_that_it_quotes() -> None:
    for words, wrong in (("grab the chick with the bonnet", "with"), ("the cup with the box with the can", "")):
        with pytest.raises(NotUnderstoodError, match="unknown relation 'with'") as refused:
            check_supported(parse(words)[0])
        start, end = refused.value.span
        assert words[start:end] == (wrong or words)  # twice in the words: the whole of them


def test_a_number_below_one_is_refused() -> None:
    ordered = parse("grab the second cup from the left")[0]
    for n in (0, -1, -7):
        with pytest.raises(NotUnderstoodError, match=f"not at {n}"):
            check_supported(replace(ordered, target=replace(ordered.target, ordinal=Ordinal(n, "left"))))
    query = parse("grab the cups behind the boxes")[0]
    (clause,) = query.target.relations
    for n in (0, -2):  # of targets and of anchors
        anchor = replace(clause.anchors[0], count=n)
        for changed in ({"count": n}, {"relations": (replace(clause, anchors=(anchor,)),)}):
            with pytest.raises(NotUnderstoodError, match="cannot act on"):
                check_supported(replace(query, target=replace(query.target, **changed)))
    check_supported(query)
    assert Resolver().answer(scene_of(9), "the 0th cup from the left").status is Status.NOT_UNDERSTOOD


def test_places_past_the_last_object_are_nobodys() -> None:
    key = Key(np.array([0.0, 1.0, 2.0]), np.full(3, 0.01))
    third, fourth, millionth = places_in_order(key, np.ones(3), (3, 4, 10**6))
    assert third == pytest.approx([0.0, 0.0, 1.0], abs=0.01)
    assert not fourth.any()
    assert not millionth.any()
    likelihood, margin = place_in_order(key, np.ones(3), 10**6)
    assert not likelihood.any()
    assert np.isnan(margin).all()


@pytest.mark.parametrize("count", [1, 6, 38, 10**9])
def test_several_places_are_the_sum_of_each(count: int) -> None:
    rng = np.random.default_rng(3)
    key, member = Key(rng.normal(0.0, 1.0, 40), np.full(40, 0.1)), rng.uniform(0.0, 1.0, 40)
    each = [place_in_order(key, member, n)[0] for n in range(3, min(3 + count, 41))]
    likelihood, margin = place_in_order(key, member, 3, count)
    assert likelihood == pytest.approx(sum(each), abs=1e-12)
    assert np.array_equal(margin, place_in_order(key, member, 3)[1], equal_nan=True)


def test_of_objects_in_one_place_none_is_surely_the_middle_one() -> None:
    scene = scene_of(9)
    one = scene.objects[4]
    copies = tuple(replace(one, detection=replace(one.detection, id=f"d{n}", label="cup")) for n in range(3))
    again = replace(scene, objects=copies)
    for instruction in ("the middle cup", "the cup", "the cup in the middle", "the second cup from the left"):
        assert Resolver().answer(again, instruction).status in (Status.AMBIGUOUS, Status.LOW_CONFIDENCE), instruction


def test_orders_are_worked_out_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(4)
    value = rng.normal(0.0, 1.0, 70)
    value[::9] = np.nan
    key, member = Key(value, rng.uniform(0.01, 0.2, 70)), rng.uniform(0.0, 1.0, 70)
    whole = places_in_order(key, member, (1, 2, 30))
    monkeypatch.setattr(superlatives, "_BLOCK", 16)
    for one, other in zip(whole, places_in_order(key, member, (1, 2, 30)), strict=True):
        assert one == pytest.approx(other, abs=1e-12)


def test_what_comes_after_many_sure_members_has_none_of_the_first_places() -> None:
    value = np.random.default_rng(4).permutation(300).astype(np.float64)
    for n, found in enumerate(places_in_order(Key(value, np.full(300, 0.01)), np.ones(300), (1, 2, 3))):
        assert value[found.argmax()] == n
        assert found.sum() == pytest.approx(1.0, abs=0.01)
        assert not found[value >= 3 + superlatives._COMPARED].any()
        assert found[value < 3 + superlatives._COMPARED].all()


INSTRUCTIONS = (
    FIVE,
    "put the cup that is behind the box and not near the can on the box next to the mug, in front of the can",
    "the two mugs left of the can behind the box, 20 cm from the cup, as seen from the robot",
    "the cup next to the can next to the mug that is next to the box next to the can",
    "the can between the cup behind the box and the mug behind the box, near the mug",
    "the mug on the box in front of the can, on top of the box, not on the can, right of the cup",
)


def answer(instruction: str, objects: int) -> dict[str, Any]:
    found = resolution_json(Resolver().answer(scene_of(objects), instruction))
    return {name: value for name, value in found.items() if name not in ("ms", "timings_ms")}


@pytest.mark.parametrize("instruction", INSTRUCTIONS)
def test_answers_are_those_of_measuring_everything_anew(instruction: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = [answer(instruction, n) for n in (8, 16)]
    monkeypatch.setattr(clauses, "_MOST", -1)
    old = PhraseScorer._clause
    monkeypatch.setattr(PhraseScorer, "_clause", lambda self, *a, **k: (self._clauses.clear(), old(self, *a, **k))[1])
    assert [answer(instruction, n) for n in (8, 16)] == kept


def test_each_relation_of_the_same_objects_is_measured_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, bytes, bytes]] = []
    measured = RelationMeasure.__call__

    def measure(relation: RelationMeasure, pairs: Any, distance: Any = None) -> Any:
        asked.append((relation.name, pairs.targets.tobytes(), pairs.anchors.tobytes()))
        return measured(relation, pairs, distance)

    monkeypatch.setattr(RelationMeasure, "__call__", measure)
    assert Resolver().answer(scene_of(31), FIVE).query.readings > 30
    assert len(asked) == len(set(asked))
    assert len(asked) <= 20  # five relations, each of few kinds of objects; the readings have 149 clauses


def test_what_is_kept_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[clauses.Judgements] = []
    monkeypatch.setattr(clauses, "_MOST", 300)
    started = clauses.Judgements.pairs

    def pairs(self: clauses.Judgements, *asked: Any) -> Any:
        made.append(self)
        return started(self, *asked)

    monkeypatch.setattr(clauses.Judgements, "pairs", pairs)
    answer(FIVE, 60)
    assert made
    for known in made:
        assert sum(len(p.targets) * len(p.anchors) for p in known._pairs.values()) <= 300
        assert {between for between, _ in known._judged} <= known._pairs.keys()
