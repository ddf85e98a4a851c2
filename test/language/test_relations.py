# SPDX-License-Identifier: Apache-2.0
"""Every way of saying a relation, from the table itself."""

import pytest

from spatial_vlm_ros.language import RELATIONS, parse
from spatial_vlm_ros.language.patterns import expand

SUPPORTED = {
    "left of", "right of", "in front of", "behind", "on", "above", "below", "under", "inside", "next to", "near",
    "far from", "between", "closest to", "farthest from",
}  # fmt: skip
TAKEN = ("from", "off", "out of")
SAID = [
    (name, said) for name, relation in RELATIONS.items() for pattern in relation.surfaces for said in expand(pattern)
]
MOTIONS = [
    (name, said) for name, relation in RELATIONS.items() for pattern in relation.motion for said in expand(pattern)
]


def _anchors(name: str) -> str:
    return "the box and the bowl" if RELATIONS[name].anchors == 2 else "the box"


def test_the_supported_relations_are_those_of_the_contract() -> None:
    assert {name for name, relation in RELATIONS.items() if relation.supported} == SUPPORTED


def test_only_the_horizontal_directions_depend_on_a_frame_among_the_supported() -> None:
    framed = {name for name, relation in RELATIONS.items() if relation.framed and relation.supported}
    assert framed == {"left of", "right of", "in front of", "behind"}


@pytest.mark.parametrize(("name", "said"), [(name, name) for name in RELATIONS if name != "to"] + SAID)
def test_every_surface_form_gives_its_canonical_relation(name: str, said: str) -> None:
    link = " that is" if name in TAKEN else ""
    (clause,) = parse(f"pick up the mug{link} {said} {_anchors(name)}")[0].target.relations
    assert clause.relation == name
    assert [anchor.category for anchor in clause.anchors] == ["box", "bowl"][: RELATIONS[name].anchors]


@pytest.mark.parametrize(("name", "said"), MOTIONS)
def test_every_word_of_motion_gives_a_destination(name: str, said: str) -> None:
    destination = parse(f"move the mug {said} {_anchors(name)}")[0].destination
    assert destination is not None
    assert destination.relation == name


@pytest.mark.parametrize("name", sorted(SUPPORTED))
def test_every_supported_relation_can_be_a_destination(name: str) -> None:
    query = parse(f"put the mug {name} {_anchors(name)}")[0]
    assert query.destination is not None
    assert query.destination.relation == name
    assert query.target.relations == ()


@pytest.mark.parametrize("name", sorted(SUPPORTED))
def test_every_supported_relation_can_be_negated(name: str) -> None:
    (clause,) = parse(f"the mug that is not {name} {_anchors(name)}")[0].target.relations
    assert clause.negated
