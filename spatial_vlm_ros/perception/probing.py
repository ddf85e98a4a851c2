# SPDX-License-Identifier: Apache-2.0
"""Find out how a model writes locations, from images with one shape at a known position; and what a backend costs.

Conventions differ by factors or by the order of x and y, so the numbers of a model that sees the shape fit only one of
them. The images are chosen so that this holds: sides are far from 100 and 1000 and from multiples of the usual patch
sizes, there are small and large images, and positions are far from the centre and the diagonal.
"""

from __future__ import annotations

import dataclasses
import itertools
import logging
import math
import re
import resource
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np

from spatial_vlm_ros.errors import InputError, ModelError
from spatial_vlm_ros.geometry.boxes import overlaps
from spatial_vlm_ros.perception.coordinates import CONVENTIONS, Convention, to_pixels
from spatial_vlm_ros.perception.grounder import Grounder
from spatial_vlm_ros.types import NounPhrase, Rgb

Size = tuple[int, int]
Box = tuple[float, float, float, float]

SIZES: tuple[Size, ...] = ((640, 480), (145, 97), (209, 125), (1930, 1094), (97, 145), (310, 724))
PLACES = ((0.24, 0.72), (0.78, 0.26), (0.63, 0.22), (0.20, 0.58), (0.80, 0.42), (0.42, 0.80))
"""Centre of the shape, fractions of width and height."""
EXTENT = 0.32
"""Width and height of the shape, fractions of the image's."""

_COLOURS: Mapping[str, tuple[int, int, int]] = {"red": (210, 30, 30), "blue": (30, 60, 200), "green": (20, 140, 50)}
_SHAPES = ("rectangle", "ellipse")
_BACKGROUND = 225

_LONGEST = 20_000  # characters of a reply that are read
_NUMBER = re.compile(r"(?<![\w.])-?[0-9]{1,9}(?:\.[0-9]{1,20})?(?:[eE][+-]?[0-9]{1,2})?(?!\w)")
_LOCATION = re.compile(r"<loc_?([0-9]{1,5})>")
_COORDS = re.compile(r"coords\s*=\s*[\"']([^\"']{1,200})")
_ATTRIBUTE = re.compile(r"\b([xy])1?\s*=\s*[\"']?\s*(-?[0-9]{1,9}(?:\.[0-9]{1,20})?)")
_GROUP = re.compile(r"[\[(]([^\[\]()]{3,200})[\])]")
_BOX_TAG = re.compile(r"<box>|<\|box_start\|>")


@dataclass(frozen=True, eq=False)
class ProbeImage:
    """A plain image with one shape; its box in pixels."""

    rgb: Rgb
    phrase: str
    box_xyxy: Box


def probe_images() -> tuple[ProbeImage, ...]:
    """Make eighteen images: every size with three of the positions."""
    colours = itertools.cycle(_COLOURS)
    shapes = itertools.cycle(_SHAPES)
    pairs = [(size, PLACES[(k + turn) % len(PLACES)]) for turn in (0, 2, 4) for k, size in enumerate(SIZES)]
    return tuple(image(size, place, next(colours), shape) for (size, place), shape in zip(pairs, shapes, strict=False))


def image(size: Size, place: tuple[float, float], colour: str, shape: str) -> ProbeImage:
    """Draw one shape, "rectangle" or "ellipse", on a plain background; its place in fractions of width and height."""
    width, height = size
    x0, x1 = (round((place[0] + half) * width) for half in (-EXTENT / 2, EXTENT / 2))
    y0, y1 = (round((place[1] + half) * height) for half in (-EXTENT / 2, EXTENT / 2))
    rgb = np.full((height, width, 3), _BACKGROUND, np.uint8)
    inside = rgb[y0:y1, x0:x1]
    if shape == "rectangle":
        inside[:] = _COLOURS[colour]
    else:
        u, v = (np.linspace(-1.0, 1.0, 2 * side + 1)[1::2] for side in (x1 - x0, y1 - y0))
        inside[u[None, :] ** 2 + v[:, None] ** 2 <= 1.0] = _COLOURS[colour]
    return ProbeImage(rgb, f"the {colour} {shape}", (x0, y0, x1, y1))


def read_numbers(reply: str) -> tuple[tuple[float, ...], str]:
    """Read the first location in a reply, of two or four numbers, and the beginning of its location tokens, "<loc_".

    This is lenient on purpose and only for probing; `replies.parse_reply` reads replies to instructions.
    """
    text = reply[-_LONGEST:].rpartition("</think>")[2]
    tokens = tuple(float(token) for token in _LOCATION.findall(text))
    if tokens:
        return (tokens[:4] if len(tokens) >= 4 else ()), "<loc_" if "<loc_" in text else "<loc"
    coords = _COORDS.search(text)
    if coords is not None:
        return _floats(coords.group(1))[2:4], ""
    attributes = dict(reversed(_ATTRIBUTE.findall(text)))
    if len(attributes) == 2:
        return (float(attributes["x"]), float(attributes["y"])), ""
    groups = [values for group in _GROUP.findall(text) if len(values := _floats(group)) in (2, 4)]
    if len(groups) > 1 and _BOX_TAG.search(text) and len(groups[0]) == len(groups[1]) == 2:
        return groups[0] + groups[1], ""
    values = groups[0] if groups else _floats(text)
    return (values if len(values) in (2, 4) else ()), ""


def _floats(text: str) -> tuple[float, ...]:
    return tuple(float(number) for number in _NUMBER.findall(text))


Answer = str | Sequence[float]
Refer = Callable[[Rgb, str], Answer]
"""Asks a model: (H, W, 3) uint8 and a phrase such as "the red rectangle" → its reply, or its 2 or 4 numbers."""

LEAST_IOU = 0.4
"""Least overlap with the true box at which a box is explained; a point is explained if it lies on the shape."""
LEAST_SHARE = 0.75
"""Share of the images that a convention must explain."""
LEAST_EVIDENCE = 8.0
"""Natural logarithm of how much more likely the answers must be in one convention than in another that explains
them."""
SUSPICION = 3.0
"""The same for a way of resizing that nobody stated, from which a convention is doubted."""
BINS_OF_TOKENS: Mapping[str, int] = MappingProxyType({"<loc_": 1000, "<loc": 1024})
"""Number of bins by the beginning of the token: Florence-2, PaliGemma."""
ROUNDING = 0.003
"""Share of a side: an error that never counts against a convention; models round to a pixel or a thousandth."""

_log = logging.getLogger(__name__)
_RESIZED_YX = Convention("resized-absolute-yx", "resized", "yx")
_OTHER_HYPOTHESES = (
    Convention("absolute-yx", "pixel", "yx"),
    _RESIZED_YX,
    Convention("fraction-yx", "fraction", "yx"),
    Convention("percent-yx", "percent", "yx"),
    Convention("bins-1000-yx", "bin", "yx", bins=1000),
    Convention("bins-1024", "bin", bins=1024),
)


@dataclass(frozen=True)
class Trial:
    """One answer of the model."""

    size: Size  # (width, height) of the image, pixels
    resized: Size | None  # the same after the model's processor; None if not known
    phrase: str
    box_xyxy: Box  # its box, pixels
    answer: str
    numbers: tuple[float, ...]  # numbers read from it: two, four, or none if it has no location
    tokens: str  # "<loc_" or "<loc", the beginning of its location tokens; else empty


@dataclass(frozen=True)
class Support:
    """How well one convention explains the answers."""

    convention: str
    explained: int
    # root mean square error of those, for box sides or for a point from the centre, fractions of the image's sides;
    # None if there are none
    rms: float | None


@dataclass(frozen=True)
class ConventionVerdict:
    """Verdict on a stated convention from the model's answers."""

    # "confirmed"; "refuted": the model uses `actual`; "undecided"
    outcome: Literal["confirmed", "refuted", "undecided"]
    stated: str
    actual: Convention | None  # the convention that the answers fit; None if undecided
    reason: str
    support: tuple[Support, ...]
    untested: tuple[str, ...]
    trials: tuple[Trial, ...]

    def summary(self) -> dict[str, Any]:
        """The verdict as JSON values: texts, numbers, lists and objects."""
        return dataclasses.asdict(self)


def probe(
    refer: Refer,
    convention: Convention,
    *,
    resize: Callable[[Size], Size] | None = None,
    images: Sequence[ProbeImage] | None = None,
) -> ConventionVerdict:
    """Ask a model for shapes at known positions and decide whether its answers follow a convention.

    A convention is a candidate if it explains LEAST_SHARE of the answers. If several do, such as pixels of an image and
    of its slightly resized copy, the likelihood of the errors decides, modelled as normal with one spread for all
    images: its logarithm must differ by LEAST_EVIDENCE. Without `resize`, the size after the model's processor, pixels
    of the resized image are not tried, and absolute pixels only as far as sizes from 97 to 1930 pixels tell.
    """
    shown = tuple(probe_images() if images is None else images)
    if len(shown) < 8:
        raise InputError("images", str(len(shown)), "at least 8", "leave them out, or draw more")
    if convention.unit == "resized" and resize is None:
        repair = "pass the function that returns the size after the model's processor"
        raise InputError("resize", "none", f"one, for the convention {convention.name!r}", repair)
    trials = tuple(_trial(image, refer(image.rgb, image.phrase), resize) for image in shown)
    # Location tokens mean bins; other numbers do only if stated.
    spelling = max(BINS_OF_TOKENS, key=lambda one: sum(trial.tokens == one for trial in trials))
    tokens = 2 * sum(trial.tokens == spelling for trial in trials) > sum(bool(trial.numbers) for trial in trials)
    bins = BINS_OF_TOKENS[spelling] if tokens else 0
    known = {_kind(one): one for one in (*CONVENTIONS.values(), *_OTHER_HYPOTHESES)}
    known[_kind(convention)] = convention
    of_form = [c for c in known.values() if c.bins == bins or (c is convention and (c.bins or not tokens))]
    tried = [c for c in of_form if c.unit != "resized" or all(trial.resized is not None for trial in trials)]
    untested = [one for one in of_form if one not in tried]

    fits = sorted((_Fit.of(one, trials) for one in tried), key=lambda fit: (-len(fit.explained), fit.rms or 0.0))
    actual, reason = _decide(fits, trials)
    outcome: Literal["confirmed", "refuted", "undecided"] = "undecided"
    if actual is not None:
        confirmed = convention in tried and _same(actual, convention, trials)
        outcome = "confirmed" if confirmed else "refuted"
        actual = convention if confirmed else actual
    support = tuple(Support(fit.convention.name, len(fit.explained), fit.rms) for fit in fits)
    return ConventionVerdict(
        outcome, convention.name, actual, reason, support, tuple(one.name for one in untested), trials
    )


def _trial(shown: ProbeImage, answer: Answer, resize: Callable[[Size], Size] | None) -> Trial:
    size = (shown.rgb.shape[1], shown.rgb.shape[0])
    if isinstance(answer, str):
        numbers, tokens = read_numbers(answer)
        words = "".join(sign if sign.isprintable() else " " for sign in answer[:200])
    else:
        try:
            numbers, tokens = tuple(float(value) for value in answer), ""
        except (TypeError, ValueError) as error:
            raise InputError("answer", repr(answer)[:60], "a text or numbers", "return the model's reply") from error
        words = ", ".join(f"{value:g}" for value in numbers[:8])
    if len(numbers) not in (2, 4) or not all(math.isfinite(value) for value in numbers):
        numbers = ()
    resized = None if resize is None else resize(size)
    return Trial(size, resized, shown.phrase, shown.box_xyxy, words, numbers, tokens)


def _kind(convention: Convention) -> tuple[str, str, int]:
    return convention.unit, convention.order, convention.bins


@dataclass(frozen=True)
class _Fit:
    """How the answers fit a convention."""

    convention: Convention
    # of each answer: of the four sides of a box, or of x and y of a point from the centre; fractions of width and
    # height. EXTENT if the answer cannot be in the convention
    errors: tuple[tuple[float, ...], ...]
    explained: tuple[int, ...]  # numbers of the answers on the shape

    @classmethod
    def of(cls, convention: Convention, trials: Sequence[Trial]) -> _Fit:
        errors: list[tuple[float, ...]] = []
        explained: list[int] = []
        for k, trial in enumerate(trials):
            x0, y0, x1, y1 = trial.box_xyxy
            true = ((x0 + x1) / 2, (y0 + y1) / 2) if len(trial.numbers) == 2 else trial.box_xyxy
            try:
                placed = to_pixels([trial.numbers], convention, trial.size, trial.resized)[0].tolist()
            except InputError:  # or there are no numbers
                errors.append((EXTENT,) * len(trial.numbers))
                continue
            errors.append(tuple((a - b) / trial.size[n % 2] for n, (a, b) in enumerate(zip(placed, true, strict=True))))
            if len(placed) == 2:
                hit = x0 <= placed[0] <= x1 and y0 <= placed[1] <= y1
            else:
                hit = overlaps(placed, trial.box_xyxy)[0, 0] >= LEAST_IOU
            explained += [k] if hit else []
        return cls(convention, tuple(errors), tuple(explained))

    @property
    def supported(self) -> bool:
        return len(self.explained) >= _least(self.errors)

    @property
    def rms(self) -> float | None:
        squares = [error * error for k in self.explained for error in self.errors[k]]
        return math.sqrt(sum(squares) / len(squares)) if squares else None

    def squares(self, of: Iterable[int]) -> float:
        """Sum of squared errors of these answers; each counts at least a little, and at most as missing the shape."""
        return sum(min(abs(error), EXTENT) ** 2 + ROUNDING**2 for k in of for error in self.errors[k])

    def evidence(self, rival: _Fit) -> float:
        """Log likelihood ratio over the answers that either explains, for normal errors of unknown spread.

        For n errors, with the maximum-likelihood variance (sum of squares / n), it is n / 2 * log(ratio of the sums).
        """
        of = {*self.explained, *rival.explained}
        return sum(len(self.errors[k]) for k in of) / 2 * math.log(rival.squares(of) / self.squares(of))


def _decide(fits: Sequence[_Fit], trials: Sequence[Trial]) -> tuple[Convention | None, str]:
    """Choose the convention that the answers fit, or None, with the reason; `fits` has the best first."""
    supported = [fit for fit in fits if fit.supported]
    if not supported:
        unread, nearest = sum(not trial.numbers for trial in trials), fits[0]
        if unread > len(trials) - _least(trials):
            return None, f"{unread} of {len(trials)} answers have no place"
        if len({trial.numbers for trial in trials if trial.numbers}) == 1:
            return None, "the answer is the same for every image"
        hidden = _hidden_resize(trials, None)
        if hidden is not None:
            return None, f"the answers fit {hidden}; pass `resize`"
        explained = f"{nearest.convention.name} explains {len(nearest.explained)}"
        return None, f"no convention explains {_least(trials)} of {len(trials)} answers; {explained}"
    best = min(supported, key=lambda fit: fit.squares(range(len(trials))))
    name = best.convention.name
    for rival in supported:
        evidence = best.evidence(rival)
        if rival is not best and evidence < LEAST_EVIDENCE and not _same(best.convention, rival.convention, trials):
            told = f"the answers do not distinguish {name} from {rival.convention.name} (evidence {evidence:.1f})"
            return None, told
    hidden = _hidden_resize(trials, best)
    if hidden is not None:
        return None, f"the answers fit {name}, but fit {hidden} better; pass `resize`"
    sides, seen = {side for trial in trials for side in trial.size}, max(max(trials[k].size) for k in best.explained)
    if seen < max(sides):
        return None, f"{name} explains answers to images of up to {seen} pixels, and none to larger ones"
    told = f"{len(best.explained)} of {len(trials)} answers to images of {min(sides)} to {seen} pixels"
    return best.convention, f"{name} explains {told}"


def _least(answers: Sequence[object]) -> int:
    return math.ceil(LEAST_SHARE * len(answers))


def _same(a: Convention, b: Convention, trials: Sequence[Trial]) -> bool:
    """Whether two conventions cannot or need not be told apart: thousandths and 1000 bins; sizes that never change."""
    if a.order != b.order:
        return False
    if _kind(a) == _kind(b):
        return True
    units = {(one.unit, one.bins) for one in (a, b)}
    if units == {("thousand", 0), ("bin", 1000)}:
        return True
    return units == {("pixel", 0), ("resized", 0)} and all(trial.resized == trial.size for trial in trials)


def _hidden_resize(trials: Sequence[Trial], best: _Fit | None) -> str | None:
    """Name the resizing whose pixels the answers fit better than any convention, if no resizing was given."""
    if any(trial.resized is not None or trial.tokens for trial in trials):
        return None
    for name, resize in _RESIZES.items():
        sizes = [(resize(w, max(w, h)), resize(h, max(w, h))) for w, h in (trial.size for trial in trials)]
        guess = [dataclasses.replace(trial, resized=size) for trial, size in zip(trials, sizes, strict=True)]
        for convention in (CONVENTIONS["resized-absolute"], _RESIZED_YX):
            fit = _Fit.of(convention, guess)
            if fit.supported and (best is None or fit.evidence(best) >= SUSPICION):
                return f"{convention.order} pixels of the image resized to {name}"
    return None


_RESIZES: Mapping[str, Callable[[int, int], int]] = MappingProxyType(
    {
        **{f"multiples of {n}": partial(lambda n, side, _: max(n, round(side / n) * n), n) for n in (14, 16, 28, 32)},
        **{
            f"a longest side of {n}": partial(lambda n, side, longest: max(1, round(side * n / longest)), n)
            for n in (336, 448, 512, 640, 672, 768, 896, 1024, 1280)
        },
        **{f"{n}x{n}": partial(lambda n, *_: n, n) for n in (224, 256, 336, 384, 448, 512, 640, 672, 768, 896, 1024)},
    }
)
"""Ways in which processors are known to resize a side, by it and the longest: whole patches, one longest, a square."""


@runtime_checkable
class Writer(Protocol):
    """A backend whose model writes locations as text; these members beside `ground` make it possible to probe it."""

    @property
    def convention(self) -> Convention:
        """Convention in which the text is read."""
        ...

    def written(self, rgb: Rgb, words: str) -> tuple[str, tuple[int, int]]:
        """Return the raw reply about a phrase, and (width, height) of the image that was seen; raises ModelError."""
        ...


class ConventionError(ModelError):
    """A model writes locations in another convention than stated; `verdict` has the evidence."""

    def __init__(self, model: str, verdict: ConventionVerdict) -> None:
        self.verdict = verdict
        actual = verdict.actual.name if verdict.actual else "unknown"
        super().__init__(
            model,
            f"it does not write places as {verdict.stated}: {verdict.reason}",
            f"set convention={actual}, or use a model that follows {verdict.stated}",
        )


def probe_grounder(grounder: Grounder) -> ConventionVerdict:
    """Ask a backend for the shapes of `probe_images`: raw replies of a Writer, the best box, in pixels, of others."""
    given = dict[tuple[int, int], tuple[int, int]]()

    def best_box(rgb: Rgb, words: str) -> Answer:
        _, colour, shape = words.split()
        found = grounder.ground(rgb, [NounPhrase(shape, (colour,))])
        fits = [(one.score * match, one.box_xyxy) for one, match in zip(found.detections, found.match[0], strict=True)]
        return max(fits, key=lambda fit: fit[0])[1] if fits else ()

    if not isinstance(grounder, Writer):
        return probe(best_box, CONVENTIONS["absolute"])
    writer = grounder

    def ask(rgb: Rgb, words: str) -> Answer:
        text, given[rgb.shape[1], rgb.shape[0]] = writer.written(rgb, words)
        return text

    return probe(ask, writer.convention, resize=lambda size: given[size])


def check_convention(model: str, grounder: Grounder) -> bool:
    """Refuse a backend whose model writes locations in another convention than stated; warn if undecided."""
    verdict = probe_grounder(grounder)
    if verdict.outcome == "refuted":
        raise ConventionError(model, verdict)
    if verdict.outcome == "undecided":
        _log.warning(
            "model %r: it is not confirmed that it writes places as %s: %s", model, verdict.stated, verdict.reason
        )
    return verdict.outcome == "confirmed"


@dataclass(frozen=True)
class BackendCost:
    """Cost of requests to one backend, one after the other, in this process."""

    load_s: float  # seconds to load it
    first_s: float  # seconds of the first request, which may compile or warm up
    median_s: float  # seconds of the others, median
    p95_s: float  # the same, 95th percentile
    cpu_s: float  # mean processor time of each of the others, all cores, seconds; without that of a server
    frames: int
    peak_mb: float  # peak memory of this process since its start, loading included, 10^6 bytes
    gpu_peak_mb: float | None  # peak memory of torch on the GPU, 10^6 bytes; None without torch or a GPU
    runs_on: str  # device or providers that the backend reports; empty if it reports none


def measure(
    load: Callable[[], Grounder], rgb: Rgb, phrases: Sequence[NounPhrase], frames: int, most_s: float = 120.0
) -> BackendCost:
    """Load a backend and measure up to `frames` further requests, at least one, for the same phrases in an image."""
    started = time.perf_counter()
    grounder = load()
    loaded = time.perf_counter()
    grounder.ground(rgb, phrases)
    begun, busy = time.perf_counter(), time.process_time()
    taken: list[float] = []
    while not taken or (len(taken) < frames and time.perf_counter() - begun < most_s):
        before = time.perf_counter()
        grounder.ground(rgb, phrases)
        taken.append(time.perf_counter() - before)
    cpu = (time.process_time() - busy) / len(taken)
    median, p95 = np.percentile(taken, [50.0, 95.0])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
    torch, gpu = sys.modules.get("torch"), None
    if torch is not None and torch.cuda.is_available():
        gpu = float(torch.cuda.max_memory_allocated()) / 1e6
    providers, runner = getattr(grounder, "providers", None), getattr(grounder, "runner", None)
    where = "" if runner is None else f"{runner.device} {str(runner.dtype).removeprefix('torch.')}"
    where = ", ".join(providers) if isinstance(providers, tuple) else where
    return BackendCost(loaded - started, begun - loaded, float(median), float(p95), cpu, len(taken), peak, gpu, where)
