# SPDX-License-Identifier: Apache-2.0
"""Points that a model puts on objects, as objects: the model of masks is a real SAM 2 that learnt two shapes."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")
from tiny_models import LEFT, saved_segmenter, shapes

from spatial_vlm_ros.errors import ModelError
from spatial_vlm_ros.perception.backends.point_objects import _groups, with_boxes
from spatial_vlm_ros.perception.backends.sam2 import Segmenter, segmenter
from spatial_vlm_ros.perception.replies import NamedObject
from spatial_vlm_ros.types import Mask

DISC, OFF_DISC, DIAMOND = (22.0, 26.0), (19.0, 23.0), (72.0, 38.0)


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> Segmenter:
    return segmenter(str(saved_segmenter(tmp_path_factory.mktemp("sam2"), taught=True, points=True)), "cpu", batch="2")


def pointed(*points: tuple[float, float], label: str = "cat") -> list[NamedObject]:
    return [NamedObject(label, None, point, 0.5) for point in points]


def iou(mask: Mask | None, truth: Mask) -> float:
    assert mask is not None
    return float((mask & truth).sum() / (mask | truth).sum())


def test_a_point_gets_the_mask_that_the_model_scores_highest(taught: Segmenter) -> None:
    rgb, truth = shapes()
    masks = taught.point_masks(rgb, [DIAMOND, DISC, OFF_DISC])  # two batches
    assert [mask.dtype for mask in masks if mask is not None] == [np.bool_] * 3
    assert min(iou(mask, truth[n]) for mask, n in zip(masks, (1, 0, 0), strict=True)) > 0.85


def test_points_in_another_size_of_image_are_scaled(taught: Segmenter) -> None:
    rgb, truth = shapes()
    large = np.repeat(np.repeat(rgb, 3, axis=0), 3, axis=1)
    (mask,) = taught.point_masks(large, [(3 * DIAMOND[0], 3 * DIAMOND[1])])
    assert iou(mask, np.repeat(np.repeat(truth[1], 3, axis=0), 3, axis=1)) > 0.85


def test_two_points_on_one_object_are_one_object(taught: Segmenter) -> None:
    rgb, truth = shapes()
    for several in (True, False):  # their masks overlap almost wholly
        objects = with_boxes(pointed(DISC, DIAMOND, OFF_DISC), rgb, taught, several=several, model="m")
        assert len(objects) == 2
        assert [iou(one.mask, truth[n]) > 0.8 for n, one in enumerate(objects)] == [True, True]
        assert objects[0].named.score == 0.5


def test_an_object_with_a_box_keeps_its_box_and_its_place_in_the_order(taught: Segmenter) -> None:
    rgb, _ = shapes()
    box = tuple(float(v) for v in LEFT)
    found = [*pointed(DIAMOND, label="can"), NamedObject("cat", box, None, 0.7)]  # type: ignore[arg-type]
    objects = with_boxes(found, rgb, taught, several=False, model="m")
    assert [one.named.label for one in objects] == ["can", "cat"]
    assert objects[1].named.box_xyxy == box


def test_without_a_model_of_masks_boxes_stay_and_points_are_refused() -> None:
    rgb, _ = shapes()
    (one,) = with_boxes([NamedObject("cat", (1.0, 2.0, 3.0, 4.0), None, 0.7)], rgb, None, several=False, model="m")
    assert one.mask is None
    with pytest.raises(ModelError, match="masks=sam2"):
        with_boxes(pointed(DISC), rgb, None, several=False, model="m")


def test_a_point_where_nothing_is_found_refuses_the_reply(taught: Segmenter) -> None:
    hook = taught._model.mask_decoder.register_forward_hook(lambda _, __, out: (out[0] - 1e4, *out[1:]))
    try:
        with pytest.raises(ModelError, match=r"no object at its point \(22, 26\)"):
            with_boxes(pointed(DISC), shapes()[0], taught, several=False, model="m")
    finally:
        hook.remove()


def test_a_point_in_the_mask_of_another_counts_only_for_models_that_put_several_on_an_object() -> None:
    small, large = np.zeros((8, 8), np.bool_), np.zeros((8, 8), np.bool_)
    small[2:4, 2:4], large[2:7, 2:7] = True, True
    points = [(3.0, 3.0), (6.0, 6.0)]
    assert _groups(points, [small, large], several=True) == [[0, 1]]
    assert _groups(points, [small, large], several=False) == [[0], [1]]


def test_groups_join_over_a_point_between_them() -> None:
    masks = [np.zeros((4, 12), np.bool_) for _ in range(3)]
    masks[0][:, :4], masks[1][:, 8:], masks[2][:, 3:9] = True, True, True
    assert _groups([(1.0, 1.0), (10.0, 1.0), (3.5, 1.0)], masks, several=True) == [[0, 2], [1]]
    masks[2][:, 3:11] = True
    assert _groups([(1.0, 1.0), (10.0, 1.0), (3.5, 1.0)], masks, several=True) == [[0, 1, 2]]
