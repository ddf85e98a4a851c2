# SPDX-License-Identifier: Apache-2.0
"""Switch the position scheme of the language model: running index, axial, M-RoPE, or a learned table.

    with install(parts, Positions("axial"), allow_untrained=True):
        model.generate(**inputs)

The cosines and sines that all layers of the decoder share are replaced where they are computed; weights, masks and the
model's position ids stay. A scheme applies to the whole prompt, with and without an image, and to the tokens decoded
after it: the cache remembers the position of the image in its prompt. See docs/remedies.md.

Positions are computed from the running index, so that they are known for a prompt and for each later decoding step. For
an image of H rows and W columns whose first token has running index s (Wang et al. 2024, Qwen2-VL):

- text before it: time = row = column = running index;
- its token at (r, c): time s, row s + r, column s + c;
- text after it continues at s + max(H, W) in all three ("grid"), or at its running index ("running").

Only the rows and columns of it are the axial form. "Spatial Blindspot" (2026) does not say where text continues; the
default is Qwen's.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from types import MappingProxyType
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from spatial_vlm_ros.errors import InputError, ModelError, ShapeError, UnknownNameError
from spatial_vlm_ros.vlm.parts import Parts, Removable, cache_of, grids_of, image_tokens_changed
from spatial_vlm_ros.vlm.remedies.learned import LearnedPositions, check_trained, mark, trained_with
from spatial_vlm_ros.vlm.rotary import angles_at, chunked_axes, default_sections, frequencies, interleaved_axes

FOLLOWING = ("grid", "running")
"""Where text after an image continues: after the longer side of the grid, or at its running index."""


class Images(NamedTuple):
    """Position of the image in each row of a batch; each field is (B, 1) int64."""

    starts: Tensor  # running index of its first token
    heights: Tensor  # H, rows of tokens
    widths: Tensor  # W, columns of tokens

    @classmethod
    def at(cls, starts: Tensor, grids: Iterable[tuple[int, int]]) -> Images:
        """Make them from (B,) running indices of the images' starts, and the rows and columns of each image."""
        sides = torch.tensor(list(grids), dtype=torch.int64, device=starts.device).view(-1, 2)
        return cls(starts.long()[:, None], sides[:, :1], sides[:, 1:])

    @property
    def saved(self) -> Tensor:
        """(B, 1) steps of the running index within the image that text after it does not count ("grid")."""
        return self.heights * self.widths - torch.maximum(self.heights, self.widths)


def grid_ids(running: Tensor, images: Images | None, following: str = "grid") -> Tensor:
    """Compute time, row and column of tokens: (3, B, N) int64; its rows and columns, [1:], are the axial form.

    `running`: (B, N) int64 running index; it may belong to a part of a prompt, or to tokens decoded after it.
    """
    if images is None:
        return running.expand(3, *running.shape)
    starts, heights, widths = images
    inside = running - starts
    within = (inside >= 0) & (inside < heights * widths)
    text = torch.where(inside >= heights * widths, running - images.saved, running) if following == "grid" else running
    row = torch.div(inside, widths, rounding_mode="floor")
    places = (torch.zeros_like(inside), row, inside - row * widths)
    return torch.stack([torch.where(within, starts + place, text) for place in places])


def line_ids(ids: Tensor, images: Images | None) -> Tensor:
    """Compute the (B, N) running index from (3, B, N) time, row and column: inverse of `grid_ids` with "grid"."""
    time, row, column = ids
    if images is None:
        return time
    starts, _, widths = images
    inside = starts + (row - starts) * widths + (column - starts)
    return torch.where(time < starts, time, torch.where(time == starts, inside, time + images.saved))


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
        following: position at which text after an image continues, one of FOLLOWING; for axial and M-RoPE.
        sections: M-RoPE: frequencies of time, rows and columns; None = the model's own, else as published.
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
    pairs, rope = len(_inverse(parts)), parts.rotary.config.rope_parameters
    scaled = rope.get("rope_type", "default") != "default"
    base = None if settings.base == rope.get("rope_theta") and not scaled else settings.base
    if settings.scheme == "axial":
        if pairs % 2:
            raise InputError("axial positions", f"heads that rotate {2 * pairs} numbers", "a multiple of 4")
        if scaled and base is None:
            got = f"frequencies scaled as {rope['rope_type']!r}"
            raise InputError("axial positions", got, "an explicit base", "pass base")
        return replace(settings, base=base)
    usual: tuple[int, ...] = default_sections(2 * pairs, settings.scheme == "mrope-interleaved")
    if settings.scheme == OWN.get(parts.kind):
        usual = tuple(parts.rotary.mrope_section)
    sections = usual if settings.sections is None else tuple(settings.sections)
    if len(SECTIONED[settings.scheme](sections)) != pairs:
        raise InputError("sections", str(sections), f"a sum of {pairs}", "distribute all frequencies")
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


def speeds_of(parts: Parts) -> Tensor:
    """Return (D/2,) float32 radians: rotation of each pair of a key per step along every axis."""
    return _pairs(parts, installed_positions(parts))[0]


def _pairs(parts: Parts, settings: Positions) -> tuple[Tensor, Tensor]:
    """Speed (radians per step) and axis (in `grid_ids`) of each pair under a settled scheme, both (D/2,)."""
    own = _inverse(parts).float()
    if settings.scheme == "axial":
        base = settings.base or float(parts.rotary.config.rope_parameters["rope_theta"])
        return frequencies(len(own), base, own.device).repeat(2), torch.arange(1, 3).repeat_interleave(len(own) // 2)
    speeds = own if settings.base is None else frequencies(2 * len(own), settings.base, own.device)
    if settings.scheme in SECTIONED:
        return speeds, SECTIONED[settings.scheme](settings.sections or ())
    return speeds, torch.zeros(len(own), dtype=torch.int64)


def _inverse(parts: Parts) -> Tensor:
    """(D/2,) frequencies of the decoder; raises ModelError if layers differ in them."""
    found = getattr(parts.rotary, "inv_freq", None)
    if not isinstance(found, Tensor):
        reason = "has no frequencies that all layers share (rotary_emb.inv_freq)"
        raise ModelError(type(parts.model).__name__, reason, "use a decoder like LLaMA's")
    return found


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
        table: of learned-absolute; its parameters are trained with the model, and saved beside it (`table.save`).
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


class Installed(Removable):
    """An installed scheme; a context manager that removes itself. Made by `install`."""

    def __init__(
        self, parts: Parts, settings: Positions, table: LearnedPositions | None, grid: tuple[int, int] | None
    ) -> None:
        super().__init__()
        self.settings, self.table = settings, table
        self._parts, self._grid = parts, grid
        self._current: _Prompt | None = None
        self._turns = table is None and settings != own_positions(parts)
        _HELD[parts.model] = settings
        self.callback(_HELD.pop, parts.model, None)
        if table is None and not self._turns:
            return
        self._order = list(inspect.signature(parts.model.forward).parameters)
        self.callback(parts.model.register_forward_pre_hook(self._look, with_kwargs=True).remove)
        self.callback(parts.model.register_forward_hook(self._remember, always_call=True).remove)
        if table is not None:
            self.enter_context(image_tokens_changed(parts, self._add, later=False))
        else:
            self._scale = float(parts.rotary.attention_scaling) if settings.base is None else 1.0
            self.callback(parts.rotary.register_forward_hook(self._turn, with_kwargs=True).remove)

    def _look(self, _: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> None:
        """Before the model runs: find where the image of each row is, or was."""
        self._current = None
        asked = {**dict(zip(self._order, given, strict=False)), **named}
        cache, ids = cache_of(asked), asked.get("input_ids")
        length = int(cache.get_seq_length()) if cache is not None else 0
        if length == 0:
            self._current = _begun(self._parts, self.settings, asked, self._grid)
            return
        if ids is not None and bool((ids == self._parts.image_token_id).any()):
            got = f"an image behind {length} cached tokens"
            raise InputError("prompt", got, "the whole prompt at once", "start with an empty cache")
        if not self._turns:
            return
        prompt: _Prompt | None = getattr(cache, _REMEMBERED, None)
        if prompt is None or prompt.settings != self.settings:
            got, expected = "one that was started without this scheme", "one that was started with it"
            raise InputError("cache", got, expected, "start with an empty cache")
        rows = len(asked["inputs_embeds"] if ids is None else ids)
        if prompt.first is not None and (rows != prompt.rows or length < prompt.end):
            got = f"{rows} rows behind {length} tokens, started with {prompt.rows} rows and images to {prompt.end}"
            raise InputError("cache", got, "the same rows, and whole images", "start with an empty cache")
        self._current = prompt

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
        images = None if self.settings.scheme == "1d" else prompt.images
        places = grid_ids(running, images, self.settings.following)
        speeds, axes = (one.to(running.device) for one in _pairs(self._parts, self.settings))
        angles = angles_at(places, speeds, axes)
        return (angles.cos() * self._scale).to(out[0].dtype), (angles.sin() * self._scale).to(out[1].dtype)

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
    features = (asked.get("mm_encoder_outputs") or {}).get("image")  # given within `generate` instead of pixels
    given = asked.get("pixel_values") if features is None else features.pooler_output
    images = len(ids) if parts.axes > 1 or given is None else len(given)
    together = torch.equal(last - first + 1, counts)
    if counts.tolist() != [h * w for h, w in grids] or not together or images != len(ids):
        apart = "" if together else ", apart from each other"
        got = f"{counts.tolist()} image tokens of {images} images in {len(ids)} rows{apart}, for grids {grids}"
        raise InputError("prompt", got, "one image per row, with consecutive tokens")
    return _Prompt(settings, len(ids), grids, first, int(last.max()) + 1)
