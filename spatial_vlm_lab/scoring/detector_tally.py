# SPDX-License-Identifier: Apache-2.0
"""Counts how often a detector's names are right, and which objects it finds: its profile."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from spatial_vlm_lab.scoring.case_judge import EvaluatedCase
from spatial_vlm_lab.scoring.case_result import same_name
from spatial_vlm_lab.scoring.matching import SAME_BOX
from spatial_vlm_ros.errors import EvaluationError
from spatial_vlm_ros.geometry.boxes import overlaps
from spatial_vlm_ros.perception.grounding_checks import never_taken
from spatial_vlm_ros.spatial.clause_judge import fitted
from spatial_vlm_ros.spatial.detector_profile import DetectorProfile

_LEAST = 20
"""Boxes that a profile needs, and boxes of one label that have an offset of their own."""


@dataclass
class DetectorTally:
    """Boxes of a detector on images whose objects are all known; tables and other supports do not count.

    A box counts once, whatever was asked; keys begin with the source of the image.

    Attributes:
        boxes: (image, label, box) → its score, and whether an object of its name is there.
        objects: (image, id) → name, and whether a box there has its name.
    """

    boxes: dict[tuple[object, ...], tuple[float, bool]] = field(default_factory=dict)
    objects: dict[tuple[object, ...], tuple[str, bool]] = field(default_factory=dict)

    def add(self, case: EvaluatedCase) -> None:
        """Count the boxes of a case; without known objects they are not counted."""
        known = [(one.id, one.label, one.box) for one in case.objects if one.box is not None and one.label]
        image = case.source, case.case.frame, case.case.stamp_ns
        for id_, label, _ in known if case.detections else ():
            self.objects.setdefault((*image, id_), (label, False))
        supports = () if case.frame is None else never_taken(case.detections, case.frame.camera)
        for box in [one for one, support in zip(case.detections, supports, strict=False) if known and not support]:
            there = [one for one in known if overlaps(box.box_xyxy, one[2])[0, 0] >= SAME_BOX]
            right = [id_ for id_, label, _ in there if same_name(box.label, label)]
            self.boxes[(*image, box.label, box.box_xyxy)] = box.score, bool(right)
            self.objects |= {(*image, id_): (label, True) for id_, label, _ in there if id_ in right}

    def by_source(self) -> dict[str, dict[str, int]]:
        """Source → how many "boxes", of them with the "right" name, and how many "objects", of them "found" so."""
        counts: dict[str, Counter[str]] = {}
        for names, counted in (("boxes", "right"), self.boxes), (("objects", "found"), self.objects):
            for key, (_, good) in counted.items():
                counts.setdefault(str(key[0]), Counter(boxes=0, right=0, objects=0, found=0)).update(names[: 1 + good])
        return {source: dict(of) for source, of in counts.items()}

    def profile(self, model: str) -> DetectorProfile:
        """The profile of what was counted.

        Raises:
            EvaluationError: there are too few boxes, or none with a right or none with a wrong name.
        """
        counted = np.array(list(self.boxes.values()), np.float64).reshape(-1, 2)
        score, right = counted[:, 0], counted[:, 1]
        if len(right) < _LEAST or not 0 < right.sum() < len(right):
            got = f"{len(right)} boxes, {int(right.sum())} of them with the right name"
            reason = f"a profile needs {_LEAST} boxes, right and wrong ones: there are {got}"
            raise EvaluationError(reason, "Add frames whose objects are all labelled, or lower the model's threshold.")
        fit = fitted(1.0 / (1.0 + np.exp(-score)), right)  # the log-odds of this are the score
        slope, offset = (fit.slope, fit.offset) if fit.slope > 0 else (0.0, _log_odds(right.sum(), len(right)))
        likely = 1.0 / (1.0 + np.exp(-(slope * score + offset)))
        shifts = {}
        for label in sorted({str(key[-2]) for key in self.boxes}):
            own = np.array([key[-2] == label for key in self.boxes])
            if own.sum() >= _LEAST:
                shifts[label] = round(
                    _log_odds(right[own].sum(), own.sum()) - _log_odds(likely[own].sum(), own.sum()), 3
                )
        labels = {str(key[-2]) for key in self.boxes}
        sayable = [found for name, found in self.objects.values() if any(same_name(one, name) for one in labels)]
        recall = (sum(sayable) + 1) / (len(sayable) + 2)
        return DetectorProfile(model, round(slope, 3), round(offset, 3), round(recall, 3), shifts)

    def profile_json(self, model: str) -> dict[str, Any]:
        """The file that `decision.profile` reads."""
        right = sum(one for _, one in self.boxes.values())
        measured = {"boxes": len(self.boxes), "right": right, "objects": len(self.objects)}
        return {"schema": 1, **asdict(self.profile(model)), "measured": measured}


def _log_odds(right: float, n: float) -> float:
    return math.log((right + 1.0) / (n - right + 1.0))
