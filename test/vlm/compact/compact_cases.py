# SPDX-License-Identifier: Apache-2.0
"""Drawn images with truth, and a small model, for the tests of the compact model."""

import cv2
import numpy as np

from spatial_vlm_lab.training.images import LabelledImage, LabelledObject, Vocabulary
from spatial_vlm_ros.vlm.compact.model import CompactConfig, config_of
from spatial_vlm_ros.vlm.compact.spec import CompactSpec

WIDTH, HEIGHT = 160, 112
PAINTS = {"red": (210, 40, 40), "blue": (40, 70, 210), "green": (40, 170, 60)}
NAMES = {"ball": ("ball",), "box": ("box",), "sphere": ("ball",), "object": ("ball", "box")}
VOCABULARY = Vocabulary((*sorted(PAINTS), "striped"), NAMES, frozenset())
SPEC = CompactSpec(VOCABULARY.words, WIDTH, HEIGHT, buckets=8, length=4, prototypes=8)


def small_config() -> CompactConfig:
    return config_of(SPEC, channels=[16, 32, 32], attention_layers=1, attention_heads=2, phrase_size=32, head_size=32)


def drawn(seed: int, count: int = 3) -> LabelledImage:
    rng = np.random.default_rng(seed)
    rgb = np.full((HEIGHT, WIDTH, 3), int(rng.integers(90, 160)), np.uint8)
    numbers = np.zeros((HEIGHT, WIDTH), np.uint8)
    objects: list[LabelledObject] = []
    places = [(int(x), int(y)) for x in (28, 80, 132) for y in (28, 84)]
    for place in rng.permutation(len(places))[:count]:
        (x, y), radius = places[int(place)], int(rng.integers(10, 20))
        label, colour = str(rng.choice(["ball", "box"])), str(rng.choice(sorted(PAINTS)))
        mask = np.zeros((HEIGHT, WIDTH), np.uint8)
        if label == "ball":
            cv2.circle(mask, (x, y), radius, 1, -1)
        else:
            cv2.rectangle(mask, (x - radius, y - radius // 2), (x + radius, y + radius // 2), 1, -1)
        rgb[mask > 0] = PAINTS[colour]
        numbers[mask > 0] = len(objects) + 1
        left, top, w, h = cv2.boundingRect(mask)
        objects.append(LabelledObject(label, (colour,), (left, top, left + w, top + h), 1.0))
    return LabelledImage(rgb, numbers, tuple(objects))
