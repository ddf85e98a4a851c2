# SPDX-License-Identifier: Apache-2.0
"""The rows of docs/figures.md about time: speed against baselines, the errors that come with it, cold start."""

from __future__ import annotations

from functools import partial

from scripts.figure_rows import Cells, Json, ResultRun, Row, ms, read

Path = tuple[str, ...]


def _times(ours: Path, baseline: Path, result: Json, scale: float = 1.0) -> tuple[str, ...]:
    """Both times, and the ratio of the baseline's to ours; `scale` converts them to milliseconds."""
    one, other = (scale * read(result, *path) for path in (ours, baseline))
    return ms(one), ms(other), f"{other / one:.3g}"


def _lifting(pixels: str, route: str) -> Cells:
    routes = ("mask_pixels", pixels, "routes")
    return partial(_times, (*routes, "ours", "median_ms"), (*routes, route, "median_ms"))


def _centres(pixels: str, route: str, result: Json) -> tuple[str, ...]:
    routes = read(result, "mask_pixels", pixels, "routes")
    ours, theirs = (routes[name]["centre_error_mm"] for name in ("ours", route))
    return f"{ours['n']:,}", f"{ours['median']:.1f} mm", f"{theirs['median']:.1f} mm"


def _live(width: str) -> Cells:
    return partial(_times, ("latency", width, "node_p50_ms"), ("latency", width, "resolve_p50_ms"))


def _import(what: str) -> Cells:
    return partial(_times, ("imports", what, "median_ms"), ("imports", "nothing", "median_ms"))


def _said(words: str, *paths: Path) -> Cells:
    """A text with the values at paths in its braces."""
    return lambda result: (words.format(*(read(result, *path) for path in paths)),)


_SENTENCE = ("routes", "ours", "sentence", "median_ms")
_START = "start of the process to its first answer"


# ------------------------------------------------------------------------------------------------ rows

_LIFTING, _PARSING, _LIVE = ResultRun("lifting"), ResultRun("parsing"), ResultRun("live")
_MODEL, _COLD = ResultRun("compact"), ResultRun("cold_start")
_CROPPED = "open3d, cropped to the region of interest"
_ROUTES = (
    ("Open3D, cropped", _CROPPED, "a cloud of each mask's own box, outliers removed, oriented box"),
    ("Open3D, 5 mm voxels", "open3d, cropped, 5 mm voxels", "the same, thinned first"),
    ("Open3D, not cleaned", "open3d, cropped, outliers kept", "the same without removing outliers"),
    ("plain NumPy", "plain NumPy", "back-projected pixels and percentiles: no cleaning, no plane, no far side"),
)
_PIXELS = ("700", "3000", "11000")
SPEED = (
    *(
        Row(f"lift, {pixels} px: {short}", _LIFTING, note, _lifting(pixels, route), short)
        for pixels in _PIXELS
        for short, route, note in _ROUTES
    ),
    *(
        Row(
            f"relate {objects} objects: Python loop",
            ResultRun("resolving"),
            "three clauses over every pair; the loop uses box centres alone, ours 16-cornered outlines",
            partial(
                _times,
                ("objects", objects, "ours, every pair", "median_ms"),
                ("objects", objects, "Python loop", "median_ms"),
            ),
        )
        for objects in ("100", "1000")
    ),
    Row(
        "parse a sentence: regex",
        _PARSING,
        "the baseline finds one relation at most: no attributes, orders, frames, nesting or second readings",
        partial(_times, _SENTENCE, ("routes", "first-match regex", "sentence", "median_ms")),
    ),
    Row(
        "live node, 640x480: resolve",
        _LIVE,
        "last message of a frame in to result out, nine masks given; the baseline is `Resolver.resolve` alone",
        _live("640"),
    ),
    Row("live node, 1280x720: resolve", _LIVE, "the same at 1280x720", _live("1280")),
    *(
        Row(
            f"{short}: Grounding DINO",
            ResultRun("onnx_detectors"),
            "processor time of a frame, one thread, random weights; the baseline is Grounding DINO tiny by torch",
            partial(
                _times,
                ("detectors", name, "cpu_s", "median"),
                ("detectors", "Grounding DINO tiny, torch", "cpu_s", "median"),
                scale=1e3,
            ),
        )
        for short, name in (
            ("OWL-ViT int8", "OWL-ViT B/32 768, int8"),
            ("OWLv2 int8", "OWLv2 B/16 960, int8"),
            ("MM-Grounding-DINO int8", "MM-Grounding-DINO tiny 600x800, int8"),
        )
    ),
)
_COMPLETED = "median distance of the box's centre from the true one; ours completes the far side, the others do not"
CENTRES = tuple(
    Row(f"{pixels} px: {short}", _LIFTING, _COMPLETED, partial(_centres, pixels, route), "all rows")
    for pixels in _PIXELS
    for short, route, _ in (_ROUTES[0], _ROUTES[3])
)
COLD = (
    Row(
        "process to first answer: NumPy, OpenCV",
        _COLD,
        "a fresh process imports the resolver, makes a frame and asks; the baseline imports NumPy and OpenCV and ends",
        partial(_times, ("cpu_median_ms", _START), ("cpu_median_ms", "baseline: import NumPy and OpenCV")),
    ),
    Row(
        "first answer: later answers",
        _COLD,
        "the baseline is the median of the same process's later answers",
        partial(_times, ("cpu_median_ms", "first answer"), ("cpu_median_ms", "later answers")),
    ),
    Row(
        "first sentence parsed: later ones",
        _PARSING,
        "the first call loads the grammar; the baseline is the median of later sentences",
        partial(_times, ("first_of_a_process", "median_ms"), _SENTENCE),
    ),
    Row(
        "import the package: empty",
        _COLD,
        "a whole interpreter; the baseline is one that does nothing",
        _import("spatial_vlm_ros"),
    ),
    Row("import the resolver: empty", _COLD, "the same", _import("spatial_vlm_ros.resolver")),
)
REST = (
    Row(
        "frames lost between two processes",
        _LIVE,
        "colour, depth, detections and camera info of 1280x720 at 30 Hz, 60 s",
        _said("{} of {:,}", ("stream", "lost"), ("stream", "sent of each stream")),
    ),
    Row(
        "memory after one frame",
        _COLD,
        "private memory of a process that resolves one 640x480 frame",
        _said("{} MB; interpreter {} MB", ("private_mb", "resolved"), ("private_mb", "interpreter")),
    ),
    Row(
        "memory of the compact model",
        _MODEL,
        "private memory of a process that finds four nouns in a 640x480 image",
        _said("{} MB", ("private_mb",)),
    ),
    Row(
        "four nouns by the compact model",
        _MODEL,
        "a 640x480 image, two threads",
        _said(
            "{:.0f} ms, 95th percentile {:.0f} ms",
            ("times", "4 phrases", "median_ms"),
            ("times", "4 phrases", "p95_ms"),
        ),
    ),
)
