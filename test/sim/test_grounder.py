# SPDX-License-Identifier: Apache-2.0
"""A grounder that knows the truth of the simulator, and errs as it is told."""

from typing import Any

import numpy as np
import pytest
from tables import rows

from spatial_vlm_ros import errors
from spatial_vlm_ros.errors import InputError
from spatial_vlm_ros.perception.grounding_checks import check_detections
from spatial_vlm_ros.resolver import Resolver
from spatial_vlm_ros.sim.grounder import SIMILAR, DetectorErrors, SimulatorGrounder, degraded, load
from spatial_vlm_ros.sim.physics import PhysicsRendering, PhysicsWorld
from spatial_vlm_ros.types import Detection, NounPhrase, Status

Seen = tuple[PhysicsWorld, PhysicsRendering]


def detections(n: int, label: str = "cup") -> list[Detection]:
    """The same square of 40 by 30 pixels, n times."""
    mask = np.zeros((120, 160), np.bool_)
    mask[50:80, 60:100] = True
    return [Detection(f"d{k}", label, 1.0, (60.0, 50.0, 100.0, 80.0), mask, ("red",)) for k in range(n)]


def told(detection: Detection) -> tuple[object, ...]:
    return detection.id, detection.label, detection.score, detection.box_xyxy, detection.attributes


def test_without_errors_everything_is_reported_as_it_is_and_with_them_by_the_seed(demo: Seen) -> None:
    _, seen = demo
    for reported, true in zip(SimulatorGrounder(seen).detections(), seen.detections, strict=True):
        assert told(reported) == told(true)
        assert reported.mask is true.mask
    wrong = DetectorErrors(misses=0.3, swaps=0.3, jitter=0.1, masks="none")
    one, same, other = (SimulatorGrounder(seen, wrong, seed).detections() for seed in (1, 1, 2))
    assert [told(d) for d in one] == [told(d) for d in same]
    assert [told(d) for d in one] != [told(d) for d in other]


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.5, 1.0])
def test_misses_and_swaps_come_as_often_as_asked(rate: float) -> None:
    n = 3000
    spread = 4 * np.sqrt(rate * (1 - rate) / n)  # four standard deviations
    some = degraded(detections(n), DetectorErrors(misses=rate), np.random.default_rng(0))
    assert abs(1 - len(some) / n - rate) <= spread
    swapped = degraded(detections(n), DetectorErrors(swaps=rate), np.random.default_rng(0))
    assert len(swapped) == n
    assert abs(np.mean([d.label != "cup" for d in swapped]) - rate) <= spread


def test_labels_are_swapped_within_their_groups_only() -> None:
    partners = {label for group in SIMILAR if "cup" in group for label in group} - {"cup"}
    labels = {d.label for d in degraded(detections(300), DetectorErrors(swaps=1), np.random.default_rng(1))}
    assert labels == partners
    alone = degraded(detections(5, "submarine"), DetectorErrors(swaps=1), np.random.default_rng(1))
    assert {d.label for d in alone} == {"submarine"}


def test_boxes_jitter_by_the_part_asked_of_their_own_size() -> None:
    loose = degraded(detections(2000), DetectorErrors(jitter=0.1, masks="none"), np.random.default_rng(2))
    boxes = np.array([d.box_xyxy for d in loose])
    np.testing.assert_allclose(boxes.std(axis=0), (4.0, 3.0, 4.0, 3.0), rtol=0.08)
    np.testing.assert_allclose(boxes.mean(axis=0), (60, 50, 100, 80), atol=0.4)
    assert all(d.mask is None for d in loose)


def test_masks_are_eroded_and_dilated_by_the_pixels_asked() -> None:
    for kind, change in (("eroded", -3), ("dilated", 3)):
        (worn,) = degraded(detections(1), DetectorErrors(masks=kind, mask_px=3), np.random.default_rng(0))
        assert worn.mask.sum() == (40 + 2 * change) * (30 + 2 * change)
        assert worn.box_xyxy == (60 - change, 50 - change, 100 + change, 80 + change)
    (gone,) = degraded(detections(1), DetectorErrors(masks="eroded", mask_px=40), np.random.default_rng(0))
    assert gone.mask.any(), "a mask that would vanish stays"


def test_whatever_the_errors_detections_fit_their_image(demo: Seen) -> None:
    for masks in ("none", "eroded", "dilated", "exact"):
        wrong = DetectorErrors(0.1, 0.2, 0.2, masks, 4)
        for seed in range(10):
            assert check_detections(SimulatorGrounder(demo[1], wrong, seed).detections(), 640, 480)


def test_it_grounds_phrases_as_given_detections_are(demo: Seen) -> None:
    _, seen = demo
    grounding = SimulatorGrounder(seen).ground(seen.frame.rgb, [NounPhrase("chick"), NounPhrase("cup")])
    labels = [d.label for d in grounding.detections]
    assert grounding.match.shape == (2, len(labels))
    assert [label for label, fit in zip(labels, grounding.match[0], strict=True) if fit == 1] == ["chick", "chick"]
    with pytest.raises(InputError, match="width and height"):
        SimulatorGrounder(seen).ground(np.zeros((10, 10, 3), np.uint8), [])
    resolver = Resolver(grounder=SimulatorGrounder(seen, DetectorErrors(misses=1.0)))
    assert resolver.resolve(seen.frame, "the chick behind the cup").status is Status.NOT_FOUND


@pytest.mark.usefixtures("_mujoco")
def test_a_grounder_is_loaded_from_words() -> None:
    loaded = load(world="swapped", width="320", height="240", masks="none", error_seed="4")
    assert loaded.rendering.frame.rgb.shape == (240, 320, 3)
    assert {"bonnet", "ribbon", "cup"} <= {d.id for d in loaded.detections()}
    assert all(d.mask is None for d in loaded.detections())
    other = load(seed="3", objects="5", width="320", height="240")
    assert 3 <= len(other.rendering.masks) <= 5


@pytest.mark.usefixtures("_mujoco")
@pytest.mark.parametrize(("what", "options", "error", "words"), rows(__file__, "detector_refused"))
def test_bad_options_and_impossible_errors_are_refused(what: str, options: Any, error: str, words: str) -> None:
    with pytest.raises(getattr(errors, error), match=words):
        {"grounder": load, "errors": DetectorErrors}[what](**options)
