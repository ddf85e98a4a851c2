# SPDX-License-Identifier: Apache-2.0
"""What a position scheme refuses: options, models, checkpoints not trained with it, prompts it cannot place."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tables import tables

pytest.importorskip("position_cases")
import torch
from position_cases import llava_rows, logits, qwen_rows
from small_scorers import IMAGE, KINDS, prompt, small_vlm

from spatial_vlm_ros import errors
from spatial_vlm_ros.errors import InputError, ModelError
from spatial_vlm_ros.vlm.parts import ARCHITECTURES, cache_argument, cache_of, parts_of
from spatial_vlm_ros.vlm.remedies import positions
from spatial_vlm_ros.vlm.remedies.learned import LearnedPositions, trained_with
from spatial_vlm_ros.vlm.remedies.positions import OWN, Positions, install, mark_trained, settled, trained_positions

TABLES = tables(__file__)

Told = dict[str, Any]
LINEAR = {"rope_type": "linear", "factor": 4.0, "rope_theta": 1e4}
"""Scaled frequencies."""


@pytest.mark.parametrize(("told", "error", "reason"), TABLES["options"])
def test_options_that_do_not_fit_are_refused(told: dict[str, Any], error: str, reason: str) -> None:
    with pytest.raises(getattr(errors, error), match=reason):
        Positions(**told)


def test_sections_and_the_own_base_are_settled_and_scaled_frequencies_are_kept_by_axes_in_sections() -> None:
    parts = parts_of(small_vlm("llava"))
    assert settled(parts, Positions("mrope-chunked")).sections == (2, 3, 3)
    assert settled(parts, Positions("mrope-interleaved")).sections == (4, 2, 2)
    assert settled(parts_of(small_vlm("qwen2_5_vl")), Positions("mrope-chunked")).sections == (4, 2, 2)
    assert settled(parts, Positions("axial", base=1e4)) == Positions("axial")
    assert settled(parts, Positions("axial", base=1e5)).base == 1e5
    parts, given = parts_of(small_vlm("llava", rope_parameters=LINEAR)), {"input_ids": torch.arange(9)[None]}
    install(parts, Positions("axial", base=1e4), allow_untrained=True).remove()
    before = logits(parts, given)
    with install(parts, Positions("mrope-chunked"), allow_untrained=True):
        assert torch.equal(logits(parts, given), before)


@pytest.mark.parametrize(("model", "settings", "table", "grid", "error", "reason"), TABLES["models"])
def test_models_and_tables_that_do_not_fit_are_refused(
    model: Told, settings: Told, table: list[int] | None, grid: list[int] | None, error: str, reason: str
) -> None:
    parts = parts_of(small_vlm(**{"kind": "llava", **model}))
    told = {"table": LearnedPositions(*table)} if table else {"grid": tuple(grid)} if grid else {}
    if "sections" in settings:
        settings = {**settings, "sections": tuple(settings["sections"])}
    with pytest.raises(getattr(errors, error), match=reason):
        install(parts, Positions(**settings), allow_untrained=True, **told)


@pytest.mark.parametrize("kind", ["qwen2_5_vl", "qwen3_vl"])
def test_axes_are_not_taken_away_unless_allowed(kind: str) -> None:
    assert {kind for kind, found in ARCHITECTURES.items() if found.axes > 1} == set(OWN)
    parts = parts_of(small_vlm(kind))
    for scheme in ("1d", "axial"):
        with pytest.raises(InputError, match=r"of 3 axes .* allow_fewer_axes=True"):
            install(parts, Positions(scheme), allow_untrained=True)
        install(parts, Positions(scheme), allow_untrained=True, allow_fewer_axes=True).remove()


@pytest.mark.parametrize("kind", KINDS)
def test_a_checkpoint_not_trained_with_a_scheme_is_refused(kind: str) -> None:
    parts = parts_of(small_vlm(kind))
    own = {"llava": "1d", "qwen3_vl": "mrope-interleaved"}.get(kind, "mrope-chunked")
    assert trained_positions(parts).scheme == own
    other = "mrope-chunked" if kind == "qwen3_vl" else "mrope-interleaved"
    with pytest.raises(ModelError, match=r"not with positions .*allow_untrained=True"):
        install(parts, Positions(other))
    install(parts, positions.own_positions(parts)).remove()
    with pytest.raises(ModelError, match="learned-absolute"):
        install(parts, Positions("learned-absolute"), table=LearnedPositions(4, 4, 64))


def test_a_scheme_is_found_again_in_a_loaded_checkpoint(tmp_path: Path) -> None:
    model, settings = small_vlm("llava"), Positions("mrope-chunked", "running", (4, 2, 2), 500.0)
    mark_trained(parts_of(model), settings)
    model.save_pretrained(tmp_path)
    loaded = parts_of(type(model).from_pretrained(tmp_path).eval())
    assert trained_positions(loaded) == settings
    install(loaded, settings).remove()
    for other in (Positions("1d"), Positions("axial"), Positions("mrope-chunked", "grid", (4, 2, 2), 500.0)):
        with pytest.raises(ModelError, match="was trained with"):
            install(loaded, other)


@pytest.mark.parametrize("noted", ["axial", {"scheme": "2d"}, {"name": "axial"}, {"scheme": "axial", "sections": 3}])
def test_a_damaged_note_is_refused(noted: Any) -> None:
    model = small_vlm("llava")
    model.config.spatial_vlm_remedies = {"positions": noted}
    assert trained_with(model)["positions"] == noted
    with pytest.raises(ModelError, match="Mark it again"):
        trained_positions(parts_of(model))


def test_two_schemes_at_once_and_a_decoder_without_shared_frequencies_are_refused() -> None:
    parts = parts_of(small_vlm("llava"))
    first, second = install(parts, Positions("axial"), allow_untrained=True), parts_of(parts.model)
    with first, pytest.raises(ModelError, match="Remove that one first"):
        install(second, Positions("1d"))
    install(parts, Positions("1d")).remove()
    model = small_vlm("llava")
    model.model.language_model.rotary_emb = torch.nn.Identity()
    with pytest.raises(ModelError, match=r"rotary_emb\.inv_freq"):
        install(parts_of(model), Positions("axial"), allow_untrained=True)


def row(*tokens: int, images: int = 0) -> Told:
    ids = torch.tensor([tokens])
    return {"input_ids": ids, **({"pixel_values": torch.randn(images, 3, 32, 32)} if images else {})}


@pytest.mark.parametrize(
    ("given", "reason", "generating"),
    [
        # of 4 x 4 and 3 x 3 tokens: together as many as one of 5 x 5
        (lambda: row(1, *[IMAGE] * 16, 2, *[IMAGE] * 9, images=1), "one image per row", False),
        (lambda: row(1, *[IMAGE] * 64, 2, images=4), "64. image tokens of 4 images in 1 rows", False),
        (lambda: row(1, *[IMAGE] * 64, 2, images=4), "of 4 images", True),
        (lambda: row(1, *[IMAGE] * 15, 2), "15. image tokens", False),
        (lambda: {"inputs_embeds": torch.randn(1, 5, 64)}, "only embeddings", False),
        (lambda: {**row(images=1), "input_ids": torch.tensor([[1, *[IMAGE] * 16], [3] * 17])}, "no image token", False),
    ],
)
@pytest.mark.parametrize("scheme", ["axial", "learned-absolute"])
def test_a_prompt_that_cannot_be_placed_is_refused_before_anything_is_computed(
    given: Callable[[], Told], reason: str, generating: bool, scheme: str
) -> None:
    parts, computed = parts_of(small_vlm("llava")), []
    for part in (parts.vision, parts.language):
        part.register_forward_pre_hook(lambda *_: computed.append(1))
    table = LearnedPositions(4, 4, 64) if scheme == "learned-absolute" else None
    ask = (lambda **told: parts.model.generate(**told, max_new_tokens=2)) if generating else parts.model
    with install(parts, Positions(scheme), table=table, allow_untrained=True), pytest.raises(InputError, match=reason):
        ask(**given())
    assert generating or not computed


@pytest.mark.parametrize(
    ("kind", "grid", "given", "reason"),
    [
        ("llava", None, lambda: row(1, *[IMAGE] * 8, 2, *[IMAGE] * 8, 3, images=1), "apart from each other"),
        ("llava", (3, 5), lambda: prompt("llava"), r"16. image tokens .* for grids \[\(3, 5\)\]"),
        ("qwen2_5_vl", None, lambda: {**qwen_rows([(3, 4)], [(4, 4)]), "mm_token_type_ids": None}, "no mm_token_type"),
        ("qwen2_5_vl", None, lambda: {**row(*range(5)), "video_grid_thw": torch.tensor([[1, 2, 2]])}, "a video"),
    ],
)
def test_tokens_that_fit_no_grid_are_refused(kind: str, grid: Any, given: Callable[[], Told], reason: str) -> None:
    parts = parts_of(small_vlm(kind))
    settings = Positions("axial") if kind == "llava" else Positions("mrope-interleaved", sections=(4, 2, 2))
    with install(parts, settings, grid=grid, allow_untrained=True), pytest.raises(InputError, match=reason):
        parts.model(**given())


def test_caches_that_do_not_fit_are_refused() -> None:
    parts, given = parts_of(small_vlm("llava")), llava_rows([(2, 9)])
    token, argument = {"input_ids": torch.tensor([[3]])}, cache_argument(parts.model)
    with torch.no_grad():
        plain = cache_of(parts.model(**given, use_cache=True))
        with install(parts, Positions("axial"), allow_untrained=True):
            cache = cache_of(parts.model(**given, use_cache=True))
            for asked, behind, words in (
                (token, plain, "started without this scheme"),
                (given, cache, "an image behind 27 cached tokens"),
                ({"input_ids": torch.tensor([[3], [4]])}, cache, "2 rows behind 27 tokens, started with 1 rows"),
                ({"inputs_embeds": torch.zeros(2, 1, 64)}, cache, "an empty cache"),
            ):
                with pytest.raises(InputError, match=words):
                    parts.model(**asked, **{argument: behind})
            parts.model(**token, **{argument: cache})
            cache.crop(-18)
            with pytest.raises(InputError, match="1 rows behind 10 tokens"):
                parts.model(**token, **{argument: cache})
        other = install(parts, Positions("axial", "running"), allow_untrained=True)
        with other, pytest.raises(InputError, match="started without this scheme"):
            parts.model(**token, **{argument: cache})


def test_an_inner_part_called_by_itself_is_an_error_even_after_a_failure() -> None:
    parts, given = parts_of(small_vlm("llava")), prompt("llava")
    inner = {"input_ids": torch.arange(5)[None]}
    with install(parts, Positions("axial"), allow_untrained=True):
        with pytest.raises(ModelError, match="called by itself"):
            parts.model.model(**inner)
        with pytest.raises(ValueError, match="Input image size"):
            parts.model(**{**given, "pixel_values": torch.randn(1, 3, 32, 32)[:, :, :16]})
        with pytest.raises(ModelError, match="called by itself"):
            parts.model.model(**inner)
