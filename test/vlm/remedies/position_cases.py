# SPDX-License-Identifier: Apache-2.0
"""What the tests of position schemes share: prompts of several rows, and what reaches the decoder's layers."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from small_scorers import END, IMAGE, START

from spatial_vlm_ros.vlm.parts import Parts

TURNING = ("axial", "mrope-chunked", "mrope-interleaved")


def llava_rows(words: list[tuple[int, int]], left: bool = True) -> dict[str, torch.Tensor]:
    """Prompts with words before and behind an image of noise (4 x 4 tokens), padded at one side."""
    rng = torch.Generator().manual_seed(7)
    rows = [
        torch.cat([torch.randint(0, 49, (a,), generator=rng), torch.full((16,), IMAGE), torch.arange(b) + 10])
        for a, b in words
    ]
    given = padded(rows, left)
    given["pixel_values"] = torch.randn(len(words), 3, 32, 32, generator=rng)
    return given


def qwen_rows(words: list[tuple[int, int]], grids: list[tuple[int, int]], left: bool = True) -> dict[str, torch.Tensor]:
    """The same for Qwen2.5-VL, each image of its own grid of tokens."""
    rng = torch.Generator().manual_seed(8)
    rows = [
        torch.tensor([*range(a), START, *[IMAGE] * (h * w), END, *range(10, 10 + b)])
        for (a, b), (h, w) in zip(words, grids, strict=True)
    ]
    given = padded(rows, left)
    given["image_grid_thw"] = torch.tensor([(1, 2 * h, 2 * w) for h, w in grids])
    given["pixel_values"] = torch.randn(4 * sum(h * w for h, w in grids), 3 * 2 * 14 * 14, generator=rng)
    given["mm_token_type_ids"] = (given["input_ids"] == IMAGE).int()
    return given


def padded(rows: list[torch.Tensor], left: bool) -> dict[str, torch.Tensor]:
    longest = max(map(len, rows))
    ids, mask = torch.zeros(2, len(rows), longest, dtype=torch.int64)
    for at, row in enumerate(rows):
        within = slice(longest - len(row), longest) if left else slice(0, len(row))
        ids[at, within], mask[at, within] = row, 1
    return {"input_ids": ids, "attention_mask": mask}


def row_of(given: dict[str, torch.Tensor], row: int) -> dict[str, torch.Tensor]:
    seen = given["attention_mask"][row].bool()
    words = {name: given[name][row : row + 1, seen] for name in ("input_ids", "attention_mask")}
    return {**words, "pixel_values": given["pixel_values"][row : row + 1]}


@contextmanager
def turns_seen(parts: Parts) -> Iterator[list[tuple[torch.Tensor, torch.Tensor]]]:
    seen: list[tuple[torch.Tensor, torch.Tensor]] = []

    def look(_: Any, __: Any, named: dict[str, Any]) -> None:
        seen.append(named["position_embeddings"])

    handle = parts.layers[0].register_forward_pre_hook(look, with_kwargs=True)
    try:
        yield seen
    finally:
        handle.remove()


def logits(parts: Parts, given: dict[str, torch.Tensor]) -> torch.Tensor:
    with torch.no_grad():
        return parts.model(**given).logits


def greedy_anew(parts: Parts, given: dict[str, torch.Tensor], steps: int) -> torch.Tensor:
    """(B, N + steps) the likeliest next token, each from the whole prompt and image anew."""
    given = dict(given)
    for _ in range(steps):
        mask = given["attention_mask"]
        if parts.axes == 1:  # as `generate` counts
            given["position_ids"] = (mask.cumsum(-1) - 1).masked_fill(mask == 0, 0)
        with torch.no_grad():
            out = parts.model(**given, use_cache=False).logits[:, -1].argmax(-1, keepdim=True)
        given["input_ids"] = torch.cat([given["input_ids"], out], dim=1)
        given["attention_mask"] = torch.cat([mask, torch.ones_like(out)], dim=1)
        if parts.axes > 1:
            kinds = given["mm_token_type_ids"]
            given["mm_token_type_ids"] = torch.cat([kinds, kinds[:, :1] * 0], dim=1)
    return given["input_ids"]
