# SPDX-License-Identifier: Apache-2.0
"""Short names of objects, and names that are shorter than a label and mean something else."""

from __future__ import annotations

import pytest

from spatial_vlm_ros.perception.labels import (
    HEAD_ONLY,
    HYPERNYM,
    LESS_SPECIFIC,
    OTHER_KIND,
    PART,
    SAME,
    SYNONYM,
    label_fit,
)


@pytest.mark.parametrize(
    ("said", "label", "fit"),
    [
        ("pig", "piggy bank", PART),
        ("pig bank", "piggy bank", SAME),
        ("dog", "dog figurine", PART),
        ("animal", "dog figurine", HYPERNYM),
        ("robot", "robot statue", PART),
        ("tape", "roll of tape", PART),
        ("roll", "roll of tape", SAME),
        ("tape", "tape dispenser", OTHER_KIND),
        ("canister", "coffee can", HYPERNYM),
        ("pot", "saucepan", SYNONYM),
        ("pan", "saucepan", HYPERNYM),
        ("cordless drill", "power drill", HEAD_ONLY),
        ("chopping board", "cutting board", SAME),
        ("cup", "measuring cup", OTHER_KIND),
        ("egg cup", "egg cup", SAME),
        ("soup bowl", "bowl", HEAD_ONLY),
    ],
)
def test_a_short_name_fits(said: str, label: str, fit: float) -> None:
    assert label_fit(said, label) == fit


@pytest.mark.parametrize(
    ("said", "label"),
    [
        ("cup", "measuring cup board"), ("cup", "cupcake"), ("cup", "cup dispenser"), ("dog", "dog toy"),
        ("cat", "dog figurine"), ("glass", "glass figurine"), ("hand drill", "power drill"),
        ("measuring cup", "red cup"), ("toilet bowl", "bowl"), ("license plate", "plate"),
        ("frying pan", "saucepan"), ("tape measure", "roll of tape"),
    ],
)  # fmt: skip
def test_a_name_of_something_else_does_not_fit(said: str, label: str) -> None:
    assert label_fit(said, label) <= LESS_SPECIFIC


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("cogwheel", "gear"), ("mat", "placemat"), ("place mat", "placemat"), ("rug", "mat"),
        ("sorting tray", "divided tray"), ("compartment tray", "organizer"), ("display riser", "display stand"),
        ("pop can", "soda can"), ("tv remote", "remote control"), ("fire engine", "fire truck"),
        ("trash bin", "trash can"), ("tool chest", "toolbox"), ("pen cup", "pencil holder"),
        ("box cutter", "utility knife"), ("plant pot", "flower pot"), ("shelving unit", "bookcase"),
        ("credenza", "sideboard"), ("almirah", "cupboard"), ("cubbies", "shelves"), ("pigeonhole unit", "bookcase"),
        ("laptop riser", "small table"), ("stand", "little table"), ("shower caddy", "basket"),
        ("flatware tray", "cutlery tray"), ("hand lens", "magnifier"), ("pen drive", "USB stick"),
        ("drawing pin", "pushpin"), ("cling film", "plastic wrap"), ("nail cutter", "nail clippers"),
        ("bulldog clip", "binder clip"), ("emery paper", "sandpaper"), ("spike buster", "power strip"),
    ],
)  # fmt: skip
def test_one_object_has_several_names(one: str, other: str) -> None:
    assert min(label_fit(one, other), label_fit(other, one)) >= SYNONYM


@pytest.mark.parametrize(
    ("said", "label", "fit"),
    [("drink can", "soda can", SAME), ("animal figurine", "dog figurine", SAME), ("vehicle", "ambulance", HYPERNYM),
     ("toy car", "race car", HEAD_ONLY), ("blue mat", "placemat", HEAD_ONLY), ("paper towel", "towel", OTHER_KIND)],
)  # fmt: skip
def test_modifiers_compare_as_nouns_do(said: str, label: str, fit: float) -> None:
    assert label_fit(said, label) >= (fit if fit is not OTHER_KIND else 0.0)
    assert (label_fit(said, label) > OTHER_KIND) is (fit is not OTHER_KIND)


@pytest.mark.parametrize(
    ("said", "label"),
    [
        ("webcam", "depth camera"), ("bolt", "screw"), ("comb", "hairbrush"), ("step", "display stand"),
        ("jar", "teapot"), ("fork", "spoon"), ("screen", "screwdriver"), ("dust pan", "pan"), ("tray", "organizer"),
        ("tennis ball", "golf ball"), ("teddy bear", "polar bear"), ("notebook case", "bookcase"),
        ("wallet", "handbag"), ("measuring cup", "measuring jug"), ("table lamp", "table"),
        ("small table", "cake stand"), ("music stand", "small table"), ("stand", "table"),
        ("tool caddy", "fruit basket"),
        ("box cutter", "pizza cutter"), ("felt pen", "whiteboard marker"), ("phone charger", "torch"),
        ("basket", "box"), ("cotton bud", "earbud"), ("washing machine", "lock washer"),
    ],
)  # fmt: skip
def test_neighbours_on_a_table_share_no_name(said: str, label: str) -> None:
    assert label_fit(said, label) <= LESS_SPECIFIC
