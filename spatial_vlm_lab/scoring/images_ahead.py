# SPDX-License-Identifier: Apache-2.0
"""Reads and decodes the next images in a thread while earlier ones are used."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from spatial_vlm_lab.engine.ahead import made_ahead
from spatial_vlm_lab.scoring.case_judge import CaseImage
from spatial_vlm_ros.evaluation.case import Case

IMAGES_AHEAD = 2
"""So many images are held beside the one that is asked about; one of 1280×720 with its depth takes 6.4 MB."""


def images_ahead(images: Iterable[tuple[Case, CaseImage]]) -> Iterator[tuple[Case, CaseImage]]:
    """The same pairs in the same order. An error while reading an image is raised at its position."""
    for asked in made_ahead(_by_image(images), IMAGES_AHEAD):
        yield from asked


def _by_image(images: Iterable[tuple[Case, CaseImage]]) -> Iterator[list[tuple[Case, CaseImage]]]:
    """Cases that follow each other on one image, together; each keeps what is known for it."""
    group: list[tuple[Case, CaseImage]] = []
    for case, image in images:
        if group and (image.frame is None or image.frame is not group[0][1].frame):
            yield group
            group = []
        group.append((case, image))
    if group:
        yield group
