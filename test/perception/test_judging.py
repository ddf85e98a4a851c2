# SPDX-License-Identifier: Apache-2.0
"""Questions about relations: how objects are marked and questions put, and which answers are no opinion."""

import math
import re
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from tables import tables

from spatial_vlm_ros.errors import InputError, ModelError
from spatial_vlm_ros.parameters import config_from
from spatial_vlm_ros.perception import judging
from spatial_vlm_ros.perception.backends.families import FAMILIES, family_box_text
from spatial_vlm_ros.perception.coordinates import CONVENTIONS
from spatial_vlm_ros.perception.imported_detections import GivenDetections
from spatial_vlm_ros.perception.judging import SCENES_OF_A_FORM, AskedJudge, RelationQuestion, judge_of, with_marks
from spatial_vlm_ros.resolver import Resolver
from spatial_vlm_ros.sim.examples import chicks_and_cup_frame
from spatial_vlm_ros.types import Rgb, Status

TABLES = tables(__file__)

IMAGE = np.full((480, 640, 3), 127, np.uint8)
LEFT, RIGHT = (100.0, 200.0, 160.0, 280.0), (400.0, 220.0, 470.0, 300.0)


def question(relation: str = "left of", target: Any = LEFT, anchor: Any = RIGHT) -> RelationQuestion:
    return RelationQuestion(relation, target, anchor)


def marks_seen(image: Rgb) -> tuple[float, float] | None:
    """x of the middle of what is drawn in the red and blue of the marks alone; None where there are none."""
    found = [np.nonzero((image == colour).all(axis=-1))[1] for colour in ((230, 30, 30), (30, 60, 230))]
    return None if any(not len(one) for one in found) else (float(found[0].mean()), float(found[1].mean()))


class Looks:
    def __init__(self, gap: float = 2.0) -> None:
        self.gap = gap
        self.asked: list[tuple[str, ...]] = []

    def answer(self, rgb: Rgb, question: str, choices: Sequence[str]) -> str:
        return choices[int(np.argmax(self.scores(rgb, question, choices)))]

    def scores(self, rgb: Rgb, question: str, choices: Sequence[str]) -> list[float]:
        assert question == judging.QUESTION
        self.asked.append(tuple(choices))
        red, blue = marks_seen(rgb) or (0.0, 0.0)
        said = "left" if red < blue else "right"
        return [0.0 if one in (said, "behind", "on top") else -self.gap for one in choices]


def naming(said: str = "") -> Any:
    return SimpleNamespace(answer=lambda _, __, choices: said or choices[0])


def asked(model: Any, *questions: RelationQuestion, budget_s: float = 60.0) -> tuple[float | None, ...]:
    return AskedJudge(model).judge(IMAGE, questions, budget_s)


def test_the_probability_is_the_share_of_the_choice_that_says_it_or_nearly_sure_without_likelihoods() -> None:
    share = 1.0 / (1.0 + math.exp(-2.0))
    found = asked(Looks(), question(), question("right of"), question(target=RIGHT, anchor=LEFT), question("on"))
    assert found == pytest.approx((share, 1.0 - share, 1.0 - share, 1.0 / (1.0 + 3.0 * math.exp(-2.0))))
    for choices, holds in judging.CHOICES.values():
        assert holds in choices
        assert len(set(choices)) == len(choices)
    (on, under) = asked(naming("on top"), question("on"), question("under"))
    assert 0.999 < on < 1.0
    assert 0.0 < under < 0.001


def test_choices_are_shown_in_both_orders_and_who_takes_the_first_or_too_long_has_no_opinion() -> None:
    model = Looks()
    asked(model, question(), question("behind"))
    assert model.asked == [
        ("left", "right"), ("right", "left"), ("left", "right"), ("behind", "in front"), ("in front", "behind"),
    ]  # fmt: skip
    assert asked(naming(), question(), question("behind"), question("inside")) == (None, None, None)
    assert asked(naming("left"), question()) == (None,)  # of the mirrored image, too
    (behind,) = asked(naming("behind"), question("behind"))
    assert behind == pytest.approx(1.0, abs=1e-5)
    assert asked(Looks(), question(), question(), budget_s=0.0) == (None, None)


def test_what_was_said_in_time_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = iter(range(100))  # one passes with each look at the clock
    monkeypatch.setattr(judging, "time", SimpleNamespace(monotonic=lambda: next(seconds)))
    said = asked(Looks(), *[question("behind")] * 4, budget_s=6.0)
    assert said == (pytest.approx(1.0 / (1.0 + math.exp(-2.0))),) * 2 + (None, None)


def test_marks_are_drawn_on_a_copy_and_a_mirrored_box_lies_where_the_mirrored_object_does() -> None:
    before = IMAGE.copy()
    image = judging.marked(IMAGE, LEFT, RIGHT)
    assert np.array_equal(IMAGE, before)
    assert marks_seen(image) == pytest.approx((130, 435), abs=6)
    for box in ((0.0, 0.0, 640.0, 480.0), (638.0, 478.0, 640.0, 480.0), (0.0, 0.0, 1.0, 1.0)):
        assert (judging.marked(IMAGE, box, LEFT) != IMAGE).any()
    assert (judging.marked(IMAGE[:3, :5], (0.0, 0.0, 2.0, 2.0), (1.0, 1.0, 5.0, 3.0)) != IMAGE[:3, :5]).any()
    image = IMAGE.copy()
    image[200:280, 100:160] = 9
    mirrored, box = judging.mirror(image, LEFT)
    x0, y0, x1, y1 = (int(v) for v in box)
    assert (mirrored[y0:y1, x0:x1] == 9).all()
    assert (mirrored == 9).sum() == (image == 9).sum()


def test_who_judges_and_takes_which_marks() -> None:
    own: Any = SimpleNamespace(judge=lambda *_: ())
    assert judge_of(own) is own
    assert isinstance(judge_of(naming()), AskedJudge)
    assert isinstance(judge_of(SimpleNamespace(scorer=Looks())), AskedJudge)
    assert judge_of(SimpleNamespace(scorer=3)) is None
    assert judge_of(None) is None
    judge: Any = judge_of(SimpleNamespace(scorer=Sees(text=True), box_text=thousandths))
    assert with_marks(judge, "boxes") is judge
    assert with_marks(judge, "text").judge(IMAGE, [question()], 5.0) == (pytest.approx(1.0, abs=1e-5),)
    assert with_marks(judge, "boxes").judge(IMAGE, [question()], 5.0) == (None,)
    with pytest.raises(judging.MarksError, match=r"marks as text: how it writes boxes is not known.*boxes, crop"):
        AskedJudge(Sees()).judge(IMAGE, [question()], 5.0, marks="text")
    own = SimpleNamespace(judge=lambda *_: (0.5,))  # a way of its own takes the default alone
    assert with_marks(own, "boxes") is own
    with pytest.raises(InputError, match=r"judge\.marks: text, for SimpleNamespace"):
        with_marks(own, "text")


@pytest.mark.parametrize("said", [None, (), (0.5,), (0.5, 1.1), (0.5, math.nan), ("a", "b"), 3])
def test_what_is_no_judgement_is_an_error_of_the_model(said: Any) -> None:
    with pytest.raises(ModelError, match="it judged 2 relations with"):
        judging.check_probabilities(said, 2, "m")
    assert judging.check_probabilities((np.float32(0.5), 1, None), 3, "m") == (0.5, 1.0, None)  # type: ignore[arg-type]


@pytest.mark.parametrize("scores", [[math.nan, 0.0], [0.0], [math.inf, 0.0], [[0.0, 0.0]]])
def test_likelihoods_that_are_none_and_an_answer_that_is_no_choice_are_errors_of_the_model(scores: Any) -> None:
    with pytest.raises(ModelError, match="its likelihoods of 2 choices"):
        asked(SimpleNamespace(scores=lambda *_: scores, answer=lambda *_: "left"), question())
    with pytest.raises(ModelError, match="'up', none of"):
        asked(naming("up"), question())


NUMBERS = re.compile(r"\[(\d+), (\d+), (\d+), (\d+)\]")


class Sees:
    def __init__(
        self, *, boxes: bool = False, text: bool = False, otherwise: Callable[[Sequence[str]], str] = lambda c: c[0]
    ) -> None:
        self.boxes, self.text, self.otherwise, self.asked = boxes, text, otherwise, 0

    def answer(self, rgb: Rgb, asked_of: str, choices: Sequence[str]) -> str:
        self.asked += 1
        if "left" not in choices:
            return self.otherwise(choices)
        numbers, marks = NUMBERS.findall(asked_of), marks_seen(rgb)
        if numbers and self.text:
            a, b = (float(one[0]) for one in numbers)
        elif not numbers and self.boxes and marks is not None:
            a, b = marks
        else:
            return self.otherwise(choices)
        return "left" if a < b else "right"


def thousandths(rgb: Rgb, box: judging.Box) -> str:
    return judging.box_as_text(box, CONVENTIONS["thousand"], (rgb.shape[1], rgb.shape[0]))


def test_a_crop_holds_both_objects_with_their_marks_and_is_enlarged_where_it_is_small() -> None:
    image = IMAGE.copy()
    image[210:270, 110:150], image[230:290, 410:460] = (0, 255, 0), (0, 200, 0)
    put = judging.cropped(image, LEFT, RIGHT)
    assert put.text == judging.QUESTION
    assert max(put.image.shape[:2]) >= judging.LEAST_SIDE
    red, blue = marks_seen(put.image)
    assert red < put.image.shape[1] / 2 < blue
    assert ((put.image == (0, 255, 0)).all(axis=-1)).any()
    near = judging.cropped(image, (10.0, 10.0, 30.0, 30.0), (35.0, 12.0, 60.0, 40.0))
    assert near.image.shape[1] / near.image.shape[0] == pytest.approx(76 / 56, rel=0.02)  # 16 pixels on each side, cut
    assert not (near.image == (0, 255, 0)).all(axis=-1).any()
    assert judging.cropped(IMAGE, (0.0, 0.0, 100.0, 100.0), (500.0, 300.0, 640.0, 480.0)).image.shape == IMAGE.shape
    for box in ((0.0, 0.0, 640.0, 480.0), (638.0, 478.0, 640.0, 480.0), (0.0, 0.0, 1.0, 1.0)):  # at the border
        for target, anchor in ((box, LEFT), (LEFT, box), (box, box)):
            found = judging.cropped(IMAGE, target, anchor).image
            assert (found.dtype, found.ndim, found.size > 0) == (np.uint8, 3, True)


def test_drawn_boxes_are_the_default_form_and_boxes_in_words_leave_the_image_alone() -> None:
    put = judging.drawn(IMAGE, LEFT, RIGHT)
    assert np.array_equal(put.image, judging.marked(IMAGE, LEFT, RIGHT))
    assert list(judging.forms_of(None)) == ["boxes", "crop"]
    assert list(judging.forms_of(thousandths)) == ["boxes", "crop", "text"]
    put = judging.told(thousandths, IMAGE, LEFT, RIGHT)
    assert put.image is IMAGE
    assert "Object A is in the box [156, 417, 250, 583], and object B in the box [625, 458, 734, 625]." in put.text


@pytest.mark.parametrize(("family", "written"), TABLES["boxes are written as each family"])
def test_boxes_are_written_as_each_family_writes_them(family: str, written: str) -> None:
    row = FAMILIES[family]
    box = (80.0, 60.0, 240.0, 240.0)
    assert family_box_text("m", row, CONVENTIONS[row.convention], IMAGE, box, lambda _: (640, 480)) == written


def test_families_that_point_and_bins_of_another_number_take_no_boxes_in_words() -> None:
    pointing = {name: row for name, row in FAMILIES.items() if row.places == "point"}
    assert pointing
    for name, row in pointing.items():
        with pytest.raises(judging.MarksError, match=f"family {name} write points.*judge.marks"):
            family_box_text("m", row, CONVENTIONS[row.convention], IMAGE, LEFT, lambda _: (640, 480))
    with pytest.raises(judging.MarksError, match="bins-1000"):
        judging.box_as_text(LEFT, CONVENTIONS["bins-1000"], (640, 480))


def test_scenes_come_in_pairs_of_which_a_model_without_marks_has_one_right() -> None:
    scenes = judging.mark_scenes()
    assert len(scenes) == SCENES_OF_A_FORM
    for one, other in zip(scenes[::2], scenes[1::2], strict=True):
        assert np.array_equal(one.rgb, other.rgb)
        assert (one.target, one.anchor, one.choices) == (other.anchor, other.target, other.choices)
        assert {one.truth, other.truth} == {"left", "right"}
        assert (one.target[0] < one.anchor[0]) == (one.truth == "left")
    assert {scene.choices for scene in scenes} == {("left", "right"), ("right", "left")}
    again = judging.mark_scenes()
    assert all(np.array_equal(a.rgb, b.rgb) and a.target == b.target for a, b in zip(scenes, again, strict=True))


@pytest.mark.parametrize("forms", [1, 2, 3])
def test_guessing_passes_in_one_of_twenty_at_most(forms: int) -> None:
    needed = judging.least_right(forms)
    one = sum(math.comb(SCENES_OF_A_FORM, k) for k in range(needed, SCENES_OF_A_FORM + 1)) / 2**SCENES_OF_A_FORM
    assert forms * one <= 0.05 < forms * (one + math.comb(SCENES_OF_A_FORM, needed - 1) / 2**SCENES_OF_A_FORM)
    assert needed == {1: 12, 2: 13, 3: 13}[forms]


@pytest.mark.parametrize(("understood", "chosen"), TABLES["forms"])
def test_the_form_understood_is_chosen(understood: list[str], chosen: str, caplog: pytest.LogCaptureFixture) -> None:
    model = Sees(**dict.fromkeys(understood, True))
    probe = judging.MarkProbe(judging.forms_of(thousandths))
    assert probe.run(lambda put, choices: model.answer(put.image, put.text, choices), lambda: True)
    assert probe.chosen("m") == chosen
    judge = AskedJudge(model, thousandths)
    (left, right) = judge.judge(IMAGE, [question(), question(target=RIGHT, anchor=LEFT)], 600.0, marks="auto")
    assert left > 0.99 > 0.01 > right
    before = model.asked
    judge.judge(IMAGE, [question()], 600.0, marks="auto")
    assert model.asked == before + 3  # the probe was once
    assert caplog.text.count(f"with marks as {chosen}: right in boxes") == 1


@pytest.mark.parametrize(
    "otherwise", [lambda choices: choices[0], lambda choices: choices[-1], lambda _: "left", lambda _: "right"]
)
def test_a_model_that_does_not_see_who_is_who_is_refused(otherwise: Callable[[Sequence[str]], str]) -> None:
    judge = AskedJudge(Sees(otherwise=otherwise), thousandths)
    with pytest.raises(
        judging.MarksError, match=r"right in boxes 8, crop 8, text 8 of 16 drawn scenes each, but 13 are needed"
    ):
        judge.judge(IMAGE, [question()], 600.0, marks="auto")


def test_a_probe_goes_on_where_time_ran_out_and_until_then_there_is_no_opinion() -> None:
    model, now = Sees(boxes=True), iter(range(10_000))
    probe = judging.MarkProbe(judging.forms_of(None))
    for _ in range(50):
        if probe.run(lambda put, choices: model.answer(put.image, put.text, choices), lambda: next(now) % 3 != 2):
            break
    assert model.asked == 2 * SCENES_OF_A_FORM
    assert probe.chosen("m") == "boxes"
    model = Sees(boxes=True)
    judge = AskedJudge(model)
    assert judge.judge(IMAGE, [question(), question()], 0.0, marks="auto") == (None, None)
    assert model.asked == 0
    assert judge.judge(IMAGE, [question()], 600.0, marks="auto") != (None,)


def test_a_form_that_cannot_be_made_is_not_probed() -> None:
    def none(rgb: Rgb, box: judging.Box) -> str:  # noqa: ARG001
        raise judging.MarksError("m", "it points", "use others")

    model = Sees(boxes=True)
    judge = AskedJudge(model, none)
    judge.judge(IMAGE, [question()], 600.0, marks="auto")
    assert model.asked == 2 * SCENES_OF_A_FORM + 3
    with pytest.raises(judging.MarksError, match="it points"):
        judge.judge(IMAGE, [question()], 600.0, marks="text")


@pytest.mark.parametrize("marks", ["crop", "text", "auto"])
def test_marks_that_a_judge_does_not_take_leave_it_unasked(marks: str, caplog: pytest.LogCaptureFixture) -> None:
    frame, detections = chicks_and_cup_frame()

    class Own(GivenDetections):
        def judge(self, *_: object) -> tuple[float, ...]:
            raise AssertionError("it was asked")

    resolver = Resolver(config_from({"judge": {"mode": "auto", "marks": marks}}), Own(detections))
    for _ in range(2):
        assert resolver.resolve(frame, "grab the chick behind the cup").status is Status.OK
    assert caplog.text.count("no model is asked about relations") == 1
    for mode in ("report", "fuse"):
        config = config_from({"judge": {"mode": mode, "marks": marks}})
        refused = Resolver(config, Own(detections)).resolve(frame, "grab the chick behind the cup")
        assert refused.status is Status.INVALID_INPUT
        assert "judge.marks" in refused.message


@pytest.mark.parametrize("marks", ["boxes", "crop", "text", "auto"])
def test_neither_labels_nor_words_of_an_instruction_can_reach_the_model(marks: str) -> None:
    """A question holds a relation and numbers: what the model reads is made of constants and digits alone."""
    seen: list[str] = []

    class Notes(Sees):
        def answer(self, rgb: Rgb, asked_of: str, choices: Sequence[str]) -> str:
            seen.append(asked_of)
            return super().answer(rgb, asked_of, choices)

    AskedJudge(Notes(boxes=True, text=True), thousandths).judge(
        IMAGE, [question(), question("behind"), question("on")], 600.0, marks=marks
    )
    plain = {re.sub(r"\d+", "0", one) for one in seen}
    known = {judging.QUESTION, re.sub(r"\d+", "0", judging.told(thousandths, IMAGE, LEFT, RIGHT).text)}
    assert plain
    assert plain <= known
