# SPDX-License-Identifier: Apache-2.0
"""What a model learns from is what the judge asks; the loss of a lesson is the likelihood that the judge reads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from small_scorers import PALIGEMMA_WARNS, small_scorer  # noqa: E402
from tiny_bases import drawn_views, question_items  # noqa: E402

from spatial_vlm_ros.errors import FileError, InputError  # noqa: E402
from spatial_vlm_ros.perception.adapting.relation_lessons import (  # noqa: E402
    RelationLessons,
    location_lesson,
    relation_lesson,
)
from spatial_vlm_ros.perception.judging import CHOICES, AskedJudge, RelationQuestion  # noqa: E402
from spatial_vlm_ros.perception.relation_marks import QUESTION  # noqa: E402
from spatial_vlm_ros.types import Rgb  # noqa: E402
from spatial_vlm_ros.types.labelled_view import RelationLabel  # noqa: E402
from spatial_vlm_ros.vlm.adaptation.frame_store import read_store, split_groups, write_group  # noqa: E402
from spatial_vlm_ros.vlm.adaptation.lessons import (  # noqa: E402
    AdaptLesson,
    LocationWords,
    answer_losses,
    lesson_batch,
)

VIEW = next(iter(drawn_views(1)))
LEFT, RIGHT = VIEW.objects[0].box_xyxy, VIEW.objects[2].box_xyxy


class Noting:
    """A model that notes what it is asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[Rgb, str, tuple[str, ...]]] = []

    def answer(self, rgb: Rgb, question: str, choices: list[str]) -> str:
        self.asked.append((rgb, question, tuple(choices)))
        mirrored = len(self.asked) == 3
        return sorted(choices)[mirrored]


@pytest.mark.filterwarnings(PALIGEMMA_WARNS)
@pytest.mark.parametrize("kind", ["llava", "paligemma", "qwen2_vl", "qwen2_5_vl", "qwen3_vl"])
def test_the_loss_of_a_batch_is_that_of_each_answer_as_the_scorer_has_it(kind: str) -> None:
    scorer = small_scorer(kind, question_items())
    scorer.model.double()
    lessons = [
        AdaptLesson(VIEW.rgb, QUESTION, CHOICES["on"][0], "on top"),
        AdaptLesson(VIEW.rgb[::-1].copy(), QUESTION, CHOICES["left of"][0], "right"),
        AdaptLesson(VIEW.rgb, f"{QUESTION} {QUESTION}", CHOICES["behind"][0], "in front"),
    ]
    with torch.no_grad():
        losses = answer_losses(scorer.model, *lesson_batch(scorer, lessons)).tolist()
    wanted = [-scorer.scores(one.rgb, one.question, [one.answer])[0] for one in lessons]
    with_choices = []
    for one in lessons:
        scores = scorer.scores(one.rgb, one.question, one.choices)
        with_choices.append(-scores[one.choices.index(one.answer)])
    assert losses == pytest.approx(with_choices, rel=1e-5)
    assert wanted != pytest.approx(with_choices, rel=1e-5)  # the choices are part of the prompt


@pytest.mark.parametrize("relation", ["left of", "behind", "on"])
def test_lessons_ask_what_the_judge_asks(relation: str) -> None:
    model = Noting()
    AskedJudge(model).judge(VIEW.rgb, [RelationQuestion(relation, LEFT, RIGHT)], 60.0)
    label = RelationLabel(relation, LEFT, RIGHT, holds=True)
    lessons = [relation_lesson(VIEW, label, swapped, mirrored) for swapped, mirrored in
               ((False, False), (True, False), (False, True))][: len(model.asked)]  # fmt: skip
    for lesson, (rgb, question, choices) in zip(lessons, model.asked, strict=True):
        assert np.array_equal(lesson.rgb, rgb)
        assert (lesson.question, lesson.choices) == (question, choices)
    answers = [lesson.answer for lesson in lessons]
    assert answers == [CHOICES[relation][1]] * 2 + (["right"] if relation == "left of" else [])
    beside = relation_lesson(VIEW, RelationLabel("beside", LEFT, RIGHT, holds=True), swapped=True, mirrored=True)
    assert (beside.answer, beside.choices) == ("beside", CHOICES["on"][0][::-1])  # no contact holds


def test_places_are_written_in_whole_patches_and_read_again() -> None:
    words = LocationWords(224, 14)
    assert words.words((0.0, 30.0, 320.0, 480.0), 640, 480) == "[0,14,112,224]"
    assert words.words((1.0, 1.0, 2.0, 2.0), 640, 480) == "[0,0,14,14]"
    assert words.words((639.0, 479.0, 640.0, 480.0), 640, 480) == "[210,210,224,224]"
    assert words.box("It is at [0, 14, 112, 224].", 640, 480) == (0.0, 30.0, 320.0, 480.0)
    assert words.box("nowhere", 640, 480) is None
    assert words.box("[20,20,10,30]", 640, 480) is None
    lesson = location_lesson(VIEW, VIEW.objects[0], LocationWords(32, 8))
    assert VIEW.objects[0].name in lesson.question
    assert lesson.choices == ()


def store(folder: Path, views: int) -> Path:
    for number, view in enumerate(drawn_views(views)):
        write_group(folder, "drawn", f"{number:03d}", [view])
    return folder


def test_lessons_depend_on_step_and_row_alone_and_take_relations_in_turn(tmp_path: Path) -> None:
    views = read_store(store(tmp_path, 8), 0)["training"]
    lessons, again = (RelationLessons(views, 3, 0.25, LocationWords(32, 8)) for _ in range(2))
    drawn = [lessons(step, row) for step in range(60) for row in range(2)]
    for number in (0, 7, 119):
        other = again(number // 2, number % 2)
        assert (other.answer, other.choices) == (drawn[number].answer, drawn[number].choices)
        assert np.array_equal(other.rgb, drawn[number].rgb)
    answers = {lesson.answer for lesson in drawn if lesson.choices}
    assert {"left", "right", "beside"} <= answers
    share = sum(not lesson.choices for lesson in drawn) / len(drawn)
    assert 0.1 < share < 0.45
    sides = [lesson.answer for lesson in drawn if "left" in lesson.choices]
    assert 0.25 < sides.count("left") / len(sides) < 0.75


def test_views_come_back_from_the_disk_as_they_were(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        write_group(tmp_path, "drawn", name, [VIEW])
    parts = read_store(tmp_path, 0)
    assert {name: len(views) for name, views in parts.items()} == {"training": 1, "calibration": 1, "test": 1}
    stored = parts["test"][0]
    loaded = stored.load()
    assert np.array_equal(loaded.rgb, VIEW.rgb)
    assert (loaded.objects, loaded.relations) == (VIEW.objects, VIEW.relations)
    stored.path.write_bytes(b"no image")
    with pytest.raises(FileError, match="--force"):
        stored.load()
    (tmp_path / "drawn" / "a.json").write_text("[{}]")
    with pytest.raises(FileError, match="drawn"):
        read_store(tmp_path, 0)


def test_groups_are_in_one_part_each() -> None:
    names = [str(number) for number in range(40)]
    parts = split_groups(names, 0)
    assert sorted(name for some in parts.values() for name in some) == sorted(names)
    assert {part: len(of) for part, of in parts.items()} == {"training": 28, "calibration": 6, "test": 6}
    assert split_groups(names, 0) == split_groups(names[::-1], 0) != split_groups(names, 1)


def test_too_few_views_and_answers_without_tokens_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="at least 3 scenes"):
        read_store(store(tmp_path / "two", 2), 0)
    with pytest.raises(InputError, match="some of both"):
        RelationLessons([], 0, 0.25, LocationWords(32, 8))
    views = read_store(store(tmp_path / "three", 3), 0)["training"]
    assert RelationLessons(views, 0, 1.0, LocationWords(32, 8))(0, 0).choices == ()
    scorer = small_scorer("llava", question_items())
    with pytest.raises(InputError, match="token"):
        lesson_batch(scorer, [AdaptLesson(VIEW.rgb, QUESTION, ("left",), "")])
    inputs, labels = lesson_batch(scorer, [AdaptLesson(VIEW.rgb, QUESTION, ("left",), "left")])
    with pytest.raises(InputError, match="without an answer"):
        answer_losses(scorer.model, inputs, torch.full_like(labels, -100))
