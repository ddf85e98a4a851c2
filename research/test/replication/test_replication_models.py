# SPDX-License-Identifier: Apache-2.0
"""Models of the cells: what is frozen, what a remedy changes, and answers that do not depend on padding."""

from __future__ import annotations

import itertools
from contextlib import AbstractContextManager

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from research.replication import examining  # noqa: E402
from research.replication.building import Built, new_language  # noqa: E402
from research.replication.cells import (  # noqa: E402
    BASE,
    COMBINATIONS,
    FACTORS,
    all_cells,
    planned,
    recipe_of,
)
from research.replication.examining import asked, norm_ratio, right_answers  # noqa: E402
from research.replication.objectives import new_vision  # noqa: E402
from research.replication.questions import draw_questions  # noqa: E402
from research.replication.running import attention_scaled  # noqa: E402
from research.replication.scenes import Turn  # noqa: E402
from research.replication.settings import ReplicationSettings, Sizes, Stage  # noqa: E402
from research.replication.stages import conversation_loss  # noqa: E402
from research.replication.words import (  # noqa: E402
    IGNORED,
    VOCABULARY,
    conversation,
    padded,
    prompt,
)
from spatial_vlm_ros.errors import InputError, UnknownNameError  # noqa: E402
from spatial_vlm_ros.vlm.diagnostics.item_set import ASKED  # noqa: E402
from spatial_vlm_ros.vlm.parts import Change, Parts, image_tokens_changed  # noqa: E402

SIZES = Sizes(48, 12, 32, 4, 2, 48, 2, 2, 64, 1)


def built(cell: str = BASE, loud: float = 30.0) -> Built:
    recipe = recipe_of(cell)
    torch.manual_seed(0)
    vision, language = new_vision(recipe.encoder, SIZES).state_dict(), new_language(SIZES).state_dict()
    torch.manual_seed(1)
    return Built(recipe, SIZES, vision, language, loud).eval()


def some_inputs() -> dict[str, torch.Tensor]:
    return asked(draw_questions("validation", (1, 1, 1))[:4], SIZES)


@pytest.mark.parametrize("cell", [*COMBINATIONS, "siglip", "siglip2", "aimv2", f"loud-{BASE}", f"cloc-{BASE}"])
def test_only_what_should_learn_learns(cell: str) -> None:
    model, inputs = built(cell), some_inputs()
    labels = inputs["input_ids"].clone()
    labels[labels <= 3] = IGNORED
    for language in (False, True):
        model.learn(language=language)
        model.zero_grad(set_to_none=True)
        model.loss(inputs["pixel_values"], inputs["input_ids"], labels).backward()
        names = [name for name, value in model.named_parameters() if value.grad is not None]
        learnt = {name.removeprefix("model.").removeprefix("model.").split(".")[0] for name in names}
        wanted = {"multi_modal_projector"} | ({"norm"} if "norm" in cell else set())
        assert learnt == wanted | ({"language_model", "lm_head"} if language else set())


def test_the_loss_is_that_of_the_class() -> None:
    model, inputs = built(), some_inputs()
    labels = inputs["input_ids"].clone()
    labels[labels <= 3] = IGNORED
    with torch.no_grad():
        own = model.model(**inputs, labels=labels).loss
        found = model.loss(inputs["pixel_values"], inputs["input_ids"], labels) / (labels != IGNORED).sum()
    assert float(found) == pytest.approx(float(own), rel=1e-5)


@pytest.mark.parametrize("cell", ["1d-plain-last", "axial-norm-multi", "siglip", "siglip2", "aimv2"])
def test_what_was_seen_once_stands_for_the_images(cell: str) -> None:
    model, inputs = built(cell), some_inputs()
    pixels, tokens = inputs["pixel_values"], inputs["input_ids"]
    chosen = torch.tensor([2, 0])
    with torch.no_grad():
        looked = model.logits(pixels[chosen], tokens[chosen])
        recalled = model.logits(model.see(pixels)[chosen], tokens[chosen])
        again = model.logits(pixels[chosen], tokens[chosen])
    assert torch.allclose(recalled, looked, atol=1e-4)
    assert torch.equal(again, looked)


def test_the_loss_of_a_batch_does_not_depend_on_which_rows_go_together() -> None:
    model, inputs = built(), some_inputs()
    turns = [[Turn(ASKED["shape"].format("top"), "circle")] * count for count in (1, 4, 2, 3)]
    rows = [conversation(one, 16) for one in turns]
    tokens, labels = padded([row for row, _ in rows]), padded([row for _, row in rows], IGNORED)
    with torch.no_grad():
        together = model.loss(inputs["pixel_values"], tokens, labels) / (labels != IGNORED).sum()
        found = conversation_loss(model, inputs["pixel_values"], turns)
    assert float(found) == pytest.approx(float(together), rel=1e-5)


def test_factors_change_what_the_model_says_each_in_its_own_way() -> None:
    inputs = some_inputs()
    found = []
    for cell in COMBINATIONS:
        with torch.no_grad():
            found.append(built(cell).logits(inputs["pixel_values"], inputs["input_ids"])[0, -1])
    for one, other in itertools.combinations(found, 2):
        assert not torch.allclose(one, other, atol=1e-6)


def test_the_normaliser_takes_loudness_away() -> None:
    inputs, questions = some_inputs(), draw_questions("validation", (1, 1, 1))
    with torch.no_grad():
        quiet, loud = (
            built(f"{prefix}1d-norm-last").logits(inputs["pixel_values"], inputs["input_ids"])
            for prefix in ("", "loud-")
        )
    assert torch.allclose(quiet, loud, atol=1e-3)
    plain = norm_ratio(built(), questions, SIZES)
    assert norm_ratio(built(f"loud-{BASE}"), questions, SIZES) == pytest.approx(30 * plain, rel=0.02)


def test_answers_do_not_depend_on_padding() -> None:
    model, questions = built("axial-plain-last"), draw_questions("validation", (1, 1, 1))
    pixels = asked(questions, SIZES)["pixel_values"]
    rows = [prompt(one.item.plain.question, 16) for one in questions]
    with torch.no_grad():
        together = model.logits(pixels, padded(rows))
        for number, row in enumerate(rows):
            alone = model.logits(pixels[number : number + 1], torch.tensor([row]))
            assert torch.allclose(together[number, len(row) - 1], alone[0, -1], atol=1e-4)


def test_answers_to_permuted_tokens_are_those_of_tokens_in_another_order() -> None:
    model, questions = built(), draw_questions("validation", (2, 2, 1))
    again = right_answers(model, questions, SIZES, permuted=3)
    assert np.array_equal(again, right_answers(model, questions, SIZES, permuted=3))
    assert not model.model._forward_pre_hooks


def test_each_question_has_the_permutation_of_its_number_also_in_later_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawn as the committed results were."""
    model, questions = built(), draw_questions("validation", (2, 2, 1))
    seen: list[list[int]] = []

    def change(parts: Parts, moved: Change) -> AbstractContextManager[None]:
        def look(tokens: torch.Tensor, row: int) -> torch.Tensor:
            numbers = torch.arange(len(tokens))[:, None]
            seen.append(moved(numbers, row)[:, 0].tolist())
            return moved(tokens, row)

        return image_tokens_changed(parts, look)

    monkeypatch.setattr(examining, "image_tokens_changed", change)
    monkeypatch.setattr(examining, "_BATCH", 5)
    right_answers(model, questions, SIZES, permuted=3)
    assert len(questions) > 10
    assert seen == [np.random.default_rng((3, i)).permutation(16).tolist() for i in range(len(questions))]


def test_a_model_that_only_guesses_is_right_as_often_as_chance_says() -> None:
    model, questions = built(), draw_questions("validation", (3, 3, 1))
    with torch.no_grad():
        model.parts.projector.linear_2.weight.zero_()
        model.parts.projector.linear_2.bias.zero_()
    right = right_answers(model, questions, SIZES)
    for group in {one.item.group for one in questions}:
        within = np.array([one.item.group == group for one in questions])
        assert right[within].mean() == pytest.approx(next(q.item.chance for q in questions if q.item.group == group))


def test_attention_is_not_tuned_on_nothing() -> None:
    with pytest.raises(InputError, match="validation"):
        attention_scaled(built(), [], draw_questions("test", (1, 1, 1)), SIZES)


def test_cells_are_named_by_their_levels() -> None:
    recipe = recipe_of("loud-axial-norm-multi")
    assert (recipe.axial, recipe.normalised, recipe.several, recipe.loud) == (True, True, True, True)
    assert recipe_of("pin-1d-norm-last").trained == recipe_of("1d-norm-last")
    assert recipe_of(f"attention-loud-{BASE}").trained == recipe_of(f"loud-{BASE}")
    assert recipe_of("cloc-axial-plain-last").encoder == "cloc"
    assert len(COMBINATIONS) == 2 ** len(FACTORS)
    assert set(planned(BASE)) <= set(all_cells())
    for name in all_cells():
        assert recipe_of(name).name == name
    with pytest.raises(UnknownNameError):
        recipe_of("axial")


@pytest.mark.parametrize(
    "make",
    [
        lambda: Sizes(image=95),
        lambda: Sizes(vision_layers=1),
        lambda: Sizes(width=50),
        lambda: Stage(0, 1, 1e-3),
        lambda: Stage(1, 1, 0.0),
        lambda: ReplicationSettings(depth_share=1.5),
        lambda: ReplicationSettings(validation=(0, 1, 1)),
    ],
)
def test_settings_that_make_no_run_are_refused(make: object) -> None:
    with pytest.raises(InputError):
        make()  # type: ignore[operator]


def test_published_layers_are_taken_in_proportion() -> None:
    assert Sizes(vision_layers=24, vision_width=128).several == (12, 16, 20, 24)
    assert Sizes(vision_layers=6).several == (3, 4, 5, 6)
    assert len(VOCABULARY) < 200
