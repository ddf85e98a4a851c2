# SPDX-License-Identifier: Apache-2.0
"""Apply remedies to a loaded model, all at once: those its checkpoint was trained with, and the requested ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from torch import Tensor, nn

from spatial_vlm_ros.errors import InputError, ModelError
from spatial_vlm_ros.vlm.parts import Parts, parts_of
from spatial_vlm_ros.vlm.remedies import features, norms, pin, positions
from spatial_vlm_ros.vlm.remedies.attention_scaling import (
    ScalingVis,
    Settings,
    check_decoder,
    one_row,
    read_calibration,
)
from spatial_vlm_ros.vlm.remedies.learned import LearnedPositions, load_learned, trained_with
from spatial_vlm_ros.vlm.remedies.positions import (
    Installed,
    Positions,
    install,
    refuse_untrained,
    settled,
    trained_positions,
)


@dataclass(frozen=True)
class RequestedRemedies:
    """Requested remedies; none by default. Remedies that a checkpoint was trained with are always applied."""

    norm_dose: float | None = None  # of `norms.MeanNorm`, 0 to 1; above 0 only with `allow_untrained`
    positions: str | None = None  # one of `positions.AXES`
    attention: Settings | None = None
    allow_untrained: bool = False

    def __post_init__(self) -> None:
        if self.norm_dose is not None and not 0.0 <= self.norm_dose <= 1.0:
            raise InputError("norm_dose", str(self.norm_dose), "a dose from 0 to 1")
        if self.positions is not None:
            Positions(self.positions)


def read_attention(text: str, model: str) -> Settings:
    """Read the factors from a number for all prompts (ScalingVis, "1.2"), or the path of a calibration (AdaptVis)."""
    try:
        alpha = float(text)
    except ValueError:
        return read_calibration(Path(text).expanduser()).settings_for(model)
    return ScalingVis(alpha)


class AppliedRemedies:
    """Remedies applied to a model; made by `treat`."""

    def __init__(self, parts: Parts, attention: Settings | None, taking_off: ExitStack) -> None:
        self._parts, self._attention, self._taking_off = parts, attention, taking_off

    def answering(self, input_ids: Tensor) -> AbstractContextManager[Any]:
        """Return the context manager for one call of `model.generate`; scaled attention takes one prompt, (1, N)."""
        return nullcontext() if self._attention is None else one_row(self._parts, input_ids, self._attention)

    def remove(self) -> None:
        """Restore the model; a second call does nothing."""
        self._attention = None
        self._taking_off.close()


def treat(model: nn.Module, requested: RequestedRemedies, folder: str | Path, tokenizer: Any) -> AppliedRemedies:
    """Apply remedies to a freshly loaded model, all or none; the tokenizer tells which embeddings are tokens."""
    folder, parts, marks, wanted = Path(folder), parts_of(model), trained_with(model), requested.positions
    moved = wanted is not None and wanted != trained_positions(parts).scheme
    with ExitStack() as stack:
        for name, value in marks.items():
            if moved and name == positions.NAME:
                continue
            if name not in _MARKED:
                reason = f"was trained with {name!r}, an unknown remedy; the known ones are {', '.join(_MARKED)}"
                repair = "load it with the version of this package that trained it"
                raise ModelError(type(model).__name__, reason, repair)
            try:
                stack.callback(_MARKED[name](parts, value, folder).remove)
            except (InputError, LookupError, TypeError) as error:
                reason = f"was trained with {name}, which cannot be applied: {error}"
                repair = "pass the whole folder as the training saved it"
                raise ModelError(type(model).__name__, reason, repair) from error
        if wanted is not None and moved:
            settings = Positions(wanted)
            stack.callback(_put_positions(parts, settings, folder, requested.allow_untrained).remove)
        if requested.norm_dose is not None:
            if norms.NAME in marks and not requested.allow_untrained:
                repair = "leave the dose out, or pass allow_untrained=True"
                raise ModelError(type(model).__name__, "was trained with its own normaliser", repair)
            text = norms.text_norms(parts, rows=len(tokenizer), without=tokenizer.all_special_ids)
            norm = norms.MeanNorm(text.mean, requested.norm_dose)
            stack.callback(norms.put_norm(parts, norm, allow_untrained=requested.allow_untrained).remove)
        if requested.attention is not None:
            check_decoder(parts)
        return AppliedRemedies(parts, requested.attention, stack.pop_all())


def _put_norm(parts: Parts, value: object, folder: Path) -> Any:
    if value != norms.PUBLISHED:
        raise InputError("normaliser", repr(value), repr(norms.PUBLISHED), "mark it so")
    return norms.put_norm(parts, norms.norm_from(load_learned(folder, norms.NAME)))


def _put_positions(parts: Parts, settings: Positions, folder: Path, allow_untrained: bool = False) -> Installed:
    refuse_untrained(parts, settled(parts, settings), allow_untrained)
    table = LearnedPositions.load(folder) if settings.scheme == "learned-absolute" else None
    # A checkpoint that was trained with fewer axes, or is allowed to go without, needs no other permission.
    return install(parts, settings, table=table, allow_untrained=allow_untrained, allow_fewer_axes=True)


_MARKED: Mapping[str, Callable[[Parts, Any, Path], Any]] = MappingProxyType(
    {
        norms.NAME: _put_norm,
        positions.NAME: lambda parts, _, folder: _put_positions(parts, trained_positions(parts), folder),
        features.NAME: lambda parts, value, _: features.put_layers(
            parts, value["layers"], post_layernorm=value["post_layernorm"]
        ),
        pin.NAME: lambda parts, _, folder: pin.put_pin(parts, pin.pin_from(load_learned(folder, pin.NAME))),
    }
)
"""Mark of a checkpoint → function that applies its remedy from the mark's settings and the folder, and returns its
handle."""
