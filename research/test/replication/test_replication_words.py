# SPDX-License-Identifier: Apache-2.0
"""Tokens of the grammar, and seeds that never meet."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from research.replication.grammar import caption, described, lesson  # noqa: E402
from research.replication.questions import candidate_tokens, draw_questions  # noqa: E402
from research.replication.scenes import Turn, draw_scene  # noqa: E402
from research.replication.seeds import DRAWINGS, PARTS, RUNS, seed_of  # noqa: E402
from research.replication.words import (  # noqa: E402
    BEGIN,
    END,
    IGNORED,
    IMAGE,
    SPECIAL,
    VOCABULARY,
    cell_of,
    conversation,
    decode,
    encode,
    padded,
    pixels,
    prompt,
    square,
)
from spatial_vlm_ros.errors import InputError, UnknownNameError  # noqa: E402


def test_every_word_has_one_token_and_comes_back() -> None:
    assert len(set(VOCABULARY)) == len(VOCABULARY)
    words = VOCABULARY[len(SPECIAL) :]
    assert decode(encode(" ".join(words))) == " ".join(words)
    assert [encode(word) for word in words] == [[k] for k in range(len(SPECIAL), len(VOCABULARY))]


def test_a_question_is_cut_at_spaces_and_marks_whatever_its_case() -> None:
    by_hand = ["which", "is", "nearer", "to", "the", "camera", ",", "the", "red", "block", "or", "the", "blue"]
    text = "Which is nearer to the camera, the red block or the blue cylinder?"
    assert [VOCABULARY[token] for token in encode(text)] == [*by_hand, "cylinder", "?"]


@pytest.mark.parametrize("text", ["a mauve circle", "row 3", "<image>"])
def test_words_outside_the_grammar_are_refused(text: str) -> None:
    with pytest.raises(InputError):
        encode(text)


def test_tokens_out_of_range_are_refused() -> None:
    with pytest.raises(InputError):
        decode([len(VOCABULARY)])


def test_all_texts_of_training_and_of_tests_are_in_the_grammar() -> None:
    for number in range(60):
        rng = np.random.default_rng(number)
        scene = draw_scene(rng, 0.5)
        encode(caption(scene, 1.0, rng))
        tokens = lesson(scene, 8, 4, rng)
        assert tokens[0] == BEGIN
        assert tokens[-1] == END
        assert IMAGE not in tokens
    for question in draw_questions("validation", (12, 6, 1)):
        encode(question.item.plain.question)
        assert len(candidate_tokens(question.item.plain.choices)) == len(question.item.plain.choices)


def test_candidates_that_begin_alike_are_refused() -> None:
    with pytest.raises(InputError):
        candidate_tokens(("red circle", "red square"))


def test_only_answers_and_their_ends_are_learnt() -> None:
    turns = [Turn("What colour is the shape at the top?", "red"), Turn("Which thing is on the left?", "blue star")]
    tokens, labels = conversation(turns, 4)
    learnt = [token for token, label in zip(tokens, labels, strict=True) if label != IGNORED]
    assert learnt == [*encode("red"), END, *encode("blue star"), END]
    assert all(label in (IGNORED, token) for token, label in zip(tokens, labels, strict=True))
    assert tokens[:5] == [BEGIN, *[IMAGE] * 4]
    first = prompt(turns[0].question, 4)
    assert tokens[: len(first)] == first


def test_shorter_rows_are_filled_at_the_end() -> None:
    assert padded([[5, 6], [7]]).tolist() == [[5, 6], [7, 0]]


def test_squares_are_those_of_a_chessboard_seen_from_above() -> None:
    assert [square(0, 0), square(0, 7), square(5, 1)] == ["a1", "h1", "b6"]
    assert cell_of(encode("b6")[0]) == (5, 1)
    assert cell_of(encode("red")[0]) is None


def test_a_description_tells_each_object_with_the_square_of_its_middle() -> None:
    scene = draw_scene(np.random.default_rng(3), 0.0)
    told = described(scene, 6, np.random.default_rng(0)).removesuffix(".").split(". ")
    by_name = {f"{colour} {shape}": where for colour, where, shape in (one.split() for one in told)}
    assert len(by_name) == len(scene.objects)
    for obj in scene.objects:
        x, y = (obj.box[0] + obj.box[2]) / 2, (obj.box[1] + obj.box[3]) / 2
        assert by_name[obj.name] == "abcdef"[int(6 * x)] + str(1 + int(6 * y))


def test_some_captions_tell_shapes_alone_and_some_colours_alone() -> None:
    scene = draw_scene(np.random.default_rng(3), 0.0)
    texts = [caption(scene, 0.0, np.random.default_rng(seed)) for seed in range(30)]
    colours, shapes = ({getattr(obj, kind) for obj in scene.objects} for kind in ("colour", "shape"))
    kinds = {(any(c in text for c in colours), any(s in text.replace(" shape", "") for s in shapes)) for text in texts}
    assert kinds == {(True, True), (True, False), (False, True)}


def test_images_are_made_smaller_by_the_mean_of_areas() -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    found = pixels([rgb], 2)[0].numpy()
    for row, column, channel in itertools.product(range(2), range(2), range(3)):
        area = rgb[4 * row : 4 * row + 4, 4 * column : 4 * column + 4, channel].astype(float)
        assert found[channel, row, column] == pytest.approx(np.rint(area.mean()) / 127.5 - 1, abs=1.01 / 127.5)


def test_seeds_of_parts_are_apart() -> None:
    for one, other in itertools.combinations(PARTS.values(), 2):
        assert one.stop <= other.start or other.stop <= one.start
    ends = [seed_of(part, run, number) for part in PARTS for run in (0, RUNS - 1) for number in (0, DRAWINGS - 1)]
    assert len(set(ends)) == len(ends)
    for part, seeds in PARTS.items():
        assert seed_of(part, 0, 0) == seeds[0]
        assert seed_of(part, RUNS - 1, DRAWINGS - 1) == seeds[-1]


@pytest.mark.parametrize(("run", "number"), [(-1, 0), (RUNS, 0), (0, -1), (0, DRAWINGS)])
def test_a_seed_that_would_leave_its_part_is_refused(run: int, number: int) -> None:
    with pytest.raises(InputError):
        seed_of("tuning", run, number)


def test_a_part_that_does_not_exist_is_refused() -> None:
    with pytest.raises(UnknownNameError):
        seed_of("train", 0, 0)
