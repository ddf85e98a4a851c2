# SPDX-License-Identifier: Apache-2.0
"""Cost of `spatial-vlm adapt` for a model of the size of LLaVA-1.5-7B, computed from its sizes, not measured.

python -m scripts.adapt_costs    # the tables of docs/adapt.md
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

GIB = 2**30
HALF, FULL = 2, 4
"""Bytes per number in bfloat16 and in float32."""
TRAINED = 4 * FULL
"""Bytes per trained number: weight, gradient, and two means of Adam, all float32."""
RATE = 60e12
"""FLOP per second assumed for times; replace it by the sustained rate of your GPU."""
LESSONS = 2000 * 16
"""Lessons of the default run."""


@dataclass(frozen=True)
class LlavaSizes:
    """Sizes of LLaVA-1.5-7B: CLIP ViT-L/14-336 and Vicuna-7B, from their configurations.

    Args:
        hidden: width of the language model.
        inner: width of its feed-forward part.
        layers: number of its layers.
        words: rows of its embedding table, padded.
        vision_hidden: width of the encoder.
        vision_inner: width of its feed-forward part.
        vision_layers: number of its layers.
        image: side of an image, pixels.
        patch: side of a patch, pixels.
        text: tokens of a question with its answer, without image tokens.
    """

    hidden: int = 4096
    inner: int = 11008
    layers: int = 32
    words: int = 32064
    vision_hidden: int = 1024
    vision_inner: int = 4096
    vision_layers: int = 24
    image: int = 336
    patch: int = 14
    text: int = 110

    @property
    def patches(self) -> int:
        """Number of image tokens."""
        return (self.image // self.patch) ** 2

    @property
    def tokens(self) -> int:
        """Tokens of a lesson."""
        return self.patches + self.text

    @property
    def language(self) -> int:
        """Parameters of the language model, including its head."""
        layer = 4 * self.hidden**2 + 3 * self.hidden * self.inner + 2 * self.hidden
        return self.layers * layer + 2 * self.words * self.hidden + self.hidden

    @property
    def vision(self) -> int:
        """Parameters of the encoder."""
        wide, inner = self.vision_hidden, self.vision_inner
        layer = 4 * (wide**2 + wide) + 2 * wide * inner + inner + wide + 4 * wide
        return self.vision_layers * layer + 3 * self.patch**2 * wide + (self.patches + 2) * wide + 4 * wide

    def projector(self, layers: int = 1) -> int:
        """Parameters of a projector that reads this many layers of the encoder."""
        return layers * self.vision_hidden * self.hidden + self.hidden**2 + 2 * self.hidden

    def lora(self, rank: int = 16) -> int:
        """Parameters of LoRA on the four projections of attention."""
        return self.layers * 4 * 2 * rank * self.hidden

    def pin(self) -> int:
        """Parameters of a PIN: 64, 512, 768, width of the encoder, with norms."""
        return 65 * 512 + 2 * 512 + 513 * 768 + 2 * 768 + 769 * self.vision_hidden


def layer_bytes(hidden: int, inner: int) -> int:
    """Bytes per token that the backward pass needs for one layer, in bfloat16 arithmetic."""
    return 18 * hidden + 6 * inner


def activations(sizes: LlavaSizes, checkpointing: bool, micro: int = 1) -> int:
    """Compute the bytes that the backward pass needs for the language model.

    Per token, a layer with frozen weights keeps 16 bytes for each number of the width and 6 for each of the inner
    width; with LoRA 18 and 6, which is used for all layers. With checkpointing only the input of each layer is kept,
    and the rest for one layer at a time. The test of this module counts what torch keeps for a smaller layer.
    """
    layer = sizes.tokens * layer_bytes(sizes.hidden, sizes.inner)
    kept = sizes.layers * sizes.tokens * sizes.hidden * HALF + layer if checkpointing else sizes.layers * layer
    return micro * (kept + 32 * sizes.words * (2 * FULL + HALF))  # logits of an answer's tokens, and their gradient


def flops(sizes: LlavaSizes, checkpointing: bool) -> float:
    """Compute the FLOP of a lesson: forward, gradients of activations (weights are frozen), second forward pass.

    It counts 2 FLOP per parameter and token, and 4 n^2 width for each layer's attention.
    """
    seen = sizes.language - sizes.words * sizes.hidden  # the table is only looked up
    forward = 2.0 * seen * sizes.tokens + 4.0 * sizes.tokens**2 * sizes.hidden * sizes.layers
    vision = 2.0 * sizes.vision * sizes.patches
    return forward * (3.0 if checkpointing else 2.0) + vision


def lines(sizes: LlavaSizes) -> Iterator[str]:
    """The tables, as Markdown."""
    base = sizes.vision + sizes.projector() + sizes.language
    yield "| part | parameters | GiB |"
    yield "|---|---|---|"
    for name, count in (
        ("encoder", sizes.vision),
        ("language model", sizes.language),
        ("projector", sizes.projector()),
    ):
        yield f"| {name}, bfloat16 | {count:,} | {HALF * count / GIB:.2f} |"
    yield ""
    yield "| method | trained parameters | weights, gradients, Adam | all, with `--checkpointing` | all, without |"
    yield "|---|---|---|---|---|"
    for name, count in (
        ("projector", sizes.projector()),
        ("projector with four layers", sizes.projector(4)),
        ("lora, rank 16, with projector", sizes.lora() + sizes.projector()),
        ("pin", sizes.pin()),
    ):
        own = TRAINED * count
        less, more = ((HALF * base + own + activations(sizes, one)) / GIB for one in (True, False))
        yield f"| {name} | {count:,} | {own / GIB:.2f} GiB | {less:.1f} GiB | {more:.1f} GiB |"
    yield ""
    yield f"| | TFLOP a question | {LESSONS:,} questions at {RATE / 1e12:.0f} TFLOP/s |"
    yield "|---|---|---|"
    for name, checkpointing in (("with `--checkpointing`", True), ("without", False)):
        each = flops(sizes, checkpointing)
        yield f"| {name} | {each / 1e12:.1f} | {LESSONS * each / RATE / 3600:.1f} h |"


def main() -> None:
    """Print the tables."""
    print("\n".join(lines(LlavaSizes())))


if __name__ == "__main__":
    main()
