# SPDX-License-Identifier: Apache-2.0
"""What a position scheme refuses: options, models, checkpoints not trained with it, prompts it cannot place."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from position_cases import llava_rows, logits, qwen_rows  # noqa: E402
from small_vlms import IMAGE, KINDS, prompt, small_vlm  # noqa: E402

from spatial_vlm_ros.errors import InputError, ModelError, ShapeError, UnknownNameError  # noqa: E402
from spatial_vlm_ros.vlm.kv_cache import cache_argument, cache_of  # noqa: E402
from spatial_vlm_ros.vlm.parts import ARCHITECTURES, parts_of  # noqa: E402
from spatial_vlm_ros.vlm.remedies.absolute import LearnedPositions  # noqa: E402
from spatial_vlm_ros.vlm.remedies.marking import trained_with  # noqa: E402
from spatial_vlm_ros.vlm.remedies.position_schemes import (  # noqa: E402
    OWN,
    Positions,
    mark_trained,
    own_positions,
    settled,
    trained_positions,
)
from spatial_vlm_ros.vlm.remedies.positions import install  # noqa: E402


@pytest.mark.parametrize(
    ("told", "reason"),
    [
        ({"scheme": "2d"}, "one of: 1d, axial, mrope-chunked"),
        ({"scheme": "axial", "following": "after"}, "one of: grid, running"),
        ({"scheme": "axial", "base": 1.0}, "a number above 1"),
        ({"scheme": "axial", "base": float("nan")}, "a number above 1"),
        ({"scheme": "axial", "base": float("inf")}, "a number above 1"),
        ({"scheme": "axial", "sections": (2, 3, 3)}, "none for axial"),
        ({"scheme": "1d", "base": 100.0}, "neither for 1d"),
        ({"scheme": "learned-absolute", "following": "running"}, "neither for learned-absolute"),
    ],
)
def test_options_that_do_not_fit_are_refused(told: dict[str, Any], reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        Positions(**told)


def test_names_that_do_not_exist_are_that_error() -> None:
    with pytest.raises(UnknownNameError):
        Positions("2d")
    with pytest.raises(UnknownNameError):
        Positions("axial", "behind")


def test_sections_are_settled_and_have_to_share_all_frequencies_out() -> None:
    parts = parts_of(small_vlm("llava"))
    assert settled(parts, Positions("mrope-chunked")).sections == (2, 3, 3)
    assert settled(parts, Positions("mrope-interleaved")).sections == (4, 2, 2)
    assert settled(parts_of(small_vlm("qwen2_5_vl")), Positions("mrope-chunked")).sections == (4, 2, 2)
    for sections in ((2, 2, 3), (), (8, 0, 0)):
        with pytest.raises(InputError, match="sections"):
            settled(parts, Positions("mrope-chunked", sections=sections))


def test_the_decoders_own_base_need_not_be_told() -> None:
    parts = parts_of(small_vlm("llava"))
    assert settled(parts, Positions("axial", base=1e4)) == Positions("axial")
    assert settled(parts, Positions("axial", base=1e5)).base == 1e5


def test_heads_that_cannot_be_quartered_have_no_axial_form() -> None:
    parts = parts_of(small_vlm("llava", hidden_size=56, head_dim=14))
    with pytest.raises(InputError, match="rotate 14 numbers"):
        settled(parts, Positions("axial"))


def test_scaled_frequencies_have_an_axial_form_with_a_stated_base_alone() -> None:
    scaled = {"rope_type": "linear", "factor": 4.0, "rope_theta": 1e4}
    parts = parts_of(small_vlm("llava", rope_parameters=scaled))
    with pytest.raises(InputError, match="'linear'"):
        install(parts, Positions("axial"), allow_untrained=True)
    install(parts, Positions("axial", base=1e4), allow_untrained=True).remove()
    before = logits(parts, {"input_ids": torch.arange(9)[None]})
    with install(parts, Positions("mrope-chunked"), allow_untrained=True):
        assert torch.equal(logits(parts, {"input_ids": torch.arange(9)[None]}), before)


def test_a_decoder_without_shared_frequencies_is_refused() -> None:
    model = small_vlm("llava")
    model.model.language_model.rotary_emb = torch.nn.Identity()
    with pytest.raises(ModelError, match=r"rotary_emb\.inv_freq"):
        install(parts_of(model), Positions("axial"), allow_untrained=True)


def test_tables_are_for_learned_positions_of_the_right_size_alone() -> None:
    parts = parts_of(small_vlm("llava"))
    with pytest.raises(InputError, match="learned-absolute without a table"):
        install(parts, Positions("learned-absolute"), allow_untrained=True)
    with pytest.raises(InputError, match="axial with a table"):
        install(parts, Positions("axial"), table=LearnedPositions(4, 4, 64), allow_untrained=True)
    with pytest.raises(ShapeError, match="vectors of 32"):
        install(parts, Positions("learned-absolute"), table=LearnedPositions(4, 4, 32), allow_untrained=True)


@pytest.mark.parametrize(("kind", "grid"), [("qwen2_5_vl", (4, 4)), ("llava", (0, 4))])
def test_a_grid_is_for_models_that_tell_none(kind: str, grid: tuple[int, int]) -> None:
    with pytest.raises(InputError, match="where the model returns no grid"):
        install(parts_of(small_vlm(kind)), Positions("mrope-chunked"), grid=grid, allow_untrained=True)


@pytest.mark.parametrize("kind", ["qwen2_5_vl", "qwen3_vl"])
@pytest.mark.parametrize("scheme", ["1d", "axial"])
def test_axes_are_not_taken_away_unless_allowed(kind: str, scheme: str) -> None:
    parts = parts_of(small_vlm(kind))
    with pytest.raises(InputError, match=r"of 3 axes .* allow_fewer_axes=True"):
        install(parts, Positions(scheme), allow_untrained=True)
    install(parts, Positions(scheme), allow_untrained=True, allow_fewer_axes=True).remove()


def test_every_class_that_counts_in_three_axes_has_its_scheme() -> None:
    assert {kind for kind, found in ARCHITECTURES.items() if found.axes > 1} == set(OWN)


@pytest.mark.parametrize("kind", KINDS)
def test_a_checkpoint_not_trained_with_a_scheme_is_refused(kind: str) -> None:
    parts = parts_of(small_vlm(kind))
    other = "mrope-chunked" if kind == "qwen3_vl" else "mrope-interleaved"
    with pytest.raises(ModelError, match=r"not with positions .*allow_untrained=True"):
        install(parts, Positions(other))
    install(parts, own_positions(parts)).remove()
    with pytest.raises(ModelError, match="learned-absolute"):
        install(parts, Positions("learned-absolute"), table=LearnedPositions(4, 4, 64))


def test_a_scheme_is_found_again_in_a_loaded_checkpoint(tmp_path: Path) -> None:
    model = small_vlm("llava")
    parts, given = parts_of(model), prompt("llava")
    settings = Positions("mrope-chunked", "running", (4, 2, 2), 500.0)
    mark_trained(parts, settings)
    with install(parts, settings):
        before = logits(parts, given)
    model.save_pretrained(tmp_path)
    loaded = parts_of(type(model).from_pretrained(tmp_path).eval())
    assert trained_positions(loaded) == settings
    with install(loaded, trained_positions(loaded)):
        assert torch.allclose(logits(loaded, given), before, atol=1e-5)
    for other in (Positions("1d"), Positions("axial"), Positions("mrope-chunked", "grid", (4, 2, 2), 500.0)):
        with pytest.raises(ModelError, match="was trained with"):
            install(loaded, other)


def test_a_checkpoint_without_a_note_was_trained_as_its_class_is() -> None:
    assert trained_positions(parts_of(small_vlm("llava"))) == Positions("1d")
    assert trained_positions(parts_of(small_vlm("qwen3_vl"))).scheme == "mrope-interleaved"


@pytest.mark.parametrize("noted", ["axial", {"scheme": "2d"}, {"name": "axial"}, {"scheme": "axial", "sections": 3}])
def test_a_damaged_note_is_refused(noted: Any) -> None:
    model = small_vlm("llava")
    model.config.spatial_vlm_remedies = {"positions": noted}
    assert trained_with(model)["positions"] == noted
    with pytest.raises(ModelError, match="Mark it again"):
        trained_positions(parts_of(model))


def test_two_schemes_at_once_are_refused() -> None:
    parts = parts_of(small_vlm("llava"))
    with (
        install(parts, Positions("axial"), allow_untrained=True),
        pytest.raises(ModelError, match="Remove that one first"),
    ):
        install(parts_of(parts.model), Positions("1d"))
    install(parts, Positions("1d")).remove()


def two_images() -> dict[str, Any]:
    """Of 4 x 4 and 3 x 3 tokens: together as many as one of 5 x 5."""
    given = prompt("llava", words=2)
    ids = torch.tensor([[1, *[IMAGE] * 16, 2, *[IMAGE] * 9]])
    return {**given, "input_ids": ids, "attention_mask": torch.ones_like(ids)}


def four_images_that_make_a_square() -> dict[str, Any]:
    ids = torch.tensor([[1, *[IMAGE] * 64, 2]])
    return {"input_ids": ids, "pixel_values": torch.randn(4, 3, 32, 32)}


def no_square() -> dict[str, Any]:
    return {"input_ids": torch.tensor([[1, *[IMAGE] * 15, 2]])}


def embeddings() -> dict[str, Any]:
    return {"inputs_embeds": torch.randn(1, 5, 64)}


def a_row_without() -> dict[str, Any]:
    return {"input_ids": torch.tensor([[1, *[IMAGE] * 16], [3] * 17]), "pixel_values": torch.randn(1, 3, 32, 32)}


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (two_images, "one image per row"),
        (four_images_that_make_a_square, "64. image tokens of 4 images in 1 rows"),
        (no_square, "15. image tokens"),
        (embeddings, "only embeddings"),
        (a_row_without, "no image token"),
    ],
)
@pytest.mark.parametrize("scheme", ["axial", "learned-absolute"])
def test_a_prompt_that_cannot_be_placed_is_refused_before_anything_is_computed(
    given: Callable[[], dict[str, Any]], reason: str, scheme: str
) -> None:
    parts, computed = parts_of(small_vlm("llava")), []
    for part in (parts.vision, parts.language):
        part.register_forward_pre_hook(lambda *_: computed.append(1))
    table = LearnedPositions(4, 4, 64) if scheme == "learned-absolute" else None
    with (
        install(parts, Positions(scheme), table=table, allow_untrained=True),
        pytest.raises(InputError, match=reason),
    ):
        parts.model(**given())
    assert not computed


def test_several_images_are_refused_in_generate_too() -> None:
    parts = parts_of(small_vlm("llava"))
    with install(parts, Positions("axial"), allow_untrained=True), pytest.raises(InputError, match="of 4 images"):
        parts.model.generate(**four_images_that_make_a_square(), max_new_tokens=2, do_sample=False)


def test_tokens_of_an_image_that_are_apart_are_refused() -> None:
    parts = parts_of(small_vlm("llava"))
    ids = torch.tensor([[1, *[IMAGE] * 8, 2, *[IMAGE] * 8, 3]])
    with (
        install(parts, Positions("axial"), allow_untrained=True),
        pytest.raises(InputError, match="apart from each other"),
    ):
        parts.model(input_ids=ids, pixel_values=torch.randn(1, 3, 32, 32))


def test_a_told_grid_of_another_number_of_tokens_is_refused() -> None:
    parts = parts_of(small_vlm("llava"))
    with (
        install(parts, Positions("axial"), grid=(3, 5), allow_untrained=True),
        pytest.raises(InputError, match=r"16. image tokens .* for grids \[\(3, 5\)\]"),
    ):
        parts.model(**prompt("llava"))


def test_what_qwen_does_not_count_in_three_axes_is_refused() -> None:
    parts, given = parts_of(small_vlm("qwen2_5_vl")), qwen_rows([(3, 4)], [(4, 4)])
    other = Positions("mrope-interleaved", sections=(4, 2, 2))
    with install(parts, other, allow_untrained=True):
        with pytest.raises(InputError, match="no mm_token_type_ids"):
            parts.model(**{name: part for name, part in given.items() if name != "mm_token_type_ids"})
        with pytest.raises(InputError, match="a video"):
            parts.model(input_ids=torch.arange(5)[None], video_grid_thw=torch.tensor([[1, 2, 2]]))


def test_caches_that_do_not_fit_are_refused() -> None:
    parts, given = parts_of(small_vlm("llava")), llava_rows([(2, 9)])
    token, argument = {"input_ids": torch.tensor([[3]])}, cache_argument(parts.model)
    with torch.no_grad():
        plain = cache_of(parts.model(**given, use_cache=True))
        with install(parts, Positions("axial"), allow_untrained=True):
            with pytest.raises(InputError, match="started without this scheme"):
                parts.model(**token, **{argument: plain})
            cache = cache_of(parts.model(**given, use_cache=True))
            with pytest.raises(InputError, match="an image behind 27 cached tokens"):
                parts.model(**given, **{argument: cache})
            with pytest.raises(InputError, match="2 rows behind 27 tokens, started with 1 rows"):
                parts.model(input_ids=torch.tensor([[3], [4]]), **{argument: cache})
            with pytest.raises(InputError, match="an empty cache"):
                parts.model(inputs_embeds=torch.zeros(2, 1, 64), **{argument: cache})
            parts.model(**token, **{argument: cache})
            cache.crop(-18)
            with pytest.raises(InputError, match="1 rows behind 10 tokens"):
                parts.model(**token, **{argument: cache})
        with (
            install(parts, Positions("axial", "running"), allow_untrained=True),
            pytest.raises(InputError, match="started without this scheme"),
        ):
            parts.model(**token, **{argument: cache})


def test_an_inner_part_called_by_itself_is_an_error_even_after_a_failure() -> None:
    parts, given = parts_of(small_vlm("llava")), prompt("llava")
    with install(parts, Positions("axial"), allow_untrained=True):
        with pytest.raises(ModelError, match="called by itself"):
            parts.model.model(input_ids=torch.arange(5)[None])
        with pytest.raises(ValueError, match="Input image size"):
            parts.model(**{**given, "pixel_values": torch.randn(1, 3, 32, 32)[:, :, :16]})
        with pytest.raises(ModelError, match="called by itself"):
            parts.model.model(input_ids=torch.arange(5)[None])
