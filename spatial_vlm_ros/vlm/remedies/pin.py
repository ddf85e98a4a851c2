# SPDX-License-Identifier: Apache-2.0
"""PIN, a positional insert: a small learnt offset per patch that lets a frozen model give object locations.

    x* = x + psi(S)        x: patch tokens of the frozen encoder; S: fixed table of sinusoids over the patch number

psi is a perceptron 64 -> 512 -> 768 -> d with SiLU and LayerNorm after each hidden layer; it does not depend on the
image (Dorkenwald et al., CVPR 2024, arXiv 2402.08657). For d = 1024 it has 1,217,280 parameters, and only these are
trained: Adam, rate 1e-3, no decay, on images with pasted objects, with next-token cross-entropy on the words of the
location. It was published for OpenFlamingo (patch tokens only) and BLIP-2; here it goes before the projector.

As published, psi is not zero at first: an untrained PIN disturbs a model.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from spatial_vlm_ros.errors import InputError, ModelError
from spatial_vlm_ros.vlm.parts import Parts, finite
from spatial_vlm_ros.vlm.remedies.learned import check_trained

BASE, TABLE_WIDTH, HIDDEN = 10_000.0, 64, (512, 768)
NAME = "pin"
"""Mark of a checkpoint that was trained with a PIN: {"patches": N}."""
WITH_PATCHES = ("llava", "paligemma")
"""Classes whose projector takes (B, N, d) in reading order."""


def sinusoids(patches: int) -> Tensor:
    """(N, W) sinusoids (Vaswani et al. 2017) of patches in reading order: sin(p / BASE^(2i / W)) at 2i, then cosine."""
    speeds = BASE ** (-torch.arange(0, TABLE_WIDTH, 2).double() / TABLE_WIDTH)
    angles = torch.arange(patches).double()[:, None] * speeds
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1).float()


class Pin(nn.Module):
    """The offset of each patch."""

    def __init__(self, patches: int, size: int) -> None:
        super().__init__()
        if patches < 1 or size < 1:
            raise InputError("PIN", f"{patches} patches of {size}", "numbers above 0", "use the encoder's sizes")
        self.register_buffer("table", sinusoids(patches))
        first, second = HIDDEN
        self.psi = nn.Sequential(
            nn.Linear(TABLE_WIDTH, first), nn.SiLU(), nn.LayerNorm(first),
            nn.Linear(first, second), nn.SiLU(), nn.LayerNorm(second), nn.Linear(second, size),
        )  # fmt: skip

    @property
    def size(self) -> int:
        """Size of a patch token."""
        return int(self.psi[-1].out_features)

    def forward(self) -> Tensor:
        """Return the (N, d) offsets, the same for each image; raises ModelError if one is not finite."""
        return finite("PIN", self.psi(self.table))


def put_pin(parts: Parts, pin: Pin, *, allow_untrained: bool = False) -> Any:
    """Add a PIN to the patch tokens that enter the projector; a class token among them is not changed.

    If the projector takes features of several layers, each gets the same offset. To train it, freeze the model
    (`model.requires_grad_(False)`) and train only the PIN's parameters.
    """
    if parts.kind not in WITH_PATCHES:
        reason = (
            "its projector takes merged patches of images of any size, but a PIN takes a fixed number in reading order"
        )
        raise ModelError(parts.kind, reason, f"use a model of {', '.join(WITH_PATCHES)}")
    vision = parts.vision.config
    patches, size = int(vision.image_size // vision.patch_size) ** 2, int(vision.hidden_size)
    if (len(pin.table), pin.size) != (patches, size):
        got = f"{len(pin.table)} patches of {pin.size}"
        raise InputError("PIN", got, f"{patches} of {size} as in the encoder", "create or load a PIN of these sizes")
    check_trained(parts.model, NAME, {"patches": patches}, allow_untrained)
    pin.to(parts.embeddings.weight.device)

    def insert(_module: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...]:
        features = given[0]
        head, tail = features[..., :-patches, :], features[..., -patches:, :]
        if tail.shape[-2] != patches or head.shape[-2] > 1 or features.shape[-1] % size:
            got = f"{tuple(features.shape)} numbers before the projector"
            raise ModelError(parts.kind, got, f"pass images of {patches} patches of {size}")
        offset = pin().repeat(1, features.shape[-1] // size).to(features)
        return torch.cat([head, tail + offset], dim=-2), *given[1:]

    return parts.projector.register_forward_pre_hook(insert)


def pin_from(tensors: Mapping[str, Tensor]) -> Pin:
    """Make the PIN from its `state_dict`."""
    try:
        pin = Pin(len(tensors["table"]), len(tensors["psi.6.bias"]))
        pin.load_state_dict(dict(tensors))
    except (KeyError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise InputError("PIN", reason, "the tensors of its state_dict", "load the file of a PIN") from error
    return pin
