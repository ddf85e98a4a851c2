# SPDX-License-Identifier: Apache-2.0
"""Small transformers over captions that encoders are trained with, and thrown away afterwards."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from research.replication.words import BEGIN, END, IGNORED, PAD, VOCABULARY, encode, padded

LONGEST = 96
"""Tokens of a caption, and patches before it, that places are learnt for."""


def caption_tokens(texts: list[str]) -> Tensor:
    """(B, L) int64: begin, words, end, then padding."""
    return padded([[BEGIN, *encode(text), END] for text in texts])


def _layers(width: int, layers: int, heads: int) -> nn.TransformerEncoder:
    layer = nn.TransformerEncoderLayer(
        width, heads, 4 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
    )
    return nn.TransformerEncoder(layer, layers, nn.LayerNorm(width), enable_nested_tensor=False)


class CaptionEncoder(nn.Module):
    """One vector for a caption: the mean of its tokens after a transformer that sees both ways."""

    def __init__(self, width: int, layers: int, heads: int) -> None:
        super().__init__()
        self.words = nn.Embedding(len(VOCABULARY), width)
        self.places = nn.Parameter(0.02 * torch.randn(LONGEST, width))
        self.layers = _layers(width, layers, heads)

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, L) int64 → (B, width)."""
        left_out = tokens == PAD
        seen = self.layers(self.words(tokens) + self.places[: tokens.shape[1]], src_key_padding_mask=left_out)
        kept = (~left_out)[..., None].to(seen)
        return (seen * kept).sum(dim=1) / kept.sum(dim=1)


class Teller(nn.Module):
    """A causal transformer over patch features and the caption behind them.

    Args:
        width: of the patch features.
        layers: depth.
        heads: of attention.
        patches: N before the caption.
        values: numbers of a patch that the features before it foretell; 0 = none.
    """

    def __init__(self, width: int, layers: int, heads: int, patches: int, values: int = 0) -> None:
        super().__init__()
        self.patches = patches
        self.words = nn.Embedding(len(VOCABULARY), width)
        self.places = nn.Parameter(0.02 * torch.randn(patches + LONGEST, width))
        self.layers = _layers(width, layers, heads)
        self.next_word = nn.Linear(width, len(VOCABULARY))
        self.next_patch = nn.Linear(width, values) if values else None

    def forward(self, features: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor | None]:
        """Loss of the caption, and what is foretold of each next patch.

        Args:
            features: (B, N, width).
            tokens: (B, L) int64, with begin and end.

        Returns:
            Scalar cross-entropy of words 2 to L; (B, N - 1, values) or None.
        """
        row = torch.cat([features, self.words(tokens)], dim=1)
        length = row.shape[1]
        mask = torch.ones(length, length, dtype=torch.bool).triu(1)
        seen = self.layers(row + self.places[:length], mask=mask)
        labels = tokens[:, 1:].masked_fill(tokens[:, 1:] == PAD, IGNORED)
        logits = self.next_word(seen[:, self.patches : -1]).float()
        loss = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORED)
        return loss, None if self.next_patch is None else self.next_patch(seen[:, : self.patches - 1])
