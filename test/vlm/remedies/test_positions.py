# SPDX-License-Identifier: Apache-2.0
"""Positions: indices, tables and schemes on models; what reaches the layers, what is decoded, what is left behind."""

import copy
import gc
from pathlib import Path

import numpy as np
import pytest
from tables import tables

pytest.importorskip("position_cases")
import torch
from position_cases import TURNING, greedy_anew, llava_rows, logits, qwen_rows, row_of, turns_seen
from small_scorers import IMAGE, KINDS, prompt, small_vlm

from spatial_vlm_ros.errors import FileError, InputError
from spatial_vlm_ros.vlm.parts import cache_argument, cache_of, parts_of
from spatial_vlm_ros.vlm.remedies.learned import TABLE_FILE, LearnedPositions
from spatial_vlm_ros.vlm.remedies.positions import Images, Positions, grid_ids, install, line_ids, own_positions

TABLES = tables(__file__)

GRIDS = [(4, 4), (2, 7), (5, 1), (1, 1), (1, 6)]


@pytest.mark.parametrize("kind", ["qwen2_vl", "qwen2_5_vl", "qwen3_vl"])
@pytest.mark.parametrize("left", [True, False])
def test_ids_are_those_of_the_published_classes(kind: str, left: bool) -> None:
    given = qwen_rows([(3, 4), (0, 6), (9, 0), (2, 2), (1, 5)], GRIDS, left)
    del given["pixel_values"]
    theirs, deltas = small_vlm(kind).model.get_rope_index(**given)
    mask = given["attention_mask"]
    running = (mask.cumsum(-1) - 1).masked_fill(mask == 0, 0)
    starts = running[(given["input_ids"] == IMAGE).int().argmax(-1)[:, None] == torch.arange(running.shape[1])]
    images = Images.at(starts, GRIDS)
    ours, seen = grid_ids(running, images), given["attention_mask"].bool()
    assert torch.equal(ours[:, seen], theirs[:, seen])
    assert torch.equal(line_ids(theirs, images)[seen], running[seen])
    # a token decoded next: the classes add their deltas to its running index
    next_one = given["attention_mask"].sum(-1, keepdim=True)
    assert torch.equal(grid_ids(next_one, images), (next_one + deltas).expand(3, -1, -1))


def places(following: str, before: int, grid: tuple[int, int], behind: int) -> list[tuple[int, ...]]:
    """Time, row and column of a prompt's tokens, one by one."""
    height, width = grid
    found = [(i, i, i) for i in range(before)]
    found += [(before, before + r, before + c) for r in range(height) for c in range(width)]
    onward = before + (max(grid) if following == "grid" else height * width)
    return found + [(onward + i,) * 3 for i in range(behind)]


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("following", ["grid", "running"])
def test_ids_are_those_counted_token_by_token(grid: tuple[int, int], following: str) -> None:
    expected = places(following, 3, grid, 5)
    running = torch.arange(len(expected))[None]
    images = Images.at(torch.tensor([3]), [grid])
    ids = grid_ids(running, images, following)
    assert ids[:, 0].T.tolist() == [list(place) for place in expected]
    parts = torch.cat([grid_ids(running[:, i : i + 1], images, following) for i in range(running.shape[1])], dim=2)
    assert torch.equal(parts, ids)
    assert grid_ids(running, None).tolist() == [running.tolist()] * 3  # text alone is a line on every axis
    assert torch.equal(line_ids(grid_ids(running, None), None), running)


def filled(height: int, width: int, size: int) -> LearnedPositions:
    made = LearnedPositions(height, width, size)
    torch.nn.init.normal_(made.table, generator=torch.Generator().manual_seed(0))
    return made


def bilinear(table: np.ndarray, height: int, width: int) -> np.ndarray:
    """(height * width, D), cell by cell, cell centre on cell centre, held at the borders."""
    out = []
    for r in range(height):
        for c in range(width):
            value = np.zeros(table.shape[2])
            y = min(max((r + 0.5) * table.shape[0] / height - 0.5, 0.0), table.shape[0] - 1.0)
            x = min(max((c + 0.5) * table.shape[1] / width - 0.5, 0.0), table.shape[1] - 1.0)
            for i in range(table.shape[0]):
                for j in range(table.shape[1]):
                    value += max(0.0, 1 - abs(y - i)) * max(0.0, 1 - abs(x - j)) * table[i, j]
            out.append(value)
    return np.array(out)


@pytest.mark.parametrize("grid", [(3, 4), (6, 8), (2, 2), (1, 9), (5, 3)])
def test_a_grid_gets_the_table_bilinear_and_its_own_grid_row_after_row(grid: tuple[int, int]) -> None:
    made = filled(3, 4, 5)
    expected = bilinear(made.table.detach().double().numpy(), *grid)
    assert np.allclose(made(*grid).detach().numpy(), expected, atol=1e-5)
    if grid == (3, 4):
        assert torch.equal(made(*grid)[1 * 4 + 2], made.table[1, 2])


def test_a_table_begins_with_zeros_that_learn_and_is_read_as_it_was_saved_or_refused(tmp_path: Path) -> None:
    from safetensors.torch import save

    tensors = save({"table": torch.zeros(3)})
    for content, words in ((None, "beside the"), (b"no tensors", "beside the checkpoint"), (tensors, "no table")):
        if content is not None:
            (tmp_path / TABLE_FILE).write_bytes(content)
        with pytest.raises(FileError, match=words):
            LearnedPositions.load(tmp_path)
    with pytest.raises(FileError, match="Save the checkpoint there first"):
        filled(2, 2, 3).save(tmp_path / "nowhere")
    with pytest.raises(InputError, match="learned positions"):
        LearnedPositions(0, 4, 8)
    made = LearnedPositions(2, 2, 3)
    assert not made.table.any()
    made(4, 4).sum().backward()
    assert torch.allclose(made.table.grad, torch.full((2, 2, 3), 4.0))
    made = filled(3, 4, 5)
    made.save(str(tmp_path))
    assert torch.equal(LearnedPositions.load(str(tmp_path)).table, made.table)


SIZE, BASE = 16, 1e4  # heads of the small models


def counted(scheme: str, then: str, before: int, grid: tuple[int, int], behind: int, base: float = BASE) -> np.ndarray:
    """(N, D/2) angles of a prompt, token by token and frequency by frequency."""
    half, out = SIZE // 2, []
    for t, h, w in places(then, before, grid, behind):
        if scheme == "axial":
            out.append([(h if j < half // 2 else w) * base ** (-2 * (j % (half // 2)) / half) for j in range(half)])
            continue
        axes = {"mrope-chunked": "tthhhwww", "mrope-interleaved": "thwthwtt"}[scheme]
        out.append([{"t": t, "h": h, "w": w}[axes[j]] * base ** (-2 * j / SIZE) for j in range(half)])
    return np.array(out)


@pytest.mark.parametrize("scheme", TURNING)
@pytest.mark.parametrize(("following", "grid", "base"), TABLES["turned"])
def test_layers_turn_as_counted(scheme: str, following: str, grid: list[int] | None, base: float | None) -> None:
    parts, given = parts_of(small_vlm("llava")), llava_rows([(5, 7)])
    grid = tuple(grid) if grid else None
    settings = Positions(scheme, following, base=base)
    with install(parts, settings, grid=grid, allow_untrained=True), turns_seen(parts) as seen:
        logits(parts, given)
    expected = counted(scheme, following, 5, grid or (4, 4), 7, base or BASE)
    for turned, theirs in zip(seen[0], (np.cos, np.sin), strict=True):
        assert np.allclose(turned[0].numpy(), theirs(np.tile(expected, 2)), atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_class_does_by_itself_is_the_same_bits(kind: str) -> None:
    parts, given = parts_of(small_vlm(kind)), prompt(kind)
    before = logits(parts, given)
    with install(parts, own_positions(parts)):
        assert torch.equal(logits(parts, given), before)


@pytest.mark.parametrize("scheme", TURNING)
def test_schemes_change_answers_and_leave_no_trace(scheme: str) -> None:
    parts, given = parts_of(small_vlm("llava")), prompt("llava")
    before = logits(parts, given)
    handle = install(parts, Positions(scheme), allow_untrained=True)
    gc.collect()
    changed = logits(parts, given)
    assert (changed - before).abs().max() > 1e-2
    handle.remove()
    handle.remove()
    assert torch.equal(logits(parts, given), before)
    with install(parts, Positions(scheme), allow_untrained=True):
        assert torch.equal(logits(parts, given), changed)


def test_a_handle_that_nobody_keeps_stays() -> None:
    parts, given = parts_of(small_vlm("llava")), prompt("llava")
    before = logits(parts, given)
    install(parts, Positions("learned-absolute"), table=filled(4, 4, 64), allow_untrained=True)
    gc.collect()
    assert not torch.allclose(logits(parts, given), before, atol=1e-2)


@pytest.mark.parametrize(
    ("scheme", "following"),
    [pytest.param(*row, marks=pytest.mark.slow if slow else ()) for *row, slow in TABLES["decoding"]],
)
def test_decoding_from_a_cache_equals_the_whole_prompt_anew(scheme: str, following: str) -> None:
    parts, given = parts_of(small_vlm("llava")), llava_rows([(2, 9), (6, 3)])
    with install(parts, Positions(scheme, following), allow_untrained=True):
        cached = parts.model.generate(**given, max_new_tokens=14, do_sample=False)
        anew = greedy_anew(parts, given, 14)
    assert torch.equal(cached, anew)
    assert len(cached[0].unique()) > 4


@pytest.mark.parametrize("scheme", TURNING)
def test_steps_from_a_cache_give_the_logits_of_the_whole(scheme: str) -> None:
    parts, given = parts_of(small_vlm("llava")), llava_rows([(5, 14)])
    with install(parts, Positions(scheme), allow_untrained=True), torch.no_grad():
        whole = logits(parts, given)
        begun = {**given, "input_ids": given["input_ids"][:, :23], "attention_mask": given["attention_mask"][:, :23]}
        out = parts.model(**begun, use_cache=True)
        pieces, cache = [out.logits], cache_of(out)
        for part in given["input_ids"][:, 23:].split([1, 1, 5, 3, 1, 1], dim=1):
            pieces.append(parts.model(input_ids=part, use_cache=True, **{cache_argument(parts.model): cache}).logits)
    assert torch.allclose(torch.cat(pieces, dim=1), whole, atol=1e-4)


@pytest.mark.parametrize("scheme", TURNING)
def test_rows_of_a_padded_batch_are_answered_and_decoded_as_alone(scheme: str) -> None:
    parts, told = parts_of(small_vlm("llava")), {"max_new_tokens": 12, "do_sample": False}
    with install(parts, Positions(scheme), allow_untrained=True):
        for left in (True, False):
            given = llava_rows([(2, 9), (7, 1), (0, 4)], left)
            together = logits(parts, given)
            for row in range(3):
                alone = logits(parts, row_of(given, row))[0]
                assert torch.allclose(together[row, given["attention_mask"][row].bool()], alone, atol=1e-4)
        given = llava_rows([(2, 9), (7, 1)])
        decoded = parts.model.generate(**given, **told)[:, -12:]
        for row in range(2):
            assert torch.equal(decoded[row : row + 1], parts.model.generate(**row_of(given, row), **told)[:, -12:])


def test_several_beams_are_those_of_the_whole_prompt_anew() -> None:
    parts, given = parts_of(small_vlm("llava")), llava_rows([(2, 9), (7, 1)])
    told = {"max_new_tokens": 12, "do_sample": False, "num_beams": 3}
    with install(parts, Positions("axial"), allow_untrained=True):
        cached = parts.model.generate(**given, **told)
        anew = parts.model.generate(**given, **told, use_cache=False)
    assert torch.equal(cached, anew)


def test_images_of_several_sizes_in_a_batch_are_turned_each_by_its_grid() -> None:
    from transformers.modeling_outputs import BaseModelOutputWithPooling

    parts = parts_of(small_vlm("llava"))
    ids = torch.tensor([[3, *[IMAGE] * 9, *range(12)], [3, 4, *[IMAGE] * 4, *range(16)]])
    features = torch.randn(13, 64, generator=torch.Generator().manual_seed(0)).split([9, 4])
    encoded = {"image": BaseModelOutputWithPooling(pooler_output=list(features))}
    with install(parts, Positions("mrope-chunked"), allow_untrained=True), turns_seen(parts) as seen, torch.no_grad():
        parts.model(input_ids=ids, attention_mask=torch.ones_like(ids), mm_encoder_outputs=encoded)
    for row, (before, grid, behind) in enumerate([(1, (3, 3), 12), (2, (2, 2), 16)]):
        expected = counted("mrope-chunked", "grid", before, grid, behind)
        assert np.allclose(seen[0][0][row].numpy(), np.cos(np.tile(expected, 2)), atol=1e-5)


def test_positions_of_qwen_are_turned_in_the_other_published_way() -> None:
    from transformers.models.qwen3_vl.modeling_qwen3_vl import Qwen3VLTextRotaryEmbedding

    model = small_vlm("qwen2_5_vl")
    parts, given = parts_of(model), qwen_rows([(3, 4), (0, 9)], [(4, 4), (2, 6)])
    config = small_vlm("qwen3_vl").config.text_config
    ids, _ = model.model.get_rope_index(**{name: value for name, value in given.items() if name != "pixel_values"})
    cos, sin = Qwen3VLTextRotaryEmbedding(config)(torch.zeros(1), ids)
    settings = Positions("mrope-interleaved", sections=(4, 2, 2))
    with install(parts, settings, allow_untrained=True), turns_seen(parts) as seen:
        logits(parts, given)
    within = given["attention_mask"].bool()
    assert torch.equal(seen[0][0][within], cos[within])
    assert torch.equal(seen[0][1][within], sin[within])


def test_axes_of_qwen_can_be_taken_away() -> None:
    parts, given = parts_of(small_vlm("qwen2_5_vl")), qwen_rows([(3, 4), (0, 9)], [(4, 4), (2, 6)])
    with install(parts, Positions("1d"), allow_untrained=True, allow_fewer_axes=True), turns_seen(parts) as seen:
        logits(parts, given)
        cached = parts.model.generate(**given, max_new_tokens=12, do_sample=False)
        anew = greedy_anew(parts, given, 12)
    for row, length in enumerate(given["attention_mask"].sum(-1).tolist()):
        line = np.arange(length)[:, None] * BASE ** (-np.arange(0, SIZE, 2) / SIZE)
        assert np.allclose(seen[0][0][row, -length:].numpy(), np.cos(np.tile(line, 2)), atol=1e-5)
    assert torch.equal(cached, anew)


def test_a_prefix_model_is_turned_from_where_it_counts() -> None:
    """Whatever number its first token has, images begin there."""
    parts, given = parts_of(small_vlm("paligemma")), prompt("paligemma", words=2)
    with turns_seen(parts) as seen:
        logits(parts, given)
        with install(parts, Positions("mrope-chunked"), allow_untrained=True):
            logits(parts, given)
    (cos, sin), turned = seen[0], seen[1][0][0]
    first = round(float(torch.atan2(sin[0, 0, 0], cos[0, 0, 0])))  # one radian a step
    expected = counted("mrope-chunked", "grid", 2 + first, (4, 4), 2)[first:]
    assert np.allclose(turned.numpy(), np.cos(np.tile(expected, 2)), atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_a_learned_table_is_added_to_the_image_tokens_alone(kind: str) -> None:
    parts, given, table, seen = parts_of(small_vlm(kind)), prompt(kind), filled(4, 4, 64), []
    look = lambda _m, _a, kw: seen.append((kw["inputs_embeds"], kw.get("deepstack_visual_embeds")))  # noqa: E731
    parts.language.register_forward_pre_hook(look, with_kwargs=True)
    before = logits(parts, given)
    with install(parts, Positions("learned-absolute"), table=table, allow_untrained=True):
        parts.language._forward_pre_hooks.move_to_end(next(iter(parts.language._forward_pre_hooks)))
        changed = logits(parts, given)
        parts.model.generate(**given, max_new_tokens=3, do_sample=False)
    columns = given["input_ids"][0] == IMAGE
    assert torch.allclose(seen[1][0][0, columns] - seen[0][0][0, columns], table.table.flatten(0, 1), atol=1e-5)
    assert torch.equal(seen[1][0][0, ~columns], seen[0][0][0, ~columns])
    if kind == "qwen3_vl":
        assert torch.equal(seen[1][1][0], seen[0][1][0])
    assert not torch.allclose(changed, before, atol=1e-2)
    assert torch.equal(logits(parts, given), before)


def test_a_learned_table_learns_and_fits_other_grids() -> None:
    parts, table = parts_of(small_vlm("qwen2_5_vl")), LearnedPositions(4, 4, 64)
    given = qwen_rows([(3, 4), (0, 9)], [(4, 4), (2, 6)])
    before = logits(parts, given)
    with install(parts, Positions("learned-absolute"), table=table, allow_untrained=True):
        assert torch.equal(logits(parts, given), before)
        parts.model(**given).logits.square().sum().backward()
    assert (table.table.grad.abs().sum(-1) > 0).all()


def test_a_copied_cache_goes_on_with_its_own_image() -> None:
    """Two prompts are begun, then decoded in turn, one from a copy of its cache."""
    parts = parts_of(small_vlm("llava"))
    prompts = [llava_rows([(2, 9)]), llava_rows([(8, 1)])]
    with install(parts, Positions("axial"), allow_untrained=True), torch.no_grad():
        alone = [greedy_anew(parts, given, 4)[:, -4:] for given in prompts]
        outs = [parts.model(**given, use_cache=True) for given in prompts]
        caches = [copy.deepcopy(cache_of(outs[0])), cache_of(outs[1])]
        tokens = [[out.logits[:, -1].argmax(-1, keepdim=True)] for out in outs]
        for _ in range(3):
            for cache, decoded in zip(caches, tokens, strict=True):
                out = parts.model(input_ids=decoded[-1], use_cache=True, **{cache_argument(parts.model): cache})
                decoded.append(out.logits[:, -1].argmax(-1, keepdim=True))
    for decoded, expected in zip(tokens, alone, strict=True):
        assert torch.equal(torch.cat(decoded, dim=1), expected)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_turns_have_the_type_of_the_model(dtype: torch.dtype) -> None:
    parts, given = parts_of(small_vlm("llava", dtype=dtype)), prompt("llava", dtype=dtype)
    with install(parts, Positions("axial"), allow_untrained=True), turns_seen(parts) as seen:
        logits(parts, given)
    assert {part.dtype for part in seen[0]} == {dtype}
