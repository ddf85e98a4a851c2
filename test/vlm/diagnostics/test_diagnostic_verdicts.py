# SPDX-License-Identifier: Apache-2.0
"""Test questions whose truth is in the image alone; what is said of answerers whose fault is known, and its report."""

import dataclasses
import functools
import json
import math
from collections import Counter, defaultdict
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import pytest
from seeing import OTHER_SIDE, PALETTE, Changed, Deaf, First, Guesser, HigherIsFarther, Seer, middles, shapes
from tables import tables

from spatial_vlm_ros.errors import InputError, ModelError
from spatial_vlm_ros.types.proportions import Interval, wilson
from spatial_vlm_ros.vlm.diagnostics import items as tabletop
from spatial_vlm_ros.vlm.diagnostics import scores
from spatial_vlm_ros.vlm.diagnostics.flat_drawing import SHAPES, Shape, draw_shapes
from spatial_vlm_ros.vlm.diagnostics.items import HIGHER, LARGER, Amount, DrawnObject, ItemPrompt, ProbeItem, draw_items
from spatial_vlm_ros.vlm.diagnostics.report import Inside, answer_sheet, as_dict, attention_image, diagnose, report
from spatial_vlm_ros.vlm.diagnostics.scores import GREY, BlindnessFinding, examine, findings_of, forms_of, words_of

TABLES = tables(__file__)


@functools.cache
def items() -> list[ProbeItem]:
    return draw_items(Amount(10, 12, 6, seed=1))


@functools.cache
def examined(answerer: type, *given: Any) -> list[scores.Examined]:
    """What a new answerer of a class says to all questions; it is asked once."""
    return examine(answerer(*given), items())


def findings(answerer: type, *given: Any) -> tuple[BlindnessFinding, ...]:
    done = examined(answerer, *given)
    return findings_of(scores.sections_of(done), scores.cues_of(done))


def found(told: tuple[BlindnessFinding, ...]) -> set[tuple[str, str]]:
    return {(finding.fault, finding.where) for finding in told if finding.outcome == "found"}


def section(name: str, answerer: type) -> scores.Section:
    return next(one for one in scores.sections_of(examined(answerer)) if one.name == name)


def test_one_that_answers_from_the_image_passes_and_one_that_answers_from_the_words_does_not_look_at_it() -> None:
    told = findings(Seer)
    assert words_of(told) == "no fault found"
    assert {finding.outcome for finding in told} == {"not found"}
    told = findings(Deaf)
    assert {("does not look at the picture", axis) for axis in ("left-right", "above-below", "depth")} <= found(told)
    assert not {fault for fault, _ in found(told)} - {scores.BLIND, scores.GUESSES}
    assert words_of(told).startswith("ignores the image (left-right, above-below, depth)")


def test_one_that_takes_higher_for_farther_or_turns_depth_round_is_told_so() -> None:
    told = findings(HigherIsFarther)
    assert found(told) == {("takes higher for farther", "depth")}
    numbers = next(finding.numbers for finding in told if finding.fault == "takes higher for farther")
    assert (numbers["usual"].k, numbers["counter"].k) == (24, 0)
    assert numbers["usual - counter"].low > 0.8

    class Turned(Seer):
        def answer(self, rgb: np.ndarray, question: str, choices: Any) -> str:
            answer = super().answer(rgb, question, choices)
            return answer if rgb.std() < 1 else next(choice for choice in choices if choice != answer)

    done = examine(Turned(), [item for item in items() if item.kind == "depth"])
    assert (scores.INVERTS, "depth") in found(findings_of(scores.sections_of(done), scores.cues_of(done)))


def test_one_that_mirrors_is_told_along_which_axis() -> None:
    relative = [item for item in items() if item.kind == "relative"]
    changed = (examine(Changed(change), relative) for change in (lambda rgb: rgb[:, ::-1], lambda rgb: rgb[::-1]))
    mirrored, upside_down = (found(findings_of(scores.sections_of(done), [])) for done in changed)
    assert (scores.MIRRORS, "left-right") in mirrored
    assert (scores.UPSIDE_DOWN, "above-below") in upside_down
    assert scores.MIRRORS not in {fault for fault, _ in upside_down}


def test_one_that_names_the_first_candidate_or_throws_dice_is_told_so_and_of_no_other_fault() -> None:
    first = found(findings(First))
    assert {(scores.BY_PLACE, kind) for kind in ("absolute", "relative", "depth")} <= first
    assert {fault for fault, _ in first} <= {scores.BY_PLACE, scores.BLIND, scores.GUESSES}
    for seed in range(3):
        told = findings(Guesser, seed)
        assert {fault for fault, _ in found(told)} <= {scores.USELESS, scores.GUESSES}
        assert words_of(told) != scores.NO_FAULT
    done = examine(Seer(), draw_items(Amount(0, 1, 0, seed=1)))
    told = findings_of(scores.sections_of(done), scores.cues_of(done))
    assert words_of(told).startswith("undecided (too few questions): ")
    assert "found" not in {finding.outcome for finding in told}


@pytest.mark.parametrize(("usual", "counter", "fault"), TABLES["thumb"])
def test_a_rule_of_thumb_is_found_if_answers_fall_below_a_guess(usual: int, counter: int, fault: str | None) -> None:
    difference = scores.paired_difference([i < usual for i in range(48)], [i < counter for i in range(48)])
    cue = scores.Cue(HIGHER, wilson(usual, 48), wilson(counter, 48), difference)
    told = [finding.fault for finding in findings_of([], [cue]) if finding.outcome == "found"]
    assert told == ([fault] if fault else [])


def test_shares_are_those_of_a_count_by_hand() -> None:
    done = examined(Guesser, 3)
    picked = [e for e in done if e.item.kind == "relative"]
    one = next(s for s in scores.sections_of(done) if s.name == "relative")
    right = sum(e.answers["picture"] == e.item.truth for e in picked)
    assert (one.accuracy.k, one.accuracy.n, one.chance) == (right, 48, 0.25)
    assert one.corrected.value == pytest.approx((right / 48 - 0.25) / 0.75, abs=1e-5)
    blank = sum(e.answers["blank"] == e.item.truth for e in picked)
    assert one.gain.value == pytest.approx((right - blank) / 48, abs=1e-5)
    opposite = sum(e.answers["picture"] == OTHER_SIDE[e.item.truth] for e in picked)
    assert one.opposite.k == opposite
    turned = 0
    for e in picked:
        was, sideways = e.answers["picture"], e.item.axis == "left-right"
        due = OTHER_SIDE[was] if (was in ("left", "right")) == sideways else was
        turned += e.answers["mirrored" if sideways else "flipped"] == due
    assert one.turned_along.k == turned
    same = sum(e.answers["shuffled"] == e.answers["picture"] for e in picked)
    moved = [e.shuffled.index(e.answers["shuffled"]) for e in picked]
    before = [e.item.plain.choices.index(e.answers["picture"]) for e in picked]
    place = sum(a == b for a, b in zip(moved, before, strict=True))
    assert (one.same_shuffled.k, one.same_place.k) == (same, place)


def test_shares_at_their_ends_and_of_an_axis_are_not_corrected_where_a_constant_answer_is_right_in_half() -> None:
    class Left:
        def answer(self, _rgb: np.ndarray, _question: str, choices: Any) -> str:
            return "left" if "left" in choices else choices[0]

    done = [e for e in examined(Left) if e.item.kind == "relative"]
    by_name = {one.name: one for one in scores.sections_of(done)}
    assert by_name["left-right"].accuracy.share == 0.5
    assert by_name["left-right"].corrected is None
    assert by_name["relative"].accuracy.share == 0.25
    corrected = scores.corrected_for_chance(wilson(40, 40), 0.25)
    assert corrected.value == 1.0
    assert corrected.low == pytest.approx((wilson(40, 40).low - 0.25) / 0.75)
    assert scores.corrected_for_chance(wilson(10, 40), 0.25).value == 0.0
    assert scores.paired_difference([], []) == Interval(0.0, -1.0, 1.0)
    assert section("all", Seer).turned_along.share == 1.0
    assert section("depth", Deaf).turned_along.share == 0.0
    assert section("depth", First).same_place.share == 1.0
    assert section("all", Deaf).same_blank.share == 1.0


@pytest.mark.parametrize(("right", "outcome"), [(22, "found"), (30, "undecided"), (40, "not found")])
def test_the_rules_look_at_the_ends_of_intervals(right: int, outcome: str) -> None:
    one = dataclasses.replace(section("relative", Seer), accuracy=wilson(right, 96))
    told = next(finding for finding in findings_of([one], []) if finding.fault == scores.GUESSES)
    assert told.outcome == outcome
    low, high = told.numbers["accuracy"].low, told.numbers["accuracy"].high
    assert outcome == ("not found" if low > 0.25 else "found" if high < 0.35 else "undecided")


def test_every_question_is_asked_six_times_and_answers_that_are_no_candidates_are_refused() -> None:
    kinds = {(one.item.kind, len(one.answers)) for one in examined(First)}
    assert kinds == {("absolute", 6), ("relative", 6), ("depth", 6)}
    seen: list[tuple[int, int]] = []
    examine(First(), items()[:3], progress=lambda done, of: seen.append((done, of)))
    assert seen == [(1, 3), (2, 3), (3, 3)]

    class Talker:
        def answer(self, _rgb: np.ndarray, _question: str, choices: Any) -> str:
            return f"It is {choices[0]}."

    with pytest.raises(InputError, match="Draw some"):
        examine(First(), [])
    with pytest.raises(ModelError, match=r"Talker.*'It is .*not one of"):
        examine(Talker(), items()[:1])


def test_people_read_other_words_than_json_has() -> None:
    constants = (scores.BLIND, scores.USELESS, scores.GUESSES, scores.MIRRORS, scores.UPSIDE_DOWN)
    faults = {*constants, scores.INVERTS, scores.BY_PLACE, "takes higher for farther", "leans on larger for nearer"}
    told = {scores.shown(fault) for fault in faults}
    assert len(told) == len(faults)
    assert not told & faults
    assert not any("picture" in words for words in told)
    assert scores.shown("usual - counter") == "usual - counter"


ITEMS = draw_items(Amount(8, 6, 2, seed=9))


def test_a_report_tells_the_verdict_and_every_number_behind_it() -> None:
    found = diagnose("a stub", examine(Deaf(), ITEMS))
    text = report(found)
    assert text.startswith(f"# a stub: {found.verdict}\n")
    assert "ignores the image" in found.verdict
    for finding in found.findings:
        assert f"| {finding.words} | {finding.where} | {finding.outcome} |" in text
    row = next(line for line in text.splitlines() if line.startswith("| relative | 24 |"))
    assert row.split(" | ")[2:4] == ["25.0", "25.0 (12.0 to 44.9)"]
    tables = [line.count(" | ") for line in text.splitlines() if line.startswith("|")]
    assert set(tables) == {6, 5, 3}


def test_a_diagnosis_goes_through_json_unchanged_with_what_could_not_be_measured() -> None:
    found = diagnose("a stub", examine(Guesser(), ITEMS), Inside(left_out=("norms: out of memory",)))
    told = as_dict(found)
    again = json.loads(json.dumps(told, allow_nan=False))
    assert again == told
    assert again["verdict"] == found.verdict
    whole = next(one for one in again["sections"] if one["name"] == "all")
    assert whole["accuracy"]["k"] == found.sections[0].accuracy.k
    numbers = dict.fromkeys(("permutation", "loudness", "balance", "rotary"))
    assert again["inside"] == {**numbers, "pooling": [], "left_out": ["norms: out of memory"]}
    assert report(found).endswith("\n\nNot measured: norms: out of memory\n")


def test_what_was_measured_inside_is_told_and_what_is_no_number_becomes_none() -> None:
    pytest.importorskip("torch")
    from spatial_vlm_ros.vlm.diagnostics import measures

    right = np.arange(40) % 5 > 0
    two = np.array([[0.25, 0.75], [0.5, np.nan]])
    inside = Inside(
        measures.permutation_scores(right, right[None] & (np.arange(40) % 2 > 0), np.full(40, 0.25), (3,)),
        (measures.Pooled(4, wilson(20, 40), scores.paired_difference([True], [True])),),
        measures.Loudness(12.0, 0.8, 15.0),
        measures.Balance(two, two),
        measures.RotarySensitivity(*[np.full((2, 2), 0.125)] * 7, 1.0),
    )
    found = diagnose("a stub", examine(Seer(), ITEMS), inside)
    text = report(found)
    numbers = ("PSI 50.0 (", "corrected for chance 72.7 (", "| 4 | 50.0 (", "ratio 15.", "1 step: 50.0")
    for words in (*numbers, "|Δα_V| 1.25e-01"):
        assert words in text
    told = as_dict(found)["inside"]
    assert told["balance"]["with_system"] == [[0.25, 0.75], [0.5, None]]
    json.dumps(told, allow_nan=False)


def test_attention_is_coloured_where_it_is_and_a_sheet_shows_wrong_answers_first_with_their_colour() -> None:
    rgb = np.full((40, 60, 3), 100, np.uint8)
    weights = np.zeros((2, 3))
    weights[1, 2] = 0.4
    found = attention_image(rgb, weights)
    assert found.shape == rgb.shape
    red = (found[..., 0] > 100) & (found[..., 2] == 50)
    assert red[20:, 40:].all()
    assert not red[:20].any()
    assert not red[:, :40].any()
    assert (attention_image(rgb, np.zeros((2, 2))) == attention_image(rgb, np.zeros((2, 2)))[0, 0]).all()
    done = examine(Deaf(), ITEMS[:10])
    wrong = sum(not one.right for one in done)
    sheet = answer_sheet(done)
    assert sheet.shape == (3 * 316, 4 * 240, 3)
    edges = [tuple(int(v) for v in sheet[316 * (i // 4) + 2, 240 * (i % 4) + 2]) for i in range(10)]
    assert edges == [(200, 30, 30)] * wrong + [(20, 130, 40)] * (10 - wrong)
    first = next(one for one in done if not one.right)
    shown = cv2.resize(first.item.plain.rgb, (230, 230), interpolation=cv2.INTER_AREA)
    assert np.array_equal(sheet[5:235, 5:235], shown)


@functools.cache
def every_item() -> list[ProbeItem]:
    """Every side with every naming and number of shapes."""
    return draw_items(Amount(absolute=60, relative=30, depth=6, seed=3))


def of_kind(kind: str) -> list[ProbeItem]:
    return [item for item in every_item() if item.kind == kind]


@pytest.mark.parametrize("kind", ["absolute", "relative", "depth"])
@pytest.mark.parametrize("every", [3, pytest.param(1, marks=pytest.mark.slow)])
def test_the_image_alone_tells_the_answer_of_each_form(kind: str, every: int) -> None:
    asked = of_kind(kind)[::every]
    forms = [form for item in asked for form in forms_of(item).values() if form.truth is not None]
    assert len(forms) == 5 * len(asked)
    assert [Seer().answer(form.rgb, form.question, form.choices) for form in forms] == [form.truth for form in forms]
    if kind != "depth":
        assert {len(shapes(item.plain.rgb)) for item in asked} == {2, 3, 4, 5, 6}


@pytest.mark.parametrize("shape", SHAPES)
def test_a_shape_looks_the_same_in_a_mirror_and_lies_where_it_is_told(shape: str) -> None:
    rgb = draw_shapes([Shape(shape, "red", 167.5, 167.5, 60.0)])
    inside = (rgb == PALETTE["red"]).all(-1)
    rows, columns = np.nonzero(inside)
    assert (inside != inside[:, ::-1]).mean() < 0.01
    assert abs(columns.mean() - 167.5) < 1.5
    assert rows.min() >= 106
    assert rows.max() <= 229
    assert inside.sum() > 0.2 * math.pi * 60**2


@pytest.mark.parametrize("cue", [HIGHER, LARGER])
def test_cues_of_depth_hold_where_they_are_said_to(cue: str) -> None:
    for item in of_kind("depth"):
        far = item.truth if "farther" in item.plain.question else next(c for c in item.plain.choices if c != item.truth)
        near = next(c for c in item.plain.choices if c != far)
        pixels = item.plain.rgb.reshape(-1, 3).astype(float)
        seen = middles(item.plain.rgb, [far.split()[0], near.split()[0]])
        if cue == HIGHER:
            assert (seen[far.split()[0]][1] < seen[near.split()[0]][1]) == item.cues[cue]
            continue
        unit = {name: np.array(PALETTE[name]) / np.linalg.norm(PALETTE[name]) for name in seen}
        lively = pixels[np.ptp(pixels, axis=1) > 30]
        like = np.stack([lively @ unit[name] for name in seen])
        areas = dict(zip(seen, np.bincount(like.argmax(0), minlength=2), strict=True))
        assert (areas[near.split()[0]] > areas[far.split()[0]]) == item.cues[cue]


def test_an_object_is_drawn_where_a_pinhole_camera_sees_it() -> None:
    obj = DrawnObject("cylinder", "red", 0.2, 1.2, 0.3, 0.1)
    pitch, height = math.radians(24.0), 0.75
    forward = np.array([0.0, math.cos(pitch), -math.sin(pitch)])
    down = np.array([0.0, -math.sin(pitch), -math.cos(pitch)])
    offset = np.array([0.2, 1.2, 0.35 - height])
    u, v = 0.95 * 336 * np.array([offset[0], offset @ down]) / (offset @ forward) + 167.5
    seen = middles(tabletop.draw_tabletop([obj]), ["red"])["red"]
    assert seen == pytest.approx((u, v), abs=2.0)
    assert obj.distance == pytest.approx(np.linalg.norm(offset))
    assert obj.depth == pytest.approx(offset @ forward)


def test_truths_cues_and_sides_are_crossed_and_each_candidate_is_the_truth_equally_often() -> None:
    groups = defaultdict(list)
    for item in every_item():
        groups[item.group].append(item)
    for alike in groups.values():
        assert len({(item.plain.question, item.plain.choices, item.paraphrase) for item in alike}) == 1
        counts = Counter(item.truth for item in alike)
        assert set(counts) == set(alike[0].plain.choices)
        assert len(set(counts.values())) == 1
    depth = of_kind("depth")
    counts = Counter((i.truth == i.plain.choices[0], i.cues[HIGHER], i.cues[LARGER]) for i in depth)
    assert len(counts) == 8
    assert set(counts.values()) == {6}
    truths = Counter(item.truth for item in of_kind("relative"))
    assert set(truths) == set(OTHER_SIDE)
    assert len(set(truths.values())) == 1
    assert {item.plain.question.split()[2] for item in depth} == {"farther", "nearer"}


WORDS: dict[str, Callable[[ProbeItem], object]] = {
    "question": lambda item: item.plain.question,
    "question and candidates": lambda item: (item.plain.question, item.plain.choices),
    "candidates": lambda item: item.plain.choices,
    "nothing": lambda item: item.kind,
}


@pytest.mark.parametrize("words", WORDS)
@pytest.mark.parametrize("told", ["answer", "place in the list"])
def test_the_words_alone_do_not_tell_the_answer(words: str, told: str) -> None:
    """A predictor that knows all other items' answers and names the most frequent one is at a guess, or below."""

    def answer(item: ProbeItem) -> object:
        return item.truth if told == "answer" else item.plain.choices.index(item.truth)

    for kind in ("absolute", "relative", "depth"):
        every_item = of_kind(kind)
        seen: dict[object, Counter[object]] = defaultdict(Counter)
        for item in every_item:
            seen[WORDS[words](item)][answer(item)] += 1
        right = 0.0
        for item in every_item:
            rest = seen[WORDS[words](item)] - Counter([answer(item)])
            options = item.plain.choices if told == "answer" else range(len(item.plain.choices))
            most = max((rest[option] for option in options), default=0)
            best = [option for option in options if rest[option] == most]
            right += (answer(item) in best) / len(best)
        chance = sum(item.chance for item in every_item)
        assert right <= chance + 2 * math.sqrt(chance)
        in_sample = sum(max(counts.values()) for counts in seen.values())
        if words == "question and candidates":
            groups = len({item.group for item in every_item})
            assert in_sample == (groups if kind != "depth" else 4 * groups)  # of each group one item, or half


def test_the_same_seed_draws_the_same_items_and_another_others() -> None:
    few = Amount(4, 2, 1, seed=5)
    first, again, other = draw_items(few), draw_items(few), draw_items(Amount(4, 2, 1, seed=6))
    one, same = ([(i.key, i.truth, i.plain.rgb.tobytes()) for i in some] for some in (first, again))
    assert one == same
    assert {i.plain.rgb.tobytes() for i in first}.isdisjoint(i.plain.rgb.tobytes() for i in other)
    assert len({i.key for i in first}) == len(first)


def test_each_control_changes_one_object() -> None:
    for item in [*of_kind("relative")[:8], *of_kind("depth")[:8]]:
        plain, forms = item.plain, forms_of(item)
        assert (forms["blank"].rgb == GREY).all()
        assert forms["blank"].truth is None
        assert np.array_equal(forms["mirrored"].rgb[:, ::-1], plain.rgb)
        assert ("flipped" in forms) == (item.kind == "relative")
        assert ("swapped" in forms) == (item.kind == "depth")
        assert forms["paraphrased"].question != plain.question
        shuffled = forms["shuffled"].choices
        assert sorted(shuffled) == sorted(plain.choices)
        assert all(a != b for a, b in zip(shuffled, plain.choices, strict=True))
        kept = [forms[name] for name in forms if name not in ("blank", "mirrored", "flipped", "swapped")]
        assert all(form.rgb is plain.rgb and form.truth == plain.truth for form in kept)


@pytest.mark.parametrize(("make", "given", "words"), TABLES["no questions"])
def test_questions_without_candidates_truth_or_number_are_refused(make: str, given: list[Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        Amount(*given) if make == "Amount" else ItemPrompt(np.zeros((2, 2, 3), np.uint8), "?", *given)
