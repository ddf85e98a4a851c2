# SPDX-License-Identifier: Apache-2.0
"""The models: `LlavaForConditionalGeneration` of an encoder and a language model, with the remedies of a cell on it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM, LlavaConfig, LlavaForConditionalGeneration
from transformers.modeling_outputs import BaseModelOutputWithPooling

from research.replication.cells import Recipe
from research.replication.objectives import new_vision
from research.replication.settings import Sizes
from research.replication.words import BEGIN, END, IGNORED, IMAGE, PAD, VOCABULARY
from spatial_vlm_ros.vlm.parts import Parts, parts_of
from spatial_vlm_ros.vlm.remedies.encoders import image_tokens, select_strategy
from spatial_vlm_ros.vlm.remedies.features import multilayer_config, put_layers
from spatial_vlm_ros.vlm.remedies.norms import PublishedNorm, put_norm, text_norms
from spatial_vlm_ros.vlm.remedies.position_schemes import Positions
from spatial_vlm_ros.vlm.remedies.positions import install

LAST = -2
"""Layer of the cells "last": the last but one, as LLaVA-1.5 takes it."""
_LONGEST = 512
_SEEN_AT_ONCE = 64


def text_config(sizes: Sizes) -> LlamaConfig:
    """Of the language model; its base of positions is LLaMA's 10,000.

    Weights start with a deviation of one by the root of the width: LLaMA's 0.02 is about that at its own width, and a
    small model that starts with it learns its first thousands of steps to get loud.
    """
    return LlamaConfig(
        vocab_size=len(VOCABULARY), hidden_size=sizes.width, intermediate_size=sizes.wide,
        num_hidden_layers=sizes.layers, num_attention_heads=sizes.heads, num_key_value_heads=sizes.heads,
        max_position_embeddings=_LONGEST, pad_token_id=PAD, bos_token_id=BEGIN, eos_token_id=END,
        initializer_range=sizes.width**-0.5,
    )  # fmt: skip


def new_language(sizes: Sizes) -> Any:
    """A language model with weights by chance."""
    return LlamaForCausalLM(text_config(sizes))


@dataclass(frozen=True, eq=False)
class Seen:
    """What the frozen encoder gives for some images, so that it need not look again in each step.

    Args:
        states: its hidden states, (B, N, W) each; None for those that no projector takes.
    """

    states: tuple[Tensor | None, ...]

    def __len__(self) -> int:
        return next(len(state) for state in self.states if state is not None)

    def __getitem__(self, chosen: Tensor) -> Seen:
        """Of some of the images; (M,) int."""
        return Seen(tuple(None if state is None else state[chosen] for state in self.states))


class Built(nn.Module):
    """A model with its remedies; `state_dict` has the normaliser, too.

    Args:
        recipe: of the cell.
        sizes: of the models.
        vision: state of the trained encoder.
        language: state of the trained language model.
        loud: factor on image tokens where the recipe says so.
    """

    def __init__(
        self,
        recipe: Recipe,
        sizes: Sizes,
        vision: Mapping[str, Tensor],
        language: Mapping[str, Tensor],
        loud: float,
    ) -> None:
        super().__init__()
        encoder = new_vision(recipe.encoder, sizes).config
        config = LlavaConfig(
            vision_config=encoder, text_config=text_config(sizes), image_token_id=IMAGE, vision_feature_layer=LAST,
            vision_feature_select_strategy=select_strategy(encoder), image_seq_length=image_tokens(encoder),
        )  # fmt: skip
        if recipe.several:
            config = multilayer_config(config, sizes.several)
        self.model = LlavaForConditionalGeneration(config)
        self.parts: Parts = parts_of(self.model)
        self.model.model.vision_tower.load_state_dict(dict(vision))
        inner = {name.removeprefix("model."): value for name, value in language.items() if name != "lm_head.weight"}
        self.model.model.language_model.load_state_dict(inner)
        self.model.lm_head.load_state_dict({"weight": language["lm_head.weight"]})
        self.model.model.vision_tower.requires_grad_(False)
        if recipe.several:
            post = isinstance(getattr(self.parts.vision, "post_layernorm", None), nn.Module)
            put_layers(self.parts, sizes.several, post_layernorm=post, allow_untrained=True)
        if recipe.loud:
            self.parts.projector.register_forward_hook(lambda _module, _given, tokens: tokens * loud)
        if recipe.normalised:
            norms = text_norms(self.parts)
            self.norm = PublishedNorm(sizes.width, norms.mean, norms.largest)
            put_norm(self.parts, self.norm, allow_untrained=True)
        if recipe.axial:
            install(self.parts, Positions("axial"), allow_untrained=True)

    def learn(self, *, language: bool) -> None:
        """Let the projector and the normaliser learn, and the language model where wanted; the encoder never."""
        self.requires_grad_(False)
        self.parts.projector.requires_grad_(True)
        if hasattr(self, "norm"):
            self.norm.requires_grad_(True)
        if language:
            self.parts.language.requires_grad_(True)
            self.model.lm_head.requires_grad_(True)

    def train(self, mode: bool = True) -> Built:
        """As always, but the frozen encoder stays in evaluation."""
        super().train(mode)
        self.parts.vision.eval()
        return self

    def see(self, pixels: Tensor) -> Seen:
        """Let the encoder look at (B, 3, S, S), -1 to 1, once; hooks on it come when a `Seen` is used."""
        tower, config = self.model.model.vision_tower, self.model.config
        wanted = config.vision_feature_layer
        count = config.vision_config.num_hidden_layers + 1
        kept = {layer % count for layer in ([wanted] if isinstance(wanted, int) else wanted)}
        found: list[tuple[Tensor, ...]] = []
        with torch.no_grad():
            for part in pixels.split(_SEEN_AT_ONCE):
                found.append(tower.forward(part, output_hidden_states=True, return_dict=True).hidden_states)
        return Seen(tuple(torch.cat([one[i] for one in found]) if i in kept else None for i in range(count)))

    def loss(self, pixels: Tensor | Seen, tokens: Tensor, labels: Tensor) -> Tensor:
        """Cross-entropy of the labelled tokens, summed; images as `logits` takes them, (B, N) and (B, N)."""
        logits = self.logits(pixels, tokens)[:, :-1].float()
        return nn.functional.cross_entropy(
            logits.flatten(0, 1), labels[:, 1:].flatten(), ignore_index=IGNORED, reduction="sum"
        )

    def logits(self, pixels: Tensor | Seen, tokens: Tensor) -> Tensor:
        """(B, N, V) of (B, 3, S, S) images, or what was seen of them, and (B, N) tokens.

        Padding stands behind all other tokens, so no token that counts sees it and no mask is needed.
        """
        if isinstance(pixels, Seen):
            with self._recalled(pixels):
                return self.logits(torch.arange(len(pixels)), tokens)
        return self.model(input_ids=tokens, pixel_values=pixels, use_cache=False).logits

    def last_logits(self, pixels: Tensor, rows: Tensor) -> Tensor:
        """(B, V) float32 at the last token of each row that is not padding."""
        with torch.no_grad():
            logits = self.logits(pixels, rows)
        ends = (rows != PAD).sum(dim=1) - 1
        return logits[torch.arange(len(rows)), ends].float()

    @contextmanager
    def _recalled(self, seen: Seen) -> Iterator[None]:
        """The encoder gives what it gave before, whatever it is shown."""
        tower = self.model.model.vision_tower
        tower.forward = lambda *_, **__: BaseModelOutputWithPooling(hidden_states=seen.states)
        try:
            yield
        finally:
            del tower.forward
