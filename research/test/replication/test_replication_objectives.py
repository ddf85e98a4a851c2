# SPDX-License-Identifier: Apache-2.0
"""Losses of encoders against loops, and that nothing is foretold from what it foretells."""

from __future__ import annotations

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from torch.nn import functional as F  # noqa: E402

from research.replication import objectives  # noqa: E402
from research.replication.captions import CaptionEncoder, Teller, caption_tokens  # noqa: E402
from research.replication.objectives import OBJECTIVES, Batch, batch_of, new_vision, objective_of  # noqa: E402
from research.replication.objectives import patches_of as patches  # noqa: E402
from research.replication.scenes import draw_scene  # noqa: E402
from research.replication.settings import SMALL, Sizes  # noqa: E402
from research.replication.words import pixels  # noqa: E402
from spatial_vlm_ros.errors import UnknownNameError  # noqa: E402
from spatial_vlm_ros.vlm.remedies.cloc import grounding_loss, region_text_loss  # noqa: E402

SIZES = Sizes(24, 8, 16, 2, 2, 16, 2, 2, 32, 1)


def a_batch(progress: float = 0.0, seed: int = 0) -> Batch:
    rng = np.random.default_rng(seed)
    scenes = [draw_scene(rng, 0.5) for _ in range(3)]
    made = batch_of(scenes, pixels([scene.image() for scene in scenes], SMALL.sizes.image), SMALL, progress, rng)
    resized = F.interpolate(made.pixels, SIZES.image)
    return Batch(resized, made.captions, made.boxes, made.regions, progress, np.random.default_rng(5))


def seeded(kind: str) -> torch.nn.Module:
    torch.manual_seed(0)
    return objective_of(kind, SIZES)


def length_one(values: np.ndarray) -> np.ndarray:
    return values / np.linalg.norm(values, axis=1, keepdims=True)


def test_clip_is_the_mean_of_two_softmaxes() -> None:
    model, batch = seeded("clip"), a_batch()
    with torch.no_grad():
        texts = length_one(model.of_text(model.text(batch.captions)).numpy())
        images = length_one(model.of_image(model.vision(pixel_values=batch.pixels).pooler_output).numpy())
        found = float(model.loss(batch))
    total = 0.0
    for i in range(3):
        to_texts = [images[i] @ texts[j] / 0.07 for j in range(3)]
        to_images = [images[j] @ texts[i] / 0.07 for j in range(3)]
        for row in (to_texts, to_images):
            total -= row[i] - math.log(sum(math.exp(value) for value in row))
    assert found == pytest.approx(total / 6, rel=1e-4)


def test_siglip_is_a_sigmoid_for_each_pair() -> None:
    model, batch = seeded("siglip"), a_batch()
    with torch.no_grad():
        tokens = model.vision(pixel_values=batch.pixels).last_hidden_state
        pooled = model.pool(model.asked.expand(3, -1, -1), tokens, tokens)[0][:, 0]
        images = length_one(model.of_image(pooled).numpy())
        texts = length_one(model.of_text(model.text(batch.captions)).numpy())
        found = float(model.loss(batch))
    total = 0.0
    for i in range(3):
        for j in range(3):
            logit = 10.0 * images[i] @ texts[j] - 10.0
            total += math.log1p(math.exp(-logit if i == j else logit))
    assert found == pytest.approx(total / 3, rel=1e-4)


def test_cloc_adds_the_losses_of_its_regions() -> None:
    model, batch = seeded("cloc"), a_batch()
    with torch.no_grad():
        tokens = model.vision(pixel_values=batch.pixels).last_hidden_state[:, 1:]
        texts = model.of_text(model.text(batch.regions))
        regions = model.prompter.of_boxes(tokens, batch.boxes).reshape(6, -1)
        boxes = model.head(model.prompter.of_texts(tokens, texts.reshape(3, 2, -1)))
        more = region_text_loss(regions, texts, 0.07) + grounding_loss(boxes, batch.boxes)
        whole = model.loss(batch)
        model.kind = "clip"
        alone = model.loss(batch)
    assert float(whole - alone) == pytest.approx(float(more), rel=1e-4)


def test_siglip2_learns_from_its_own_mean_late_alone() -> None:
    model = seeded("siglip2")
    early, late = model.loss(a_batch(0.0)), model.loss(a_batch(0.9))
    assert float(late.detach()) > float(early.detach())
    early.backward()
    assert model.guess.weight.grad is None
    late.backward()
    assert model.guess.weight.grad is not None
    assert all(value.grad is None for value in model.teacher.parameters())


def test_the_teacher_is_a_moving_mean() -> None:
    model = seeded("siglip2")
    before = [value.clone() for value in model.teacher.parameters()]
    with torch.no_grad():
        for value in model.vision.parameters():
            value.add_(1.0)
    model.loss(a_batch())
    for old, new in zip(before, model.teacher.parameters(), strict=True):
        assert torch.allclose(new, old + 1 - objectives.TEACHER_KEPT, atol=1e-6)


def test_aimv2_sees_no_patch_that_it_foretells() -> None:
    model = seeded("aimv2").eval()
    pixels = torch.randn(2, 3, 24, 24)
    prefix = torch.tensor([2, 5])
    changed = pixels.clone()
    changed[:, :, 16:, 16:] += 1.0  # the last of nine patches
    changed[0, :, 8:16, 16:] += 1.0  # patch 5 of the first image
    with torch.no_grad():
        one, other = model.features(pixels, prefix), model.features(changed, prefix)
    assert torch.allclose(one[0, :5], other[0, :5], atol=1e-5)
    assert torch.allclose(one[1, :8], other[1, :8], atol=1e-5)
    assert not torch.allclose(one[0, 5], other[0, 5], atol=1e-3)
    earlier = pixels.clone()
    earlier[1, :, 8:16, 8:16] += 1.0  # patch 4 is in the prefix of the second: all of it is seen by patch 0
    with torch.no_grad():
        assert not torch.allclose(model.features(earlier, prefix)[1, 0], one[1, 0], atol=1e-3)


def test_with_all_in_the_prefix_aimv2_is_the_encoder_as_it_is_used() -> None:
    model = seeded("aimv2").eval()
    pixels = torch.randn(2, 3, 24, 24)
    with torch.no_grad():
        whole = model.vision(pixel_values=pixels).last_hidden_state
        assert torch.allclose(model.features(pixels, torch.tensor([9, 9])), whole, atol=1e-5)


def test_patches_are_in_the_order_of_reading() -> None:
    pixels = torch.arange(2 * 3 * 4 * 4).float().reshape(2, 3, 4, 4)
    found = patches(pixels, 2)
    for number, (row, column) in enumerate([(0, 0), (0, 1), (1, 0), (1, 1)]):
        own = pixels[:, :, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2].reshape(2, -1)
        assert torch.equal(found[:, number], own)


def test_padding_changes_neither_captions_nor_what_is_told() -> None:
    torch.manual_seed(0)
    encoder, teller = CaptionEncoder(16, 1, 2).eval(), Teller(16, 1, 2, 4)
    short = caption_tokens(["a red circle"])
    both = caption_tokens(["a red circle", "a red circle, a blue star and a green cross"])
    with torch.no_grad():
        assert torch.allclose(encoder(both)[0], encoder(short)[0], atol=1e-5)
        features = torch.randn(1, 4, 16)
        padded = F.pad(short, (0, 3))
        assert float(teller(features, padded)[0]) == pytest.approx(float(teller(features, short)[0]), rel=1e-5)


@pytest.mark.parametrize("kind", OBJECTIVES)
def test_every_objective_falls_and_trains_all_of_its_encoder(kind: str) -> None:
    model, batch = seeded(kind), a_batch()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    losses = []
    for _ in range(15):
        optimizer.zero_grad()
        batch = a_batch()  # what is hidden is drawn alike
        loss = model.loss(batch)
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.9 * losses[0]


def test_another_objective_is_refused() -> None:
    with pytest.raises(UnknownNameError):
        new_vision("dino", SIZES)
