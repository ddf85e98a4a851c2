# SPDX-License-Identifier: Apache-2.0
"""Models of every convention, played by functions that see the very image and write what such a model writes."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest

from spatial_vlm_ros.errors import InputError, ModelError
from spatial_vlm_ros.perception.coordinates import CONVENTIONS, Convention
from spatial_vlm_ros.perception.probing import ConventionVerdict, Refer, probe
from spatial_vlm_ros.perception.probing_images import EXTENT, PLACES, SIZES, probe_images, read_numbers
from spatial_vlm_ros.types import Rgb

Size = tuple[int, int]
NAMES = tuple(CONVENTIONS)
slow = partial(pytest.param, marks=pytest.mark.slow)


def patches(size: Size) -> Size:
    """Whole patches of 28 pixels, as Qwen2.5-VL's processor makes them."""
    return round(size[0] / 28) * 28, round(size[1] / 28) * 28


def seen(rgb: Rgb) -> tuple[float, ...]:
    """The shape's box as fractions of the image, from its pixels."""
    shape = rgb[..., 1] != rgb[0, 0, 1]
    rows, columns = np.flatnonzero(shape.any(axis=1)), np.flatnonzero(shape.any(axis=0))
    height, width = rgb.shape[:2]
    return columns.min() / width, rows.min() / height, (columns.max() + 1) / width, (rows.max() + 1) / height


def written(convention: Convention, place: np.ndarray, size: Size, resized: Size) -> str:
    """A place given as fractions, as a model of that convention writes it."""
    sides = {"pixel": size, "resized": resized, "fraction": (1, 1), "thousand": (1000, 1000), "percent": (100, 100)}
    if convention.unit == "square":  # of a model that sees the image within a square
        before = np.array([(max(size) - side) // 2 for side in size])
        place, sides["square"] = (place.reshape(-1, 2) * size + before) / max(size), (1, 1)
    pairs = place.reshape(-1, 2) * sides.get(convention.unit, (convention.bins, convention.bins))
    if convention.order == "yx":
        pairs = pairs[:, ::-1]
    if convention.unit == "bin":
        numbers = np.minimum(np.floor(pairs), convention.bins - 1).astype(int).ravel()
        return "".join(f"<loc_{n}>" if convention.bins == 1000 else f"<loc{n:04d}>" for n in numbers) + " shape"
    digits = {"fraction": 3, "square": 2, "percent": 1}.get(convention.unit, 0)
    numbers = [round(float(n), digits) if digits else round(float(n)) for n in pairs.ravel()]
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
    """One that finds the shape to within `noise` of the sides, and something else in the first few images."""
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


def names(verdict: ConventionVerdict) -> tuple[str, str | None]:
    return verdict.outcome, None if verdict.actual is None else verdict.actual.name


# ------------------------------------------------------------------------------------------------ images


def test_images_show_the_shape_where_they_say() -> None:
    shown = probe_images()
    assert len(shown) == 18
    assert {(p.rgb.shape[1], p.rgb.shape[0]) for p in shown} == set(SIZES)
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
    for x, y in PLACES:  # off the diagonal and the centre: neither y first nor the middle falls on the shape
        assert abs(x - y) > EXTENT
        assert max(abs(x - 0.5), abs(y - 0.5)) > EXTENT / 2


# ------------------------------------------------------------------------------------------------ reading numbers


@pytest.mark.parametrize(
    ("reply", "numbers", "tokens"),
    [
        ('[{"bbox_2d": [1, 2, 3, 4], "label": "mug 5"}]', (1, 2, 3, 4), ""),
        ("mug<loc_1><loc_2><loc_3><loc_4><loc_5>", (1, 2, 3, 4), "<loc_"),
        ("<loc0001><loc0002><loc0003><loc1023> mug 7", (1, 2, 3, 1023), "<loc"),
        ("<loc0001>", (), "<loc"),
        ('There are 2 of them: {"point_2d": [1.5, -2]}', (1.5, -2), ""),
        ("(0.25, 0.5)", (0.25, 0.5), ""),
        ("about 12, 34", (12, 34), ""),
        ("x=12, y=34", (12, 34), ""),
        ('<point x="12.5" y="34.0" alt="a">a</point>', (12.5, 34), ""),
        ('<points x1="12.5" y1="34.0" x2="5" y2="6">a</points>', (12.5, 34), ""),
        ('<points coords="1 1 073 160 2 5 6">a</points>', (73, 160), ""),
        ("<box>(1,2),(3,4)</box>", (1, 2, 3, 4), ""),
        ("<ref>a</ref><box>[[1, 2, 3, 4]]</box>", (1, 2, 3, 4), ""),
        ("(1, 2), (3, 4)", (1, 2), ""),
        ("<think>at (9, 9)</think> (1, 2)", (1, 2), ""),
        ("[1, 2", (1, 2), ""),
        ("", (), ""),
        ("the mug", (), ""),
        ("7", (), ""),
        ("1, 2, 3", (), ""),
        ("[nan, nan]", (), ""),
    ],
)
def test_numbers_are_found_in_any_form(reply: str, numbers: tuple[float, ...], tokens: str) -> None:
    assert read_numbers(reply) == (numbers, tokens)


# ------------------------------------------------------------------------------------------------ verdicts


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


@pytest.mark.parametrize(
    ("noise", "seed"),
    [(0.06, 0), slow(0.03, 0), slow(0.03, 1), slow(0.06, 1)],
)
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


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        *((answer, "the same for every image") for answer in (
            "[500, 500]", "[0, 0, 1000, 1000]", "[(0.5, 0.5)]", '[{"bbox_2d": [100, 200, 300, 400]}]',
            "<loc_500><loc_500><loc_600><loc_600>",
        )),
        *((answer, "18 of 18 answers have no place") for answer in ("I see no shape.", "", "There are none.")),
    ],
)  # fmt: skip
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


# ------------------------------------------------------------------------------------------------ resizing


def test_pixels_of_a_resized_image_are_not_taken_for_absolute_ones() -> None:
    """They differ by a patch's rounding only; small images tell."""
    resized = model(CONVENTIONS["resized-absolute"], noise=0.02)
    assert names(probe(resized, CONVENTIONS["absolute"], resize=patches)) == ("refuted", "resized-absolute")
    without = probe(model(CONVENTIONS["resized-absolute"], noise=0.02), CONVENTIONS["absolute"])
    assert names(without) == ("undecided", None)
    assert "pass `resize`" in without.reason
    assert without.untested == ("resized-absolute", "resized-absolute-yx")


@pytest.mark.parametrize(("side", "words"), [(448, "448x448"), (768, "768x768")])
def test_a_square_that_nobody_stated_is_suspected(side: int, words: str) -> None:
    true = model(CONVENTIONS["resized-absolute"], resize=lambda _: (side, side), noise=0.01)
    verdict = probe(true, CONVENTIONS["thousand"])
    assert names(verdict) == ("undecided", None)
    assert words in verdict.reason


def test_absolute_pixels_are_confirmed_without_the_processors_size_or_where_nothing_is_resized() -> None:
    def true() -> Refer:
        return model(CONVENTIONS["absolute"], noise=0.01)

    assert names(probe(true(), CONVENTIONS["absolute"])) == ("confirmed", "absolute")
    for name in ("absolute", "resized-absolute"):
        assert names(probe(true(), CONVENTIONS[name], resize=lambda size: size)) == ("confirmed", name)


# ------------------------------------------------------------------------------------------------ the rest


def test_y_first_is_found_in_units_that_have_no_name_for_it() -> None:
    y_first = Convention("fractions, y first", "fraction", "yx")
    verdict = probe(model(y_first, noise=0.02), CONVENTIONS["fraction"])
    assert names(verdict) == ("refuted", "fraction-yx")
    assert (verdict.actual.unit, verdict.actual.order) == ("fraction", "yx")
    assert names(probe(model(y_first, noise=0.02), y_first)) == ("confirmed", "fractions, y first")


def test_raw_numbers_are_taken_as_they_are() -> None:
    def numbers(rgb: Rgb, _phrase: str) -> list[float]:
        return [value * 1000 for value in seen(rgb)]

    assert names(probe(numbers, CONVENTIONS["thousand"])) == ("confirmed", "thousand")
    assert names(probe(numbers, CONVENTIONS["bins-1000"])) == ("confirmed", "bins-1000")
    assert names(probe(numbers, CONVENTIONS["percent"])) == ("refuted", "thousand")


def test_the_evidence_is_a_table_that_json_takes() -> None:
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
