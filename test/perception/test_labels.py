# SPDX-License-Identifier: Apache-2.0
"""How well a label fits a name: short names, synonyms, kinds and parts, and names of something else."""

from __future__ import annotations

import itertools

import pytest

from spatial_vlm_ros.perception.labels import (
    HEAD_ONLY,
    HYPERNYM,
    LESS_SPECIFIC,
    NONE,
    OTHER_KIND,
    PART,
    SAME,
    SYNONYM,
    label_fit,
    label_match,
)
from spatial_vlm_ros.types import Detection, NounPhrase

# A row of names has "said: label" for each pair.
FITS = {
    SAME: """cup: cup, soup can: soup can, can: soup can, cracker box: box of crackers, scissors: pair of scissors,
        pig bank: piggy bank, roll: roll of tape, chopping board: cutting board, egg cup: egg cup, object: cup,
        thing: soup can, item: banana, object: soup can, thing: banana, item: cup, soup can: Soup Can,
        soup can: soup-can, soup can: soup_can, soup can: SOUP CANS, can: Soup Can, can: soup-can, can: soup_can,
        can: SOUP CANS, box: boxes, scissors: scissor, berry: berries, glass: glasses, dish: dishes, tomato: tomatoes,
        battery: batteries, brush: brushes, cup: cups, toy car: toy cars, boxes: box, scissor: scissors,
        berries: berry, glasses: glass, dishes: dish, tomatoes: tomato, batteries: battery, brushes: brush, cups: cup,
        toy cars: toy car""",
    PART: """wipes: wipes canister, spam: spam can, pig: piggy bank, dog: dog figurine, robot: robot statue,
        tape: roll of tape""",
    SYNONYM: """mug: cup, tin: can, bunny: rabbit, coffee mug: coffee cup, cabinet: chest of drawers,
        cream cheese box: cream cheese, pot: saucepan, cup: mug, box: package, package: box, bottle: flask,
        flask: bottle, chick: chicken, chicken: chick""",
    HYPERNYM: """fruit: apple, container: bowl, tool: screwdriver, toy: car, animal: dog figurine,
        canister: coffee can, pan: saucepan""",
    HEAD_ONLY: """soup can: can, soup can: tin can, kitchen rack: metal rack, bbq sauce: sauce bottle,
        cordless drill: power drill, soup bowl: bowl""",
    LESS_SPECIFIC: "apple: fruit, cup: object",
    OTHER_KIND: "tape: tape dispenser, cup: measuring cup",
    NONE: """frying pan: saucepan, moka pot: tea pot, cup: bowl, soup can: tuna can, banana: apple, cup:,
        red bull can: soup can, can: can opener""",
}
ONE_OBJECT = """cogwheel: gear, mat: placemat, place mat: placemat, rug: mat, sorting tray: divided tray,
    compartment tray: organizer, display riser: display stand, pop can: soda can, tv remote: remote control,
    fire engine: fire truck, trash bin: trash can, tool chest: toolbox, pen cup: pencil holder,
    box cutter: utility knife, plant pot: flower pot, shelving unit: bookcase, credenza: sideboard, almirah: cupboard,
    cubbies: shelves, pigeonhole unit: bookcase, laptop riser: small table, stand: little table, shower caddy: basket,
    flatware tray: cutlery tray, hand lens: magnifier, pen drive: USB stick, drawing pin: pushpin,
    cling film: plastic wrap, nail cutter: nail clippers, bulldog clip: binder clip, emery paper: sandpaper,
    spike buster: power strip"""
SOMETHING_ELSE = """cup: measuring cup board, cup: cupcake, cup: cup dispenser, dog: dog toy, cat: dog figurine,
    glass: glass figurine, hand drill: power drill, measuring cup: red cup, toilet bowl: bowl, license plate: plate,
    frying pan: saucepan, tape measure: roll of tape, webcam: depth camera, bolt: screw, comb: hairbrush,
    step: display stand, jar: teapot, fork: spoon, screen: screwdriver, dust pan: pan, tray: organizer,
    tennis ball: golf ball, teddy bear: polar bear, notebook case: bookcase, wallet: handbag,
    measuring cup: measuring jug, table lamp: table, small table: cake stand, music stand: small table, stand: table,
    tool caddy: fruit basket, box cutter: pizza cutter, felt pen: whiteboard marker, phone charger: torch, basket: box,
    cotton bud: earbud, washing machine: lock washer"""


def pairs(row: str) -> list[tuple[str, str]]:
    """Name and label of each entry."""
    return [(said.strip(), label.strip()) for said, _, label in (one.partition(":") for one in row.split(","))]


def detections(*labels: str) -> tuple[Detection, ...]:
    return tuple(Detection(f"d{n}", label, 1.0, (0, 0, 10, 10)) for n, label in enumerate(labels))


@pytest.mark.parametrize(
    ("said", "label", "fit"), [(*pair, fit) for fit, row in FITS.items() for pair in pairs(row)], ids=str
)
def test_a_label_fits_as_far_as_it_says_the_same(said: str, label: str, fit: float) -> None:
    assert label_fit(said, label) == fit


@pytest.mark.parametrize(("one", "other"), pairs(ONE_OBJECT), ids=str)
def test_one_object_has_several_names(one: str, other: str) -> None:
    assert min(label_fit(one, other), label_fit(other, one)) >= SYNONYM


@pytest.mark.parametrize(("said", "label"), pairs(SOMETHING_ELSE), ids=str)
def test_a_name_of_something_else_does_not_fit(said: str, label: str) -> None:
    assert label_fit(said, label) <= LESS_SPECIFIC


@pytest.mark.parametrize(
    ("said", "label", "least"),
    [
        ("drink can", "soda can", SAME),
        ("animal figurine", "dog figurine", SAME),
        ("vehicle", "ambulance", HYPERNYM),
        ("toy car", "race car", HEAD_ONLY),
        ("blue mat", "placemat", HEAD_ONLY),
    ],
)
def test_modifiers_compare_as_nouns_do(said: str, label: str, least: float) -> None:
    assert label_fit(said, label) >= least > OTHER_KIND


def test_a_modifier_is_not_a_head_and_attributes_of_the_detector_may_stand_for_it() -> None:
    assert label_fit("can opener", "can") < SAME
    assert label_fit("cup", "cup") > label_fit("cup", "cup holder")
    assert label_fit("paper towel", "towel") <= OTHER_KIND
    assert label_fit("coffee cup", "cup", ("coffee",)) == SAME
    assert label_fit("coffee cup", "cup", ("paper",)) == HEAD_ONLY


def test_fits_are_probabilities() -> None:
    words = ["cup", "soup can", "object", "fruit", "", "glass", "glasses", "a b c d", "toy", "pen"]
    assert all(0.0 <= label_fit(a, b) <= 1.0 for a, b in itertools.product(words, words))


@pytest.mark.parametrize(
    ("category", "in_view", "meant"),
    [
        ("container", "cup, can, container", "container"),
        ("container", "cup, can, banana", "cup, can"),
        ("cup", "mug, cup", "cup"),
        ("cup", "mug, bowl", "mug"),
        ("mug", "cup, mug, object", "mug"),
        ("fruit", "apple, banana, cup", "apple, banana"),
        ("soup can", "soup can, tuna can", "soup can"),
        ("soup can", "tuna can, can", "can"),  # a label that says less may be it
        ("soup can", "tuna can, cup", ""),
        ("can", "soup can, tuna can", "soup can, tuna can"),
    ],
)
def test_the_most_specific_sense_in_view_wins(category: str, in_view: str, meant: str) -> None:
    labels = in_view.split(", ")
    match = label_match([NounPhrase(category)], detections(*labels))[0]
    assert ", ".join(label for label, fit in zip(labels, match, strict=True) if fit >= 0.3) == meant


def test_each_phrase_is_matched_for_itself() -> None:
    match = label_match([NounPhrase("cup"), NounPhrase("can")], detections("soup can", "cup"))
    assert match.shape == (2, 2)
    assert match.argmax(axis=1).tolist() == [1, 0]
    assert label_match([NounPhrase("cup")], ()).shape == (1, 0)
    assert label_match([], detections("cup")).shape == (0, 1)
