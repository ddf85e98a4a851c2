# SPDX-License-Identifier: Apache-2.0
"""Switch the position scheme of the language model: running index, axial, M-RoPE, or a learned table.

    with install(parts, Positions("axial"), allow_untrained=True):
        model.generate(**inputs)

The cosines and sines that all layers of the decoder share are replaced where they are computed; weights, masks and the
model's position ids stay. A scheme applies to the whole prompt, with and without an image, and to the tokens decoded
after it: the cache remembers the position of the image in its prompt. See docs/remedies.md.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from spatial_vlm_ros.errors import InputError, ModelError, ShapeError
from spatial_vlm_ros.vlm.kv_cache import cache_of
from spatial_vlm_ros.vlm.parts import Parts, grids_of, image_tokens_changed
from spatial_vlm_ros.vlm.remedies.absolute import LearnedPositions
from spatial_vlm_ros.vlm.remedies.position_ids import Images, line_ids
from spatial_vlm_ros.vlm.remedies.position_schemes import (
    AXES,
    Positions,
    own_positions,
    refuse_untrained,
    scheme_angles,
    settled,
    step_speeds,
)


def install(
    parts: Parts,
    settings: Positions,
    *,
    table: LearnedPositions | None = None,
    grid: tuple[int, int] | None = None,
    allow_untrained: bool = False,
    allow_fewer_axes: bool = False,
) -> Installed:
    """Install a scheme on a model until the handle is removed or its `with` block ends.

    Args:
        table: table of learned-absolute; its parameters are trained with the model, and are saved beside it
            (`table.save`).
        grid: rows and columns of every image, if the model does not give them and the grid is not square.
        allow_fewer_axes: whether to accept a model whose own positions have more axes than the scheme.
    """
    used, model = settled(parts, settings), parts.model
    if (used.scheme == "learned-absolute") != (table is not None):
        got = f"{used.scheme} {'without' if table is None else 'with'} a table"
        raise InputError("positions", got, "a table for learned-absolute only", "pass or leave out `table`")
    if table is not None and table.table.shape[2] != parts.embeddings.embedding_dim:
        expected = f"vectors of {parts.embeddings.embedding_dim}"
        raise ShapeError("table of positions", expected, f"vectors of {table.table.shape[2]}")
    if grid is not None and (parts.axes > 1 or min(grid) < 1):
        raise InputError("grid", str(grid), "rows and columns, where the model returns no grid", "leave it out")
    if 0 < AXES[used.scheme] < parts.axes and not allow_fewer_axes:
        got = f"{used.scheme}, {AXES[used.scheme]} of {parts.axes} axes that {parts.kind} counts in"
        raise InputError("position scheme", got, "as many axes", "pass allow_fewer_axes=True to remove the others")
    refuse_untrained(parts, used, allow_untrained)
    if model in _HELD:
        raise ModelError(type(model).__name__, "already has a position scheme", "remove that one first")
    return Installed(parts, used, table, grid)


def installed_positions(parts: Parts) -> Positions:
    """Return the installed scheme, settled; without one the model's own. Raises as `settled`."""
    found = _HELD.get(parts.model)
    return own_positions(parts) if found is None else found


def speeds_of(parts: Parts) -> Tensor:
    """Return (D/2,) float32 radians: rotation of each pair of a key per step along every axis."""
    return step_speeds(parts, installed_positions(parts))


@dataclass(eq=False)
class _Prompt:
    """What a cache remembers of the prompt that started it: the scheme, and the image of each row, if any."""

    settings: Positions
    rows: int
    grids: list[tuple[int, int]]
    first: Tensor | None = None
    """(B,) column of each row's first image token."""
    end: int = 0
    """Column after the last image token of all rows."""
    images: Images | None = None
    """Known once the model has computed its position ids."""


class Installed:
    """An installed scheme; a context manager that removes itself. Made by `install`."""

    def __init__(
        self, parts: Parts, settings: Positions, table: LearnedPositions | None, grid: tuple[int, int] | None
    ) -> None:
        self.settings, self.table = settings, table
        self._parts, self._grid = parts, grid
        self._current: _Prompt | None = None
        self._order = list(inspect.signature(parts.model.forward).parameters)
        self._stack = ExitStack()
        self._turns = table is None and settings != own_positions(parts)
        _HELD[parts.model] = settings
        self._stack.callback(_HELD.pop, parts.model, None)
        if table is None and not self._turns:
            return
        model = parts.model
        handles = [
            model.register_forward_pre_hook(self._look, with_kwargs=True),
            model.register_forward_hook(self._remember, always_call=True),
        ]
        if self._turns:
            handles.append(parts.rotary.register_forward_hook(self._turn, with_kwargs=True))
        for handle in handles:
            self._stack.callback(handle.remove)
        if table is not None:
            self._stack.enter_context(image_tokens_changed(parts, self._add, later=False))

    def remove(self) -> None:
        """Restore the model; a second call does nothing."""
        self._stack.close()

    def __enter__(self) -> Installed:
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()

    def _look(self, _: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> None:
        """Before the model runs: find where the image of each row is, or was."""
        self._current = None
        asked = {**dict(zip(self._order, given, strict=False)), **named}
        ids, cache = asked.get("input_ids"), cache_of(asked)
        length = int(cache.get_seq_length()) if cache is not None else 0
        if length == 0:
            self._current = _begun(self._parts, self.settings, asked, self._grid)
        else:
            self._current = self._going_on(ids, asked.get("inputs_embeds"), cache, length)

    def _going_on(self, ids: Tensor | None, embedded: Any, cache: Any, length: int) -> _Prompt | None:
        """What the cache of a continued prompt remembers; None if it is not needed."""
        if ids is not None and bool((ids == self._parts.image_token_id).any()):
            got = f"an image behind {length} cached tokens"
            raise InputError("prompt", got, "the whole prompt at once", "start with an empty cache")
        if not self._turns:
            return None
        prompt: _Prompt | None = getattr(cache, _REMEMBERED, None)
        if prompt is None or prompt.settings != self.settings:
            raise InputError(
                "cache",
                "one that was started without this scheme",
                "one that was started with it",
                "start with an empty cache",
            )
        rows = len(embedded if ids is None else ids)
        if prompt.first is not None and (rows != prompt.rows or length < prompt.end):
            got = f"{rows} rows behind {length} tokens, started with {prompt.rows} rows and images to {prompt.end}"
            raise InputError("cache", got, "the same rows, and whole images", "start with an empty cache")
        return prompt

    def _turn(self, _: nn.Module, given: tuple[Any, ...], named: dict[str, Any], out: Any) -> tuple[Tensor, Tensor]:
        """Cosines and sines (B, N, D) of the scheme instead of the model's."""
        prompt = self._current
        if prompt is None:
            reason = "an inner part was called by itself, so the place of the image is unknown"
            raise ModelError(type(self._parts.model).__name__, reason, "call the whole model")
        ids = named["position_ids"] if "position_ids" in named else given[1]
        counted = ids.expand(*ids.shape[:-2], prompt.rows if len(prompt.grids) else ids.shape[-2], ids.shape[-1])
        line = counted[0] if counted.ndim == 3 else counted
        if prompt.first is not None and prompt.images is None:
            starts = line.gather(1, prompt.first.to(line.device)[:, None])[:, 0]
            prompt.images = Images.at(starts, prompt.grids)
        running = line_ids(counted, prompt.images) if counted.ndim == 3 else counted
        angles, scale = scheme_angles(self._parts, self.settings, running, prompt.images)
        return (angles.cos() * scale).to(out[0].dtype), (angles.sin() * scale).to(out[1].dtype)

    def _add(self, tokens: Tensor, row: int) -> Tensor:
        """Add the learned positions to the image tokens (N, D) of a row."""
        assert self.table is not None  # noqa: S101
        assert self._current is not None  # noqa: S101
        return tokens + self.table(*self._current.grids[row]).to(tokens.device, tokens.dtype)

    def _remember(self, _: nn.Module, __: tuple[Any, ...], out: Any) -> None:
        prompt, self._current = self._current, None
        parts = out if isinstance(out, tuple) else (cache_of(out),)
        for part in parts:
            if prompt is not None and hasattr(part, "get_seq_length"):
                setattr(part, _REMEMBERED, prompt)


_HELD: WeakKeyDictionary[nn.Module, Positions] = WeakKeyDictionary()
"""Model → the installed scheme."""
_REMEMBERED = "spatial_vlm_prompt"


def _begun(parts: Parts, settings: Positions, asked: Mapping[str, Any], grid: tuple[int, int] | None) -> _Prompt:
    """The prompt of a call with an empty cache, with its image; raises InputError if the image cannot be located."""
    ids = asked.get("input_ids")
    if ids is None:
        raise InputError("prompt", "only embeddings", "input_ids, which show where the image is", "pass input_ids")
    if asked.get("video_grid_thw") is not None:
        raise InputError("prompt", "a video", "an image", "remove the scheme for videos")
    columns = ids == parts.image_token_id
    if not bool(columns.any()):
        return _Prompt(settings, len(ids), [])
    if parts.axes > 1 and asked.get("mm_token_type_ids") is None and asked.get("position_ids") is None:
        got = "no mm_token_type_ids, without which the model counts along a line"
        raise InputError("prompt", got, "mm_token_type_ids", "pass all outputs of the processor")
    grids = grids_of(parts, asked) if grid is None else [grid] * len(ids)
    counts, first = parts.image_columns(ids).sum(dim=-1), columns.int().argmax(dim=-1)
    last = ids.shape[1] - 1 - columns.flip(-1).int().argmax(dim=-1)
    images = len(ids) if parts.axes > 1 else _images_of(asked, len(ids))
    together = torch.equal(last - first + 1, counts)
    if counts.tolist() != [h * w for h, w in grids] or not together or images != len(ids):
        apart = "" if together else ", apart from each other"
        got = f"{counts.tolist()} image tokens of {images} images in {len(ids)} rows{apart}, for grids {grids}"
        raise InputError("prompt", got, "one image per row, with consecutive tokens")
    return _Prompt(settings, len(ids), grids, first, int(last.max()) + 1)


def _images_of(asked: Mapping[str, Any], otherwise: int) -> int:
    """Number of images of a call, given as pixels or, within `generate`, as features."""
    features = (asked.get("mm_encoder_outputs") or {}).get("image")
    given = asked.get("pixel_values") if features is None else features.pooler_output
    return otherwise if given is None else len(given)
