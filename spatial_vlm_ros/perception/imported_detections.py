# SPDX-License-Identifier: Apache-2.0
"""Given detections as a grounder, and those of other tools: results in COCO format, `supervision.Detections`.

Reads their fields without importing pycocotools or supervision. Sources: cocodataset.org/#format-results and cocoapi's
common/maskApi.c (rleFrString: counts as a text); supervision 0.31, detection/core.py (the fields).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.errors import InputError
from spatial_vlm_ros.perception.grounder import Grounding
from spatial_vlm_ros.perception.grounding_checks import check_detections
from spatial_vlm_ros.perception.labels import label_match
from spatial_vlm_ros.spatial.detector_profile import GIVEN
from spatial_vlm_ros.types import Detection, Mask, NounPhrase, Rgb

_PART = 4  # fractional bits of cv2's coordinates
_COUNT_BITS, _MORE, _SIGN = 5, 0x20, 0x10  # of a character of RLE counts: bits of the number, and two flags


def from_coco(
    results: Iterable[Mapping[str, Any]],
    categories: Mapping[int, str] | Iterable[Mapping[str, Any]],
    image_size: tuple[int, int],
    image_id: int | str | None = None,
) -> tuple[Detection, ...]:
    """Convert the COCO results or annotations of one image into detections.

    Args:
        results: objects with `category_id`, `bbox` [left, top, width, height] in pixels, `score` (1 if it is missing,
            as in annotations) and, for masks, `segmentation`: RLE or polygons.
        categories: names by `category_id`, or the list `categories` of an annotation file.
        image_size: (width, height) of the image, pixels.
        image_id: only results of this image are used; None = all results belong to one image.

    Returns:
        The detections in the order of the results, with ids d0, d1, …

    Raises:
        InputError: an entry has no box, score or known category, or a mask that cannot be read; names the entry.
    """
    names = dict(categories) if isinstance(categories, Mapping) else {one["id"]: one["name"] for one in categories}
    chosen = [one for one in results if image_id is None or one.get("image_id") == image_id]
    detections = []
    for number, entry in enumerate(chosen):
        what = f"COCO result {number}"
        category: Any = entry.get("category_id")
        if category not in names:
            known = ", ".join(str(one) for one in sorted(names)[:20])
            raise InputError(what, f"category_id {category!r}", f"one of {known}", "pass the categories of your model")
        try:
            left, top, width, height = (float(value) for value in entry["bbox"])
            if width <= 0 or height <= 0:
                raise ValueError("an empty box")
        except (KeyError, TypeError, ValueError) as error:
            got, expected = f"bbox {entry.get('bbox')!r}", "[left, top, width, height], width and height above 0"
            raise InputError(what, got, expected, "give the box in pixels") from error
        segmentation = entry.get("segmentation")
        mask = None if not segmentation else _coco_mask(what, segmentation, image_size)
        box = (left, top, left + width, top + height)
        detections.append(Detection(f"d{number}", str(names[category]), entry.get("score", 1.0), box, mask))
    return tuple(detections)


def _coco_mask(what: str, segmentation: Any, image_size: tuple[int, int]) -> Mask:
    width, height = image_size
    if not isinstance(segmentation, Mapping):  # polygons: pixels at the border may differ from those of cocoapi
        drawn = np.zeros((height, width), np.uint8)
        for polygon in segmentation:
            try:
                points = np.asarray(polygon, np.float64).reshape(-1, 2)
            except (TypeError, ValueError) as error:
                repair = "give RLE, or polygons in pixels"
                raise InputError(f"{what}: segmentation", repr(polygon)[:80], "x, y, x, y, …", repair) from error
            corners = np.round((points - 0.5) * 2**_PART).astype(np.int32)  # cocoapi counts from pixel corners
            cv2.fillPoly(drawn, [corners], (1,), shift=_PART)
        return drawn.astype(np.bool_)

    size, counts = segmentation.get("size"), segmentation.get("counts")
    if size is None or tuple(size) != (height, width):
        expected = f"size [{height}, {width}] (height, width), as the image"
        raise InputError(f"{what}: segmentation", f"size {size!r}", expected, "give masks of this image")
    if isinstance(counts, (str, bytes)):  # run lengths as a text: from the third on, differences to one before the last
        text, at = counts.decode("ascii") if isinstance(counts, bytes) else counts, 0
        counts = list[int]()
        while at < len(text):
            value, shift, more = 0, 0, True
            while more and at < len(text):
                character = ord(text[at]) - 48
                value |= (character & 0x1F) << shift
                more = bool(character & _MORE)
                at, shift = at + 1, shift + _COUNT_BITS
                if not more and character & _SIGN:
                    value |= -1 << shift
            counts.append(value + counts[-2] if len(counts) > 2 else value)
    lengths = np.asarray(counts, np.int64)
    if lengths.ndim != 1 or (lengths < 0).any() or lengths.sum() != width * height:
        got = f"runs of {lengths.sum()} pixels in all"
        repair = "check that the counts are complete"
        raise InputError(f"{what}: segmentation", got, f"runs of {width * height}, none negative", repair)
    values = np.arange(len(lengths)) % 2 == 1  # the first run is of pixels outside the mask
    return np.repeat(values, lengths).reshape(width, height).T  # column by column


def from_supervision(found: Any, names: Sequence[str] | Mapping[int, str] | None = None) -> tuple[Detection, ...]:
    """Convert a `supervision.Detections` into detections.

    Args:
        names: name of each `class_id`; None = the names in `data["class_name"]`, which most connectors of supervision
            fill.

    Returns:
        The detections in its order, with ids d0, d1, …; those without a confidence have the score 1.

    Raises:
        InputError: there are no names for its classes.
    """
    boxes: npt.NDArray[np.float64] = np.asarray(found.xyxy, np.float64)
    told = found.data.get("class_name") if names is None else None
    if len(boxes) and told is None and (names is None or found.class_id is None):
        repair = "pass names=, such as the names of your model's classes"
        raise InputError("supervision detections", "no class names", "data['class_name'], or class_id", repair)
    detections = []
    for number, box in enumerate(boxes):
        labels: Any = names if told is None else told
        index = int(found.class_id[number]) if told is None else number
        try:
            label = labels[index]
        except (KeyError, IndexError) as error:
            expected = f"one of {len(labels)} names"
            raise InputError("supervision detections", f"class_id {index}", expected, "pass all names") from error
        score = 1.0 if found.confidence is None else float(found.confidence[number])
        mask = None if found.mask is None else np.asarray(found.mask[number], np.bool_)
        left, top, right, bottom = (float(value) for value in box)
        detections.append(Detection(f"d{number}", str(label), score, (left, top, right, bottom), mask))
    return tuple(detections)


class GivenDetections:
    """A grounder that answers from given detections."""

    looks = False

    def __init__(self, detections: Sequence[Detection]) -> None:
        self._detections = tuple(detections)

    def ground(self, rgb: Rgb, phrases: Sequence[NounPhrase]) -> Grounding:
        """Match the labels to the phrases; see Grounder.ground."""
        detections = check_detections(self._detections, rgb.shape[1], rgb.shape[0])
        return Grounding(detections, label_match(phrases, detections), profile=GIVEN)
