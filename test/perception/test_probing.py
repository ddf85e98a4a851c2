# SPDX-License-Identifier: Apache-2.0
"""Locations of every convention: to pixels and back, played by functions that see an image; what a backend costs."""

import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from cli_runs import run, told
from hypothesis import given
from hypothesis import strategies as st
from tables import tables

from spatial_vlm_ros import errors
from spatial_vlm_ros.errors import InputError, ModelError
from spatial_vlm_ros.geometry.boxes import CLIP_MEAN, padded, padding
from spatial_vlm_ros.perception import coordinates, probing
from spatial_vlm_ros.perception.coordinates import (
    CONVENTIONS,
    Convention,
    fitting,
    from_pixels,
    share_inside,
    to_pixels,
)
from spatial_vlm_ros.perception.grounder import Grounding
from spatial_vlm_ros.perception.labels import label_match
from spatial_vlm_ros.perception.probing import EXTENT, Refer, check_convention, probe, probe_grounder, probe_images
from spatial_vlm_ros.types import Detection, NounPhrase, Rgb

TABLES = tables(__file__)

Size = tuple[int, int]
NAMES = tuple(CONVENTIONS)
slow = partial(pytest.param, marks=pytest.mark.slow)


def patches(size: Size) -> Size:
    """Whole patches of 28 pixels, as Qwen2.5-VL's processor makes them."""
    return round(size[0] / 28) * 28, round(size[1] / 28) * 28


def seen(rgb: Rgb) -> tuple[float, ...]:
    shape = rgb[..., 1] != rgb[0, 0, 1]
    rows, columns = np.flatnonzero(shape.any(axis=1)), np.flatnonzero(shape.any(axis=0))
    height, width = rgb.shape[:2]
    return columns.min() / width, rows.min() / height, (columns.max() + 1) / width, (rows.max() + 1) / height


def written(convention: Convention, place: np.ndarray, size: Size, resized: Size) -> str:
    numbers = from_pixels([(place.reshape(-1, 2) * size).ravel()], convention, size, resized)[0].tolist()
    if convention.unit == "bin":
        return "".join(f"<loc_{n:.0f}>" if convention.bins == 1000 else f"<loc{n:04.0f}>" for n in numbers) + " shape"
    digits = {"fraction": 3, "square": 2, "percent": 1}.get(convention.unit, 0)
    numbers = [round(number, digits) if digits else round(number) for number in numbers]
    if convention.unit == "percent" and len(numbers) == 2:
        return f'<point x="{numbers[0]}" y="{numbers[1]}" alt="the shape">the shape</point>'
    key = "bbox_2d" if len(numbers) == 4 else "point_2d"
    return f'There is 1 shape.\n```json\n[{{"{key}": {json.dumps(numbers)}, "label": "shape 7"}}]\n```'


def model(
    convention: Convention,
    *,
    noise: float = 0.0,
    seed: int = 0,
    points: bool = False,
    resize: Callable[[Size], Size] = patches,
    misses: int = 0,
) -> Refer:
    rng = np.random.default_rng(seed)
    asked = iter(range(10_000))

    def refer(rgb: Rgb, phrase: str) -> str:
        assert phrase.startswith("the ")
        size = (rgb.shape[1], rgb.shape[0])
        place = np.array(seen(rgb))
        if points:
            place = (place[:2] + place[2:]) / 2
        if next(asked) < misses:
            place = (place + 0.45) % 0.9
        place = np.clip(place + rng.normal(0, noise, len(place)), 0, 1) if noise else place
        return written(convention, place, size, resize(size))

    return refer


def names(verdict: probing.ConventionVerdict) -> tuple[str, str | None]:
    return verdict.outcome, None if verdict.actual is None else verdict.actual.name


def test_images_show_the_shape_where_they_say() -> None:
    shown = probe_images()
    assert len(shown) == 18
    assert {(p.rgb.shape[1], p.rgb.shape[0]) for p in shown} == set(probing.SIZES)
    colour = {"red": 0, "green": 1, "blue": 2}
    for one in shown:
        assert one.rgb.dtype == np.uint8
        height, width = one.rgb.shape[:2]
        assert np.multiply(seen(one.rgb), (width, height, width, height)) == pytest.approx(one.box_xyxy, abs=1.01)
        x0, y0, x1, y1 = one.box_xyxy
        assert 0 < x0 < x1 < width
        assert 0 < y0 < y1 < height
        assert one.rgb[int(y0 + y1) // 2, int(x0 + x1) // 2].argmax() == colour[one.phrase.split()[1]]
    assert {one.phrase.split()[2] for one in shown} == {"rectangle", "ellipse"}
    for x, y in probing.PLACES:  # off the diagonal and the centre: neither y first nor the middle falls on the shape
        assert abs(x - y) > EXTENT
        assert max(abs(x - 0.5), abs(y - 0.5)) > EXTENT / 2


def test_numbers_are_found_in_any_form_and_raw_ones_are_taken_as_they_are() -> None:
    for line in Path(__file__).with_name("replies_numbers.jsonl").read_text("utf-8").splitlines():
        reply, numbers, tokens = json.loads(line)
        assert probing.read_numbers(reply) == (tuple(numbers), tokens), reply

    def numbers(rgb: Rgb, _phrase: str) -> list[float]:
        return [value * 1000 for value in seen(rgb)]

    assert names(probe(numbers, CONVENTIONS["thousand"])) == ("confirmed", "thousand")
    assert names(probe(numbers, CONVENTIONS["bins-1000"])) == ("confirmed", "bins-1000")
    assert names(probe(numbers, CONVENTIONS["percent"])) == ("refuted", "thousand")


@pytest.mark.parametrize(
    ("true", "stated"),
    [
        pytest.param(true, stated, marks=() if (a - b) % 4 == 0 or "thousand" in (true, stated) else pytest.mark.slow)
        for a, true in enumerate(NAMES)
        for b, stated in enumerate(NAMES)
    ],
)
def test_a_convention_is_confirmed_and_a_wrong_one_refuted_by_the_right_one(true: str, stated: str) -> None:
    verdict = probe(model(CONVENTIONS[true], noise=0.01), CONVENTIONS[stated], resize=patches)
    if (true, stated) == ("thousand", "bins-1000"):  # the same numbers, to half of one
        assert names(verdict) == ("confirmed", stated)
        return
    assert names(verdict) == ("confirmed" if true == stated else "refuted", true), verdict.reason
    assert verdict.support[0].explained >= 14


@pytest.mark.parametrize("name", [name for name in NAMES if CONVENTIONS[name].unit != "bin"])
def test_points_do_as_well_as_boxes(name: str) -> None:
    verdict = probe(model(CONVENTIONS[name], points=True, noise=0.015), CONVENTIONS[name], resize=patches)
    assert names(verdict) == ("confirmed", name), verdict.reason


@pytest.mark.parametrize(("noise", "seed"), [(0.06, 0), slow(0.03, 0), slow(0.03, 1), slow(0.06, 1)])
@pytest.mark.parametrize("true", NAMES)
def test_noise_never_confirms_or_names_a_wrong_one(true: str, noise: float, seed: int) -> None:
    for stated in {true, NAMES[(NAMES.index(true) + 1 + seed) % len(NAMES)]}:
        verdict = probe(model(CONVENTIONS[true], noise=noise, seed=seed), CONVENTIONS[stated], resize=patches)
        assert names(verdict) in {("confirmed" if true == stated else "refuted", true), ("undecided", None)}


def test_a_few_misses_change_nothing_and_many_leave_it_undecided() -> None:
    verdict = probe(model(CONVENTIONS["thousand"], noise=0.01, misses=4), CONVENTIONS["absolute"])
    assert names(verdict) == ("refuted", "thousand")
    assert verdict.support[0].explained == 14
    verdict = probe(model(CONVENTIONS["thousand"], misses=6), CONVENTIONS["thousand"])
    assert names(verdict) == ("undecided", None)
    assert "thousand explains 12" in verdict.reason


@pytest.mark.parametrize(("answer", "reason"), TABLES["the same"])
@pytest.mark.parametrize("stated", ["thousand", slow("absolute"), slow("fraction"), slow("bins-1000")])
def test_a_model_that_always_says_the_same_is_undecided(answer: str, reason: str, stated: str) -> None:
    verdict = probe(lambda _rgb, _phrase: answer, CONVENTIONS[stated], resize=patches)
    assert names(verdict) == ("undecided", None)
    assert reason in verdict.reason


@pytest.mark.parametrize("scale", [1.0, slow(100.0), slow(500.0), 1000.0])
@pytest.mark.parametrize("seed", [0, 1, slow(2), slow(3), slow(4)])
def test_a_model_that_guesses_is_undecided(scale: float, seed: int) -> None:
    rng = np.random.default_rng(seed)

    def guess(_rgb: Rgb, _phrase: str) -> str:
        a, b = np.sort(rng.uniform(0, scale, (2, 2)), axis=0)
        return f"[{a[0]:.3f}, {a[1]:.3f}, {b[0]:.3f}, {b[1]:.3f}]" if seed % 2 else f"({a[0]:.3f}, {b[1]:.3f})"

    for stated in ("thousand", "fraction"):
        assert names(probe(guess, CONVENTIONS[stated], resize=patches)) == ("undecided", None)


def test_a_model_that_is_late_by_one_image_or_writes_corner_and_size_is_undecided() -> None:
    true, answers = model(CONVENTIONS["thousand"]), ["[1, 1, 2, 2]"]

    def late(rgb: Rgb, phrase: str) -> str:
        answers.append(str(true(rgb, phrase)))
        return answers[-2]

    def corner_and_size(rgb: Rgb, _phrase: str) -> str:
        x0, y0, x1, y1 = seen(rgb)
        return f"[{x0 * 1000:.0f}, {y0 * 1000:.0f}, {(x1 - x0) * 1000:.0f}, {(y1 - y0) * 1000:.0f}]"

    for refer in (late, corner_and_size):
        assert names(probe(refer, CONVENTIONS["thousand"])) == ("undecided", None)


def test_absolute_pixels_are_told_from_those_of_a_resized_image() -> None:
    """They differ by a patch's rounding only; small images tell."""
    resized = model(CONVENTIONS["resized-absolute"], noise=0.02)
    assert names(probe(resized, CONVENTIONS["absolute"], resize=patches)) == ("refuted", "resized-absolute")
    without = probe(model(CONVENTIONS["resized-absolute"], noise=0.02), CONVENTIONS["absolute"])
    assert names(without) == ("undecided", None)
    assert "pass `resize`" in without.reason
    assert without.untested == ("resized-absolute", "resized-absolute-yx")

    def true() -> Refer:
        return model(CONVENTIONS["absolute"], noise=0.01)

    assert names(probe(true(), CONVENTIONS["absolute"])) == ("confirmed", "absolute")
    for name in ("absolute", "resized-absolute"):
        assert names(probe(true(), CONVENTIONS[name], resize=lambda size: size)) == ("confirmed", name)


def test_a_model_that_shrinks_only_large_images_is_undecided() -> None:
    """As Qwen2.5-VL's processor with max_pixels."""
    true = model(CONVENTIONS["resized-absolute"], resize=lambda size: size if max(size) < 1333 else (1333, 756))
    verdict = probe(true, CONVENTIONS["absolute"])
    assert (names(verdict), "up to 724 pixels" in verdict.reason) == (("undecided", None), True)


@pytest.mark.parametrize(("side", "words"), [(448, "448x448"), (768, "768x768")])
def test_a_square_that_nobody_stated_is_suspected(side: int, words: str) -> None:
    true = model(CONVENTIONS["resized-absolute"], resize=lambda _: (side, side), noise=0.01)
    verdict = probe(true, CONVENTIONS["thousand"])
    assert names(verdict) == ("undecided", None)
    assert words in verdict.reason


def test_y_first_is_found_and_the_evidence_is_a_table_that_json_takes() -> None:
    y_first = Convention("fractions, y first", "fraction", "yx")
    verdict = probe(model(y_first, noise=0.02), CONVENTIONS["fraction"])
    assert names(verdict) == ("refuted", "fraction-yx")
    assert (verdict.actual.unit, verdict.actual.order) == ("fraction", "yx")
    assert names(probe(model(y_first, noise=0.02), y_first)) == ("confirmed", "fractions, y first")
    verdict = probe(model(CONVENTIONS["percent"], noise=0.01), CONVENTIONS["absolute"], resize=patches)
    table = json.loads(json.dumps(verdict.summary()))
    assert (table["outcome"], table["stated"]) == ("refuted", "absolute")
    assert table["actual"] == {"name": "percent", "unit": "percent", "order": "xy", "bins": 0}
    first, explained = table["support"][0], [row["explained"] for row in table["support"]]
    assert (first["convention"], first["explained"]) == ("percent", 18)
    assert 0 < first["rms"] < 0.02
    assert explained == sorted(explained, reverse=True)
    assert len(table["trials"]) == 18
    assert (table["trials"][0]["size"], len(table["trials"][0]["numbers"])) == ([640, 480], 4)
    assert all(trial.answer.isprintable() for trial in verdict.trials)


def test_too_few_images_no_processors_size_and_other_answers_are_refused_and_errors_of_the_model_pass() -> None:
    def broken(_rgb: Rgb, _phrase: str) -> str:
        raise ModelError("a model", "out of memory", "use a smaller one")

    with pytest.raises(InputError, match="at least 8"):
        probe(model(CONVENTIONS["thousand"]), CONVENTIONS["thousand"], images=probe_images()[:7])
    with pytest.raises(InputError, match="resized-absolute"):
        probe(model(CONVENTIONS["absolute"]), CONVENTIONS["resized-absolute"])
    with pytest.raises(InputError, match="a text or numbers"):
        probe(lambda _rgb, _phrase: None, CONVENTIONS["thousand"])  # type: ignore[arg-type, return-value]
    with pytest.raises(ModelError, match="out of memory"):
        probe(broken, CONVENTIONS["thousand"])


class Written:
    def __init__(self, stated: str = "thousand", blind: bool = False) -> None:
        self.convention: Convention = CONVENTIONS[stated]
        self.blind = blind

    def ground(self, rgb: Rgb, phrases: Sequence[NounPhrase]) -> Grounding:
        raise AssertionError(f"its words are probed, not its boxes: {rgb.shape} {phrases}")

    def written(self, rgb: Rgb, words: str) -> tuple[str, tuple[int, int]]:
        assert words.startswith("the ")
        height, width = rgb.shape[:2]
        box = [500, 500, 500, 500] if self.blind else [round(value * 1000) for value in seen(rgb)]
        return json.dumps([{"bbox_2d": box, "label": words}]), (width // 28 * 28, height // 28 * 28)


class Boxes:
    def __init__(self, scale: Callable[[tuple[int, int]], tuple[float, float]]) -> None:
        self.scale = scale

    def ground(self, rgb: Rgb, phrases: Sequence[NounPhrase]) -> Grounding:
        assert phrases[0].attributes[0] in ("red", "blue", "green")
        height, width = rgb.shape[:2]
        across, down = self.scale((width, height))
        x0, y0, x1, y1 = (float(v) for v in np.array(seen(rgb)) * ((width * across, height * down) * 2))
        wrong = Detection("0", "cup", 0.9, (0.0, 0.0, 5.0, 5.0))
        right = Detection("1", phrases[0].category, 0.6, (x0, y0, x1, y1))
        return Grounding((wrong, right), label_match(phrases, (wrong, right)))


def in_pixels() -> Boxes:
    return Boxes(lambda _: (1.0, 1.0))


def test_a_model_that_writes_as_stated_starts_and_unclear_ones_are_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    assert isinstance(Written(), probing.Writer)
    check_convention("tiny", Written())
    assert caplog.records == []
    check_convention("tiny", Written(blind=True))
    warned = "it is not confirmed that it writes places as thousand: the answer is the same for every image"
    assert warned in caplog.text


@pytest.mark.parametrize("stated", ["absolute", "resized-absolute", "percent", "thousand-yx"])
def test_a_model_that_writes_otherwise_is_refused_with_the_evidence(stated: str) -> None:
    with pytest.raises(
        probing.ConventionError, match=f"not write places as {stated}.*Set convention=thousand"
    ) as caught:
        check_convention("tiny", Written(stated))
    assert caught.value.verdict.outcome == "refuted"
    assert len(caught.value.verdict.trials) == 18


def test_boxes_of_any_grounder_have_to_be_in_pixels() -> None:
    class Nothing:
        def ground(self, rgb: Rgb, phrases: Sequence[NounPhrase]) -> Grounding:  # noqa: ARG002
            return Grounding((), label_match(phrases, ()))

    assert probe_grounder(in_pixels()).outcome == "confirmed"
    with pytest.raises(probing.ConventionError, match="as absolute: thousand explains 18 of 18"):
        check_convention("own", Boxes(lambda size: (1000 / size[0], 1000 / size[1])))
    verdict = probe_grounder(Nothing())
    assert verdict.outcome == "undecided"
    assert "18 of 18 answers have no place" in verdict.reason


def test_the_command_shows_the_evidence_and_ends_with_the_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parent)

    right = run("probe", f"{__name__}:Written", "--grounder-options", "stated=thousand")
    assert right.exit_code == 0
    verdict = "thousand: confirmed: thousand explains 18 of 18 answers to images of 97 to 1930 pixels"
    assert right.output.splitlines()[-1] == verdict
    wrong = told("probe", f"{__name__}:Written", "--grounder-options", "stated=percent", code=3)
    assert (wrong["outcome"], wrong["actual"]["name"]) == ("refuted", "thousand")
    assert run("probe", f"{__name__}:in_pixels").exit_code == 0
    unknown = run("probe", "nonsense")
    assert unknown.exit_code == 3
    assert "qwen-vl" in unknown.output


RGB = np.zeros((4, 6, 3), np.uint8)
PHRASES = (NounPhrase("cup"),)
CLOCK = SimpleNamespace(wall=0.0, busy=0.0)
"""Seconds of a clock that only the model moves."""


class Slow:
    """Takes 5 s for its first request and 1, 2, 3 … s for the others, half of it on the processor."""

    providers = ("CPUExecutionProvider",)

    def __init__(self) -> None:
        CLOCK.wall += 7.0
        self.asked = 0

    def ground(self, _: Rgb, phrases: Sequence[NounPhrase]) -> Grounding:
        taken = self.asked or 5.0
        self.asked += 1
        CLOCK.wall, CLOCK.busy = CLOCK.wall + taken, CLOCK.busy + taken / 2
        return Grounding((), np.zeros((len(phrases), 0)))


def test_loading_the_first_request_and_the_others_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    told = SimpleNamespace(perf_counter=lambda: CLOCK.wall, process_time=lambda: CLOCK.busy)
    monkeypatch.setattr(probing, "time", told)
    found = probing.measure(Slow, RGB, PHRASES, frames=4)
    assert (found.load_s, found.first_s, found.frames) == (7.0, 5.0, 4)
    assert (found.median_s, found.p95_s, found.cpu_s) == (2.5, pytest.approx(3.85), 1.25)
    assert found.peak_mb > 10.0
    assert found.runs_on == "CPUExecutionProvider"
    assert probing.measure(Slow, RGB, PHRASES, frames=1000, most_s=6.0).frames == 3  # 1 + 2 + 3 s: the time is up
    assert probing.measure(Slow, RGB, PHRASES, frames=1000, most_s=0.0).frames == 1


def test_the_command_prints_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    words = ["probe", "test_probing:Slow", "--bench", "--frames", "2"]
    done = run(*words)
    assert done.exit_code == 0, done.output
    assert "test_probing:Slow on CPUExecutionProvider: loaded in" in done.output
    assert "2 further requests:" in done.output
    found = told(*words)
    assert (found["frames"], found["gpu_peak_mb"]) == (2, None)
    both = run(*words, "--blindness")
    assert both.exit_code == 2
    assert "give only one of" in both.output


SIZE, RESIZED = (640, 480), (320, 120)


@pytest.mark.parametrize(("name", "written", "pixels"), TABLES["values of every convention are pixels"])
def test_values_of_a_convention_are_pixels(name: str, written: tuple[float, ...], pixels: tuple[float, ...]) -> None:
    convention = CONVENTIONS[name]
    boxes = to_pixels([written, written], convention, SIZE, RESIZED)
    assert boxes.dtype == np.float64
    assert boxes.shape == (2, 4)
    assert boxes[1] == pytest.approx(pixels)
    points = to_pixels([written[:2]], convention, SIZE, RESIZED)
    assert points.shape == (1, 2)
    assert points[0] == pytest.approx(pixels[:2])


@pytest.mark.parametrize(("name", "rounded", "beyond"), TABLES["rounding is clipped and more is"])
def test_rounding_is_clipped_not_more(name: str, rounded: tuple[float, float], beyond: tuple[float, float]) -> None:
    ((x, y),) = to_pixels([rounded], CONVENTIONS[name], SIZE, RESIZED)
    assert 0 <= x <= 640
    assert 0 <= y <= 480
    with pytest.raises(InputError, match=f"convention '{name}'"):
        to_pixels([beyond], CONVENTIONS[name], SIZE, RESIZED)


@pytest.mark.parametrize(("values", "name", "sizes", "error", "words"), TABLES["no place"])
def test_what_is_no_place_is_refused(values: Any, name: str, sizes: list[list[int]], error: str, words: str) -> None:
    with pytest.raises(getattr(errors, error), match=words):
        to_pixels(values, CONVENTIONS[name], *map(tuple, sizes))
    assert to_pixels(np.zeros((0, 4)), CONVENTIONS["thousand"], SIZE).shape == (0, 4)


@pytest.mark.parametrize(("change", "words"), TABLES["a convention that is none is"], ids=str)
def test_a_convention_that_is_none_is_refused(change: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        coordinates.Convention(**{"name": "mine", "unit": "pixel", **change})


def test_fitting_lists_conventions_by_range_and_corners() -> None:
    assert fitting((0.1, 0.2, 0.5, 0.6), SIZE) == ("fraction", "square-fraction")
    assert fitting((0.1, 0.05, 0.5, 0.6), SIZE) == ("fraction",)
    assert fitting((12.5, 30.0), SIZE) == ("absolute", "thousand", "thousand-yx", "percent")
    assert fitting((700, 20, 900, 400), SIZE) == ("thousand", "thousand-yx", "bins-1000", "bins-1024-yx")
    assert fitting((300, 20, 310, 100), SIZE, RESIZED)[:2] == ("absolute", "resized-absolute")
    assert fitting((500, 100, 300, 200), SIZE) == ()
    assert fitting((1010, 1020), SIZE) == ("bins-1024-yx",)
    fractions = {(0.5, 1.0): True, (0, 1): False, (0.5, 1.5): False, (-0.5, 0.5): False}
    assert {values: coordinates.looks_like_fractions(values) for values in fractions} == fractions


@pytest.mark.parametrize("size", [(640, 480), (480, 640), (7, 4), (5, 8), (9, 9)], ids=str)
def test_fractions_of_a_padded_square_are_where_its_pixels_show_the_object(size: tuple[int, int]) -> None:
    """An object is painted, the image padded, and the object looked for in the square, as a model sees it."""
    width, height = size
    box = (width // 4, height // 4, width // 4 + 2, height // 4 + 1)
    rgb = np.zeros((height, width, 3), np.uint8)
    rgb[box[1] : box[3], box[0] : box[2]] = 255
    square = padded(rgb)
    assert square.shape == (max(size), max(size), 3)
    rows, columns = np.nonzero((square == 255).all(axis=-1))
    seen = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]) / max(size)
    assert to_pixels([seen], CONVENTIONS["square-fraction"], size)[0] == pytest.approx(box)


def test_padding_is_split_as_llava_splits_it_and_a_box_that_reaches_into_it_is_inside_by_its_share() -> None:
    assert padding((640, 480)) == (0, 80)
    assert padding((4, 7)) == (1, 0)  # three columns lack: one before the image, two behind it
    assert padded(np.zeros((4, 4, 3), np.uint8)).shape == (4, 4, 3)
    assert tuple(padded(np.zeros((2, 4, 3), np.uint8))[0, 0]) == CLIP_MEAN
    square = CONVENTIONS["square-fraction"]
    assert share_inside((0.25, 0.0, 0.5, 0.25), square, SIZE) == pytest.approx(0.5)
    assert share_inside((0.25, 0.0, 0.5, 0.1), square, SIZE) == 0.0
    assert to_pixels([(0.25, 0.05, 0.5, 0.5)], square, SIZE, beyond=0.1)[0] == pytest.approx((160, 0, 320, 240))
    assert "square-fraction" not in fitting((0.3, 0.05), SIZE)
    assert "square-fraction" in fitting((0.3, 0.2), SIZE)


@given(
    name=st.sampled_from(sorted(CONVENTIONS)),
    corner=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    width=st.integers(1, 5000),
    height=st.integers(1, 5000),
)
def test_what_is_written_is_read_within_a_step(name: str, corner: tuple[float, float], width: int, height: int) -> None:
    convention, size = CONVENTIONS[name], (width, height)
    point = (corner[0] * width, corner[1] * height)
    written = from_pixels([point], convention, size, (7, 9))
    ((u, v),) = to_pixels(written, convention, size, (7, 9))
    step = {"pixel": (0.5, 0.5), "resized": (width / 14, height / 18), "thousand": (width / 2000, height / 2000)}
    allowed = step.get(convention.unit, (1e-9 * width, 1e-9 * height))
    if convention.bins:
        allowed = width / convention.bins, height / convention.bins
    assert abs(u - point[0]) <= allowed[0] + 1e-6
    assert abs(v - point[1]) <= allowed[1] + 1e-6


def test_places_are_written_in_the_order_of_the_convention_and_clipped() -> None:
    box = (160.0, 120.0, 700.0, 240.0)
    assert from_pixels([box], CONVENTIONS["thousand-yx"], SIZE)[0].tolist() == [250.0, 250.0, 500.0, 1000.0]
    assert from_pixels([box], CONVENTIONS["bins-1024-yx"], SIZE)[0].tolist() == [256.0, 256.0, 512.0, 1023.0]
    assert from_pixels([box], CONVENTIONS["square-fraction"], SIZE)[0].tolist() == [0.25, 0.3125, 1.0, 0.5]
    with pytest.raises(InputError, match="resized image size"):
        from_pixels([box], CONVENTIONS["resized-absolute"], SIZE)
