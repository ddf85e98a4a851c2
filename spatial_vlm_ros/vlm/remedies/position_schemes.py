# SPDX-License-Identifier: Apache-2.0
"""Position schemes: their settings, a model's own scheme, and the scheme a checkpoint was trained with."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from spatial_vlm_ros.errors import InputError, ModelError, UnknownNameError
from spatial_vlm_ros.vlm.parts import Parts
from spatial_vlm_ros.vlm.remedies.marking import check_trained, mark, trained_with
from spatial_vlm_ros.vlm.remedies.position_ids import FOLLOWING, Images, grid_ids
from spatial_vlm_ros.vlm.rotary import (
    axial_angles,
    chunked_axes,
    default_sections,
    frequencies,
    interleaved_axes,
    line_angles,
    sectioned_angles,
)

NAME = "positions"
"""Name of this remedy in the mark of a checkpoint."""
AXES: Mapping[str, int] = MappingProxyType(
    {"1d": 1, "axial": 2, "mrope-chunked": 3, "mrope-interleaved": 3, "learned-absolute": 0}
)
"""Scheme → number of rotation axes; 0 = rotation is unchanged."""
SECTIONED = {"mrope-chunked": chunked_axes, "mrope-interleaved": interleaved_axes}
OWN: Mapping[str, str] = MappingProxyType(
    {"qwen2_vl": "mrope-chunked", "qwen2_5_vl": "mrope-chunked", "qwen3_vl": "mrope-interleaved"}
)
"""Schemes of the published classes that do not use a single running index."""


@dataclass(frozen=True)
class Positions:
    """Settings of a position scheme.

    Args:
        scheme: one of AXES.
        following: position at which text after an image continues, one of `position_ids.FOLLOWING`; for axial and
            M-RoPE.
        sections: M-RoPE sections: frequencies of time, rows and columns; None = the model's own if it is of this
            scheme, else in the published proportion.
        base: base of the frequencies, for axial and M-RoPE; None = the decoder's own.
    """

    scheme: str = "1d"
    following: str = "grid"
    sections: tuple[int, ...] | None = None
    base: float | None = None

    def __post_init__(self) -> None:
        if self.scheme not in AXES:
            raise UnknownNameError("position scheme", self.scheme, AXES)
        if self.following not in FOLLOWING:
            raise UnknownNameError("place of the text behind an image", self.following, FOLLOWING)
        if self.base is not None and not 1.0 < self.base < math.inf:
            raise InputError("base of the frequencies", str(self.base), "a number above 1", "use 10000, or None")
        if self.sections is not None and self.scheme not in SECTIONED:
            raise InputError("sections", str(self.sections), f"none for {self.scheme}", "leave them out")
        if AXES[self.scheme] < 2 and (self.base is not None or self.following != "grid"):
            got = f"following {self.following!r}, base {self.base}"
            raise InputError("positions", got, f"neither for {self.scheme}", "leave them out")


def settled(parts: Parts, settings: Positions) -> Positions:
    """Complete the settings for this model: sections filled in, and no base if it is the decoder's own."""
    if AXES[settings.scheme] < 2:
        return settings
    size, rope = 2 * len(_inverse(parts)), parts.rotary.config.rope_parameters
    scaled = rope.get("rope_type", "default") != "default"
    base = None if settings.base == rope.get("rope_theta") and not scaled else settings.base
    if settings.scheme == "axial":
        if size % 4:
            raise InputError("axial positions", f"heads that rotate {size} numbers", "a multiple of 4")
        if scaled and base is None:
            got = f"frequencies scaled as {rope['rope_type']!r}"
            raise InputError("axial positions", got, "an explicit base", "pass base")
        return replace(settings, base=base)
    usual: tuple[int, ...] = default_sections(size, settings.scheme == "mrope-interleaved")
    if settings.scheme == OWN.get(parts.kind):
        usual = tuple(parts.rotary.mrope_section)
    sections = usual if settings.sections is None else tuple(settings.sections)
    if len(SECTIONED[settings.scheme](sections)) != size // 2:
        raise InputError("sections", str(sections), f"a sum of {size // 2}", "distribute all frequencies")
    return replace(settings, base=base, sections=sections)


def own_positions(parts: Parts) -> Positions:
    """Return the scheme of the model's class."""
    return settled(parts, Positions("1d" if parts.axes == 1 else OWN[parts.kind]))


def trained_positions(parts: Parts) -> Positions:
    """Return the scheme a checkpoint was trained with, to install after loading; without a mark that of its class."""
    noted = trained_with(parts.model).get(NAME)
    if noted is None:
        return own_positions(parts)
    try:
        told: dict[str, Any] = dict(noted)  # type: ignore[call-overload]
        sections = told.get("sections")
        return Positions(**{**told, "sections": None if sections is None else tuple(sections)})
    except (TypeError, ValueError) as error:  # InputError is a ValueError
        raise ModelError(type(parts.model).__name__, f"was trained with {noted!r}: {error}", "mark it again") from error


def mark_trained(parts: Parts, settings: Positions) -> None:
    """Mark a model as trained with a scheme, in its configuration; raises as `settled`."""
    mark(parts.model, NAME, asdict(settled(parts, settings)))


def refuse_untrained(parts: Parts, settings: Positions, allow_untrained: bool) -> None:
    """Raise ModelError for settled settings that a checkpoint was not trained with, unless this is allowed."""
    check_trained(parts.model, NAME, asdict(settings), allow_untrained, asdict(own_positions(parts)))


def scheme_angles(parts: Parts, settings: Positions, running: Tensor, images: Images | None) -> tuple[Tensor, float]:
    """Compute the angles of tokens under a rotating scheme.

    Args:
        running: (B, N) running index.
        images: images of the rows; None = text only.

    Returns:
        (B, N, D) float32 radians; factor for cosines and sines (for decoders with scaled frequencies).
    """
    rotary = parts.rotary
    own = _inverse(parts).to(running.device, torch.float32)
    scale = float(rotary.attention_scaling) if settings.base is None else 1.0
    if settings.scheme == "1d":
        return line_angles(running, own), scale
    ids = grid_ids(running, images, settings.following)
    if settings.scheme == "axial":
        base = settings.base or float(rotary.config.rope_parameters["rope_theta"])
        return axial_angles(ids[1], ids[2], 2 * len(own), base), scale
    inverse = own if settings.base is None else frequencies(2 * len(own), settings.base, running.device)
    axes = SECTIONED[settings.scheme](settings.sections or ()).to(running.device)
    return sectioned_angles(ids, inverse, axes), scale


def step_speeds(parts: Parts, settings: Positions) -> Tensor:
    """Compute how far tokens rotate when they step by one along every axis of a scheme, the same at every position.

    Returns:
        (D/2,) float32 radians.
    """
    own = _inverse(parts)
    if not AXES[settings.scheme]:
        return own.float()
    places = torch.arange(2, device=own.device)[None]
    angles, _ = scheme_angles(parts, settings, places, None)
    return (angles[0, 1] - angles[0, 0])[: len(own)]


def _inverse(parts: Parts) -> Tensor:
    """(D/2,) frequencies of the decoder; raises ModelError if layers differ in them."""
    found = getattr(parts.rotary, "inv_freq", None)
    if not isinstance(found, Tensor):
        reason = "has no frequencies that all layers share (rotary_emb.inv_freq)"
        raise ModelError(type(parts.model).__name__, reason, "use a decoder like LLaMA's")
    return found
