# SPDX-License-Identifier: Apache-2.0
"""Layers of the compact model: convolutions, attention with rotary position, phrases, the conditioned head."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from spatial_vlm_ros.vlm.compact.tokens import PADDING
from spatial_vlm_ros.vlm.rotary import grid_angles, rotate


def convolution(given: int, wanted: int, size: int = 3, stride: int = 1) -> nn.Sequential:
    """Make convolution, batch norm and SiLU; height and width change only by the stride."""
    return nn.Sequential(
        nn.Conv2d(given, wanted, size, stride, size // 2, bias=False), nn.BatchNorm2d(wanted), nn.SiLU()
    )


class Residual(nn.Module):
    """A 3×3 and a 1×1 convolution with a skip connection: (B, C, H, W) → the same."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.wide = convolution(channels, channels)
        self.mix = nn.Sequential(nn.Conv2d(channels, channels, 1, bias=False), nn.BatchNorm2d(channels))

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        return F.silu(x + self.mix(self.wide(x)))


class RotaryBlock(nn.Module):
    """A transformer block over a grid, pre-norm, with 2-D rotary position: (B, N, D) → (B, N, D)."""

    def __init__(self, size: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm_in, self.norm_out = nn.LayerNorm(size), nn.LayerNorm(size)
        self.query_key_value, self.out = nn.Linear(size, 3 * size), nn.Linear(size, size)
        self.feed = nn.Sequential(nn.Linear(size, 2 * size), nn.GELU(), nn.Linear(2 * size, size))

    def forward(self, x: Tensor, angles: Tensor) -> Tensor:
        """Process tokens with their angles (N, D / heads)."""
        batch, tokens, size = x.shape
        split = self.query_key_value(self.norm_in(x)).view(batch, tokens, 3, self.heads, size // self.heads)
        query, key, value = split.permute(2, 0, 3, 1, 4).unbind(0)
        seen = F.scaled_dot_product_attention(rotate(query, angles), rotate(key, angles), value)
        x = x + self.out(seen.transpose(1, 2).reshape(batch, tokens, size))
        return x + self.feed(self.norm_out(x))


class Backbone(nn.Module):
    """Images (B, 3, H, W) in -1..1 → features at strides 8 (B, C1, …), 4 (B, C0, …) and 16 (B, C2, …).

    The features at stride 16 are those before the transformer blocks.
    """

    def __init__(self, channels: tuple[int, int, int], layers: int, heads: int) -> None:
        super().__init__()
        fine, middle, coarse = channels
        self.heads = heads
        self.stem = nn.Sequential(
            convolution(3, fine // 2, stride=2), convolution(fine // 2, fine, stride=2), Residual(fine)
        )
        self.down = nn.Sequential(convolution(fine, middle, stride=2), Residual(middle), Residual(middle))
        self.further = nn.Sequential(convolution(middle, coarse, stride=2), Residual(coarse))
        self.blocks = nn.ModuleList(RotaryBlock(coarse, heads) for _ in range(layers))
        self.up = nn.Conv2d(coarse, middle, 1)
        self.joined = Residual(middle)
        self.up_again = nn.Conv2d(middle, fine, 1)
        self.joined_again = Residual(fine)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """See the class."""
        fine = self.stem(images)
        middle = self.down(fine)
        coarse = convolved = self.further(middle)
        batch, size, height, width = coarse.shape
        angles = grid_angles(height, width, size // self.heads, coarse.device)
        tokens = coarse.flatten(2).transpose(1, 2)
        for block in self.blocks:
            tokens = block(tokens, angles)
        coarse = tokens.transpose(1, 2).reshape(batch, size, height, width)
        middle = self.joined(middle + F.interpolate(self.up(coarse), scale_factor=2.0, mode="nearest"))
        fine = self.joined_again(fine + F.interpolate(self.up_again(middle), scale_factor=2.0, mode="nearest"))
        return middle, fine, convolved


class PhraseEncoder(nn.Module):
    """Word numbers (P, L), head noun first → embeddings (P, D). Heads and modifiers have separate tables."""

    def __init__(self, entries: int, size: int) -> None:
        super().__init__()
        self.nouns = nn.Embedding(entries, size, padding_idx=PADDING)
        self.modifiers = nn.Embedding(entries, size, padding_idx=PADDING)
        self.mix = nn.Sequential(nn.Linear(2 * size, 2 * size), nn.SiLU(), nn.Linear(2 * size, size))

    def forward(self, numbers: Tensor) -> Tensor:
        """See the class."""
        given = (numbers[:, 1:] != PADDING).to(self.modifiers.weight.dtype)[..., None]
        bag = (self.modifiers(numbers[:, 1:]) * given).sum(1)
        return self.mix(torch.cat([self.nouns(numbers[:, 0]), bag], dim=1))


class ConditionedHead(nn.Module):
    """Image features and phrases → heat-map, box and mask kernel of each cell.

    The phrase scales and shifts channels (FiLM, Perez et al. 2018) before and after a mixing layer.
    """

    def __init__(self, given: int, size: int, phrase_size: int, kernel: int) -> None:
        super().__init__()
        self.project = nn.Conv2d(given, size, 1)
        self.film = nn.Linear(phrase_size, 4 * size)
        self.mix, self.mix_again = nn.Conv2d(size, size, 1), nn.Conv2d(size, size, 3, padding=1)
        self.heat, self.box = nn.Conv2d(size, 1, 1), nn.Conv2d(size, 4, 1)
        self.kernel = nn.Conv2d(size, kernel, 1)

    def project_once(self, features: Tensor) -> Tensor:
        """(B, given, h, w) → (B, size, h, w): the part that does not depend on the phrase."""
        projected: Tensor = self.project(features)
        return projected

    def forward(self, projected: Tensor, phrases: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Projected features (P, size, h, w) and phrases (P, D), pair by pair → (P, 1 | 4 | kernel, h, w)."""
        scale, shift, scale_again, shift_again = self.film(phrases)[:, :, None, None].chunk(4, dim=1)
        x = F.silu(self.mix(F.silu(projected * (1 + scale) + shift)))
        x = F.silu(self.mix_again(x * (1 + scale_again) + shift_again))
        return self.heat(x), self.box(x), self.kernel(x)
