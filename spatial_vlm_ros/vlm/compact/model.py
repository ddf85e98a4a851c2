# SPDX-License-Identifier: Apache-2.0
"""The compact grounding model: it encodes the image once, then searches it for each phrase.

Heat-maps of centres with offsets and sizes follow CenterNet (Zhou, Wang & Krähenbühl 2019); masks are linear in
prototypes and position (prototypes: YOLACT, Bolya et al. 2019; relative position: CondInst, Tian et al. 2020).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from spatial_vlm_ros.vlm.compact.configuration import CompactConfig
from spatial_vlm_ros.vlm.compact.layers import Backbone, ConditionedHead, PhraseEncoder, convolution

_PRIOR = 0.01  # initial share of cells that are a centre (Lin et al. 2017, focal loss, section 4.1)


class CompactOutput(NamedTuple):
    """Model output for Q pairs of image and phrase, in cells of h × w = (H/8) × (W/8).

    Args:
        heat: (Q, h, w) logits that an object of the phrase has its centre in the cell.
        box: (Q, 4, h, w) centre minus cell centre (x, y; cells), logarithm of width and height (cells).
        kernel: (Q, K, h, w) weights that combine the prototypes into a mask.
        prototypes: (B, K - 3, H/4, W/4).
    """

    heat: Tensor
    box: Tensor
    kernel: Tensor
    prototypes: Tensor


class CompactModel(PreTrainedModel):  # type: ignore[no-untyped-call]
    """Images and phrases → CompactOutput; see docs/models.md."""

    config_class = CompactConfig
    base_model_prefix = "compact"
    main_input_name = "pixels"
    config: CompactConfig

    def __init__(self, config: CompactConfig) -> None:
        super().__init__(config)
        spec, (fine, middle, coarse) = config.spec, config.channels
        self.backbone = Backbone((fine, middle, coarse), config.attention_layers, config.attention_heads)
        self.phrases = PhraseEncoder(spec.entries, config.phrase_size)
        self.head = ConditionedHead(middle, config.head_size, config.phrase_size, spec.kernel)
        self.prototypes = nn.Sequential(convolution(fine, fine), nn.Conv2d(fine, spec.prototypes, 1))
        self.post_init()  # type: ignore[no-untyped-call]
        self._start_rare()

    def _init_weights(self, module: nn.Module) -> None:
        """Initialise convolutions and linear layers by He's rule, and embeddings with a standard deviation of 0.5."""
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=0.5)
        elif isinstance(module, (nn.LayerNorm, nn.BatchNorm2d)):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)

    def _start_rare(self) -> None:
        """Initialise for few centres, boxes of three cells and almost no conditioning."""
        head = self.head
        if head.heat.weight.device.type == "meta":  # weights are about to be loaded
            return
        for layer, std in ((head.heat, 0.01), (head.box, 0.01), (head.kernel, 0.01), (head.film, 0.05)):
            nn.init.normal_(layer.weight, std=std)
        with torch.no_grad():
            _biases(head.heat)[:] = -math.log((1 - _PRIOR) / _PRIOR)
            _biases(head.box)[2:] = math.log(3.0)

    def forward(self, pixels: Tensor, words: Tensor, image: Tensor | None = None) -> CompactOutput:
        """Search images for phrases.

        Args:
            pixels: (B, 3, H, W) float32, 0 to 255, RGB, letterboxed to the spec's size.
            words: (Q, L) int64 from `tokens.encode`.
            image: (Q,) int64, index of the image for each phrase; None = there is only one image.
        """
        return self.with_features(pixels, words, image)[0]

    def with_features(
        self, pixels: Tensor, words: Tensor, image: Tensor | None = None
    ) -> tuple[CompactOutput, Tensor]:  # fmt: skip
        """Like `forward`, and return the backbone's features at stride 16, (B, D, H/16, W/16), for `familiarity`."""
        middle, fine, coarse = self.backbone(pixels / 127.5 - 1.0)
        projected = self.head.project_once(middle)
        if image is not None:
            projected = projected[image]
        heat, box, kernel = self.head(projected, self.phrases(words))
        return CompactOutput(heat[:, 0], box, kernel, self.prototypes(fine)), coarse


def _biases(layer: nn.Conv2d) -> Tensor:
    assert layer.bias is not None  # noqa: S101
    return layer.bias
