# SPDX-License-Identifier: Apache-2.0
"""The rows of docs/figures.md about time: speed against baselines, the errors that come with it, cold start."""

from __future__ import annotations

from scripts.figure_rows import OURS, Cells, Json, Row, against, read

Path = tuple[str, ...]


def _times(ours: Path, baseline: Path, scale: float = 1.0) -> Cells:
    """Both times, if they are in a result file; `scale` converts them to milliseconds."""

    def cells(result: Json) -> tuple[str, ...]:
        return against(scale * read(result, *ours), scale * read(result, *baseline))

    return cells


def _lifting(pixels: str, route: str) -> Cells:
    routes = ("mask_pixels", pixels, "routes")
    return _times((*routes, "ours", "median_ms"), (*routes, route, "median_ms"))


def _centres(pixels: str, route: str) -> Cells:
    def cells(result: Json) -> tuple[str, ...]:
        routes = read(result, "mask_pixels", pixels, "routes")
        ours, theirs = (routes[name]["centre_error_mm"] for name in ("ours", route))
        return f"{ours['n']:,}", f"{ours['median']:.1f} mm", f"{theirs['median']:.1f} mm"

    return cells


def _resolving(objects: str) -> Cells:
    routes = ("objects", objects)
    return _times((*routes, "ours, every pair", "median_ms"), (*routes, "Python loop", "median_ms"))


def _live(width: str) -> Cells:
    return _times(("latency", width, "node_p50_ms"), ("latency", width, "resolve_p50_ms"))


def _detector(name: str) -> Cells:
    seconds = ("cpu_s", "median")
    return _times(("detectors", name, *seconds), ("detectors", "Grounding DINO tiny, torch", *seconds), 1e3)


def _import(what: str) -> Cells:
    return _times(("imports", what, "median_ms"), ("imports", "nothing", "median_ms"))


def _said(words: str, *paths: Path) -> Cells:
    """A text with the values at paths in its braces."""

    def cells(result: Json) -> tuple[str, ...]:
        return (words.format(*(read(result, *path) for path in paths)),)

    return cells


def _idle(result: Json) -> tuple[str, ...]:
    rounds, observer = result["ratio"]["resolver"], 100 * result["observer_core_share_median"]
    ratio = f"{result['ratio_with_observer_median']:.2f} ({min(rounds):.2f} to {max(rounds):.2f})"
    return (f"{ratio} times the processor's time; its observer {observer:.1f} % of a core",)


_SENTENCE = ("routes", "ours", "sentence", "median_ms")
_parsing = _times(_SENTENCE, ("routes", "first-match regex", "sentence", "median_ms"))
_first_parse = _times(("first_of_a_process", "median_ms"), _SENTENCE)
_goals = _times(
    ("steps", "boxes: scene and pick goal", "median_ms"), ("steps", "collisions, pair by pair", "median_ms")
)
_self_mask = _times(("steps", "self mask", "median_ms"), ("steps", "every face", "median_ms"))
_voxels = _times(("sets", "rendered", "ms", "voxels, NumPy"), ("sets", "rendered", "ms", "voxels, Open3D"))
_trajectories = _times(("factor 1", "planner, s", "p50"), ("factor 1", "TOPP-RA, s", "p50"), 1e3)


# ------------------------------------------------------------------------------------------------ rows

_CROPPED = "open3d, cropped to the region of interest"
_ROUTES = (
    ("Open3D, cropped", _CROPPED, "a cloud of each mask's own box, outliers removed, oriented box"),
    ("Open3D, 5 mm voxels", "open3d, cropped, 5 mm voxels", "the same, thinned first"),
    ("Open3D, not cleaned", "open3d, cropped, outliers kept", "the same without removing outliers"),
    ("plain NumPy", "plain NumPy", "back-projected pixels and percentiles: no cleaning, no plane, no far side"),
)
SPEED = (
    *(
        Row(f"lift, {pixels} px: {short}", f"{OURS}/lifting.json", "lifting", "", note, _lifting(pixels, route), short)
        for pixels in ("700", "3000", "11000")
        for short, route, note in _ROUTES
    ),
    *(
        Row(
            f"relate {objects} objects: Python loop",
            f"{OURS}/resolving.json",
            "resolving",
            "",
            "three clauses over every pair; the loop uses box centres alone, ours 16-cornered outlines",
            _resolving(objects),
        )
        for objects in ("100", "1000")
    ),
    Row(
        "parse a sentence: regex",
        f"{OURS}/parsing.json",
        "parsing",
        "",
        "the baseline finds one relation at most: no attributes, orders, frames, nesting or second readings",
        _parsing,
    ),
    Row(
        "live node, 640x480: resolve",
        f"{OURS}/live.json",
        "live",
        "",
        "last message of a frame in to result out, nine masks given; the baseline is `Resolver.resolve` alone",
        _live("640"),
    ),
    Row("live node, 1280x720: resolve", f"{OURS}/live.json", "live", "", "the same at 1280x720", _live("1280")),
    Row(
        "pick goal, 30 objects: pairs",
        f"{OURS}/goals.json",
        "goals",
        "",
        "planning scene and pick goal; the baseline only does the collision checks, pair by pair",
        _goals,
    ),
    Row(
        "arm out of depth: every face",
        f"{OURS}/self_mask.json",
        "self_mask",
        "",
        "640x480, 11 links; the baseline tests every point against every face of a link's hull",
        _self_mask,
    ),
    Row(
        "obstacles, voxels: Open3D",
        f"{OURS}/obstacles.json",
        "obstacles",
        "",
        "on 51 rendered frames",
        _voxels,
    ),
    *(
        Row(
            f"{short}: Grounding DINO",
            f"{OURS}/onnx_detectors.json",
            "onnx_detectors",
            "",
            "processor time of a frame, one thread, random weights; the baseline is Grounding DINO tiny by torch",
            _detector(name),
        )
        for short, name in (
            ("OWL-ViT int8", "OWL-ViT B/32 768, int8"),
            ("OWLv2 int8", "OWLv2 B/16 960, int8"),
            ("MM-Grounding-DINO int8", "MM-Grounding-DINO tiny 600x800, int8"),
        )
    ),
    Row(
        "trajectory: TOPP-RA",
        f"{OURS}/arm_timing.json",
        "arm_timing",
        "",
        "how long motions last, not how long planning takes; the baseline is TOPP-RA on the same paths",
        _trajectories,
    ),
)
CENTRES = tuple(
    Row(
        f"{pixels} px: {short}",
        f"{OURS}/lifting.json",
        "lifting",
        "",
        "median distance of the box's centre from the true one; ours completes the far side, the others do not",
        _centres(pixels, route),
        "all rows",
    )
    for pixels in ("700", "3000", "11000")
    for short, route, _ in (_ROUTES[0], _ROUTES[3])
)
_START = "start of the process to its first answer"
COLD = (
    Row(
        "process to first answer: NumPy, OpenCV",
        f"{OURS}/cold_start.json",
        "cold_start",
        "",
        "a fresh process imports the resolver, makes a frame and asks; the baseline imports NumPy and OpenCV and ends",
        _times(("cpu_median_ms", _START), ("cpu_median_ms", "baseline: import NumPy and OpenCV")),
    ),
    Row(
        "first answer: later answers",
        f"{OURS}/cold_start.json",
        "cold_start",
        "",
        "the baseline is the median of the same process's later answers",
        _times(("cpu_median_ms", "first answer"), ("cpu_median_ms", "later answers")),
    ),
    Row(
        "first sentence parsed: later ones",
        f"{OURS}/parsing.json",
        "parsing",
        "",
        "the first call loads the grammar; the baseline is the median of later sentences",
        _first_parse,
    ),
    Row(
        "import the package: empty",
        f"{OURS}/importing.json",
        "importing",
        "",
        "a whole interpreter; the baseline is one that does nothing",
        _import("spatial_vlm_ros"),
    ),
    Row(
        "import the resolver: empty",
        f"{OURS}/importing.json",
        "importing",
        "",
        "the same",
        _import("spatial_vlm_ros.resolver"),
    ),
)

REST = (
    Row(
        "frames lost between two processes",
        f"{OURS}/live.json",
        "live",
        "",
        "colour, depth, detections and camera info of 1280x720 at 30 Hz, 60 s",
        _said("{} of {:,}", ("stream", "lost"), ("stream", "sent of each stream")),
    ),
    Row(
        "idle resolver",
        f"{OURS}/idle.json",
        "idle",
        "",
        "median of five rounds against a bare subscriber of the same topics, 1280x720 at 30 Hz; in brackets the rounds",
        _idle,
    ),
    Row(
        "memory after one frame",
        f"{OURS}/importing.json",
        "importing",
        "",
        "private memory of a process that resolves one 640x480 frame",
        _said("{} MB; interpreter {} MB", ("private_mb", "resolved"), ("private_mb", "interpreter")),
    ),
    Row(
        "memory of the compact model",
        f"{OURS}/compact.json",
        "compact",
        "",
        "private memory of a process that finds four nouns in a 640x480 image",
        _said("{} MB", ("private_mb",)),
    ),
    Row(
        "four nouns by the compact model",
        f"{OURS}/compact.json",
        "compact",
        "",
        "a 640x480 image, two threads",
        _said(
            "{:.0f} ms, 95th percentile {:.0f} ms",
            ("times", "4 phrases", "median_ms"),
            ("times", "4 phrases", "p95_ms"),
        ),
    ),
)
