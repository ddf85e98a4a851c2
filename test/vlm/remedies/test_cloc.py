# SPDX-License-Identifier: Apache-2.0
"""The published objective of regions: its losses by hand, its prompter, and that both learn."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

torch = pytest.importorskip("torch")

import numpy as np  # noqa: E402

from spatial_vlm_ros.errors import InputError, ShapeError  # noqa: E402
from spatial_vlm_ros.vlm.remedies.cloc import (  # noqa: E402
    BoxHead,
    ClocSizes,
    Prompter,
    cloc_weight,
    corner_encoding,
    grounding_loss,
    region_text_loss,
)

SIZES = ClocSizes(width=16, text=12)


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def boxes_of(count: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(count, 2, 2, generator=torch.Generator().manual_seed(seed)).sort(dim=1).values.flatten(1)


def captions() -> torch.Tensor:
    """(7, 5) embeddings; the third is nearly the first, and the last one too."""
    texts = drawn(7, 5, seed=1)
    texts[2] = texts[0] + 0.05 * drawn(5, seed=2)
    texts[6] = 3.0 * texts[0]
    return texts


def by_loops(regions: np.ndarray, texts: np.ndarray, tau: float, conflict: float) -> float:
    """The published sums, term by term."""

    def sim(a: np.ndarray, b: np.ndarray) -> float:
        return float(a @ b / math.sqrt(a @ a) / math.sqrt(b @ b))

    total, count = 0.0, len(regions)
    for i in range(count):
        others = [j for j in range(count) if j == i or sim(texts[i], texts[j]) <= conflict]
        to_text = sum(math.exp(sim(regions[i], texts[j]) / tau) for j in others)
        to_region = sum(math.exp(sim(regions[j], texts[i]) / tau) for j in others)
        own = math.exp(sim(regions[i], texts[i]) / tau)
        total -= (math.log(own / to_text) + math.log(own / to_region)) / 2
    return total / count


@pytest.mark.parametrize("conflict", [0.9, 2.0])
def test_the_contrastive_loss_is_the_published_sum(conflict: float) -> None:
    regions, texts = drawn(7, 5), captions()
    found = region_text_loss(regions, texts, 0.2, conflict)
    assert found.item() == pytest.approx(by_loops(regions.numpy(), texts.numpy(), 0.2, conflict), rel=1e-9)


def test_captions_that_say_the_same_are_no_negatives_of_each_other() -> None:
    regions, texts = drawn(7, 5), captions()
    assert region_text_loss(regions, texts, 0.2).item() < region_text_loss(regions, texts, 0.2, 2.0).item() - 0.01
    alike = texts[[0, 6, 0]]
    assert region_text_loss(regions[:3], alike, 0.2).item() == 0.0


def test_gradients_agree_with_finite_differences() -> None:
    regions, texts = drawn(7, 5).requires_grad_(True), captions().requires_grad_(True)
    tau = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(region_text_loss, (regions, texts, tau))
    predicted, wanted = drawn(6, 4).requires_grad_(True), drawn(6, 4, seed=1)
    assert torch.autograd.gradcheck(lambda given: grounding_loss(given, wanted), (predicted,))


def test_the_grounding_loss_is_the_mean_of_squares_over_coordinates() -> None:
    predicted, boxes = drawn(3, 2, 4), drawn(3, 2, 4, seed=1)
    wanted = sum(float(((predicted[i, m] - boxes[i, m]) ** 2).sum()) for i in range(3) for m in range(2)) / (4 * 3 * 2)
    assert grounding_loss(predicted, boxes).item() == pytest.approx(wanted)


def test_corners_are_sines_and_cosines_of_their_coordinates() -> None:
    encoded = corner_encoding(torch.tensor([[0.25, 0.5, 0.75, 1.0]]), 16)
    assert encoded.shape == (1, 2, 16)
    for corner, (x, y) in enumerate([(0.25, 0.5), (0.75, 1.0)]):
        wanted = [
            turn(2 * math.pi * value / 10_000 ** (k / 4)) for value in (x, y) for turn in (math.sin, math.cos)
            for k in range(4)
        ]  # fmt: skip
        assert encoded[0, corner].tolist() == pytest.approx(wanted, abs=1e-5)


def test_the_prompter_is_one_layer_of_one_head_over_prompt_and_tokens() -> None:
    torch.manual_seed(0)
    prompter, tokens, boxes = Prompter(SIZES).double(), drawn(2, 9, 16), boxes_of(6).double().reshape(2, 3, 4)
    found = prompter.of_boxes(tokens, boxes)
    assert found.shape == (2, 3, 12)
    layer = prompter.layer
    q, k, v = layer.self_attn.in_proj_weight.chunk(3)
    bq, bk, bv = layer.self_attn.in_proj_bias.chunk(3)

    def normalised(x: torch.Tensor, norm: torch.nn.LayerNorm) -> torch.Tensor:
        return (x - x.mean(-1, keepdim=True)) / (x.var(-1, keepdim=True, unbiased=False) + 1e-5).sqrt() * norm.weight

    for row, number in ((0, 0), (0, 2), (1, 1)):
        x = torch.cat([corner_encoding(boxes[row, number], 16), tokens[row]])
        y = normalised(x, layer.norm1)
        weights = ((y @ q.T + bq) @ (y @ k.T + bk).T / 4).softmax(-1)
        out = layer.self_attn.out_proj
        x = x + weights @ (y @ v.T + bv) @ out.weight.T + out.bias
        y = torch.nn.functional.gelu(layer.linear1(normalised(x, layer.norm2)))
        x = x + layer.linear2(y)
        wanted = prompter.project(x.mean(0))
        assert torch.allclose(found[row, number], wanted, atol=1e-9)


def test_regions_of_an_image_do_not_see_each_other() -> None:
    torch.manual_seed(0)
    prompter, tokens = Prompter(SIZES).double(), drawn(1, 9, 16)
    boxes, texts = boxes_of(3).double()[None], drawn(1, 3, 12)
    for ask, prompts in ((prompter.of_boxes, boxes), (prompter.of_texts, texts)):
        together, alone = ask(tokens, prompts), [ask(tokens, prompts[:, m : m + 1]) for m in range(3)]
        assert torch.allclose(together, torch.cat(alone, dim=1), atol=1e-9)
        assert torch.pdist(together[0]).min().item() > 1e-3


class Images:
    """What a frozen encoder could give: 4 x 4 tokens that tell their places, different objects at chance cells."""

    def __init__(self, objects: int, width: int) -> None:
        self.rng = torch.Generator().manual_seed(0)
        self.objects, self.sizes = objects, ClocSizes(width, text=16)
        self.captions = torch.nn.functional.normalize(torch.randn(8, 16, generator=self.rng), dim=-1)
        self.seen, self.places = (torch.randn(count, width, generator=self.rng) for count in (8, 16))

    def some(self, count: int) -> torch.Tensor:
        """Numbers below `count`, different ones on each of 16 images."""
        rows = [torch.randperm(count, generator=self.rng)[: self.objects] for _ in range(16)]
        return torch.stack(rows)

    def batch(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Tokens (16, 16, W), boxes (16, M, 4) of the things' cells, captions (16, M, 16)."""
        kinds, cells = self.some(8), self.some(16)
        tokens = self.places.repeat(16, 1, 1)
        tokens.scatter_add_(1, cells[..., None].expand(-1, -1, self.sizes.width), self.seen[kinds])
        x, y = cells % 4, cells // 4
        return tokens, torch.stack([x, y, x + 1, y + 1], dim=-1) / 4, self.captions[kinds]


def learnt(modules: list[torch.nn.Module], steps: int, loss_of: Callable[[], torch.Tensor]) -> float:
    """Mean loss of the last ten steps, each on new images."""
    optimizer = torch.optim.Adam([value for module in modules for value in module.parameters()], 3e-3)
    losses = []
    for _ in range(steps):
        loss = loss_of()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return sum(losses[-10:]) / 10


def test_the_prompter_learns_which_caption_a_box_has() -> None:
    torch.manual_seed(0)
    images = Images(objects=4, width=32)
    prompter = Prompter(images.sizes)

    def loss_of() -> torch.Tensor:
        tokens, boxes, texts = images.batch()
        return region_text_loss(prompter.of_boxes(tokens, boxes).flatten(0, 1), texts.flatten(0, 1), 0.1)

    without_looking = math.log(64 - 7)  # 64 regions; the same caption is eight times there on average
    assert learnt([prompter], 150, loss_of) < 0.5 * without_looking


@pytest.mark.slow
def test_prompter_and_head_learn_where_the_object_of_a_caption_is() -> None:
    torch.manual_seed(0)
    images = Images(objects=2, width=64)
    prompter, head = Prompter(images.sizes), BoxHead(images.sizes)

    def loss_of() -> torch.Tensor:
        tokens, boxes, texts = images.batch()
        return grounding_loss(head(prompter.of_texts(tokens, texts)), boxes)

    without_looking = float(np.var([0, 0.25, 0.5, 0.75]))  # the mean box, always
    assert learnt([prompter, head], 250, loss_of) < 0.5 * without_looking


def prompted(of: str, tokens: tuple[int, ...], prompts: tuple[int, ...]) -> None:
    getattr(Prompter(SIZES), of)(torch.zeros(tokens), torch.zeros(prompts))


@pytest.mark.parametrize(
    ("call", "given", "error", "words"),
    [
        (region_text_loss, (drawn(3, 5), drawn(4, 5), 0.1), ShapeError, "regions and texts"),
        (region_text_loss, (drawn(0, 5), drawn(0, 5), 0.1), ShapeError, "regions and texts"),
        (region_text_loss, (drawn(3, 5), drawn(3, 5), 0.0), InputError, "temperature"),
        (region_text_loss, (drawn(3, 5), drawn(3, 5), -1.0), InputError, "temperature"),
        (region_text_loss, (drawn(3, 5), drawn(3, 5), math.nan), InputError, "temperature"),
        (grounding_loss, (drawn(3, 4), drawn(2, 4)), ShapeError, "boxes"),
        (grounding_loss, (drawn(3, 5), drawn(3, 5)), ShapeError, "boxes"),
        (grounding_loss, (drawn(0, 4), drawn(0, 4)), ShapeError, "boxes"),
        (prompted, ("of_boxes", (2, 9, 15), (2, 3, 4)), ShapeError, "tokens and prompts"),
        (prompted, ("of_boxes", (2, 9, 16), (1, 3, 4)), ShapeError, "tokens and prompts"),
        (prompted, ("of_boxes", (2, 9, 16), (2, 3, 5)), ShapeError, "tokens and prompts"),
        (prompted, ("of_boxes", (2, 9, 16), (2, 0, 4)), ShapeError, "tokens and prompts"),
        (prompted, ("of_boxes", (9, 16), (3, 4)), ShapeError, "tokens and prompts"),
        (prompted, ("of_texts", (2, 9, 16), (2, 3, 4)), ShapeError, "tokens and prompts"),
        (ClocSizes, (0, 4), InputError, "sizes of the prompter"),
        (ClocSizes, (10, 4), InputError, "sizes of the prompter"),
        (ClocSizes, (16, 0), InputError, "sizes of the prompter"),
        (cloc_weight, (9, 8), InputError, "images with regions"),
        (cloc_weight, (-1, 8), InputError, "images with regions"),
        (cloc_weight, (0, 0), InputError, "images with regions"),
    ],
)
def test_other_shapes_and_numbers_are_refused(
    call: Callable[..., object], given: tuple[Any, ...], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        call(*given)


def test_the_weight_is_the_share_of_images_with_regions() -> None:
    assert [cloc_weight(0, 8), cloc_weight(6, 8), cloc_weight(8, 8)] == [0.0, 0.75, 1.0]
