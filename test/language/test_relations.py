# SPDX-License-Identifier: Apache-2.0
"""Every way of saying a relation, from the table itself, and the everyday words of place."""

import pytest
from language_outline import clause_outline

from spatial_vlm_ros.errors import NotUnderstoodError
from spatial_vlm_ros.language import RELATIONS, parse
from spatial_vlm_ros.language.patterns import expand
from spatial_vlm_ros.language.relations import INVERSE, MEANINGS, MEASURED, Meanings

PARTS = {
    "at the edge of", "at the corner of", "at the centre of", "at the end of", "at the top of",
    "in the middle of the height of", "at the bottom of", "at the left side of", "at the right side of",
    "at the front of", "at the back of",
}  # fmt: skip
COMPARISONS = {
    f"{word} than"
    for word in ("taller", "shorter", "larger", "smaller", "longer", "wider", "narrower", "thicker", "thinner")
}
NO_DESTINATION = COMPARISONS | {
    "containing", "supporting", "part of", "facing", "facing away from", "closer than", "farther than", "other than",
    "higher than", "lower than",
}  # fmt: skip
SUPPORTED = (
    PARTS
    | NO_DESTINATION
    | {
        "left of", "right of", "in front of", "behind", "on the other side of", "opposite", "on", "above", "below",
        "under", "inside", "out of", "touching", "against", "next to", "near", "far from", "at a distance from",
        "around", "closest to", "farthest from", "between", "among",
    }
)  # fmt: skip
REFUSED = {
    "along", "parallel to", "perpendicular to", "in line with", "diagonal to", "surrounding", "surrounded by", "past",
    "through", "with", "without", "attached to", "covered by", "covering", "made of", "labelled", "like", "for", "at",
    "off", "north of", "south of", "east of", "west of", "to",
}  # fmt: skip
FRAMED = {
    "left of", "right of", "in front of", "behind", "on the other side of", "at the left side of",
    "at the right side of", "at the front of", "at the back of", "closer than", "farther than",
}  # fmt: skip
TAKEN = ("from", "off", "out of")
SAID = [
    (name, said) for name, relation in RELATIONS.items() for pattern in relation.surfaces for said in expand(pattern)
]
MOTIONS = [
    (name, said) for name, relation in RELATIONS.items() for pattern in relation.motion for said in expand(pattern)
]
VERBS = [(name, said) for name, relation in RELATIONS.items() for pattern in relation.verbs for said in expand(pattern)]
OPEN = [(each, said) for each in MEANINGS.values() for pattern in each.surfaces for said in expand(pattern)]


def _anchors(name: str) -> str:
    return "the box and the bowl" if RELATIONS[name].anchors == 2 else "the box"


def test_the_supported_relations_are_those_of_the_contract() -> None:
    assert {name for name, relation in RELATIONS.items() if relation.supported} == SUPPORTED


def test_what_the_contract_refuses_by_name_is_parsed_under_that_name() -> None:
    assert {name for name, relation in RELATIONS.items() if not relation.supported} >= REFUSED


def test_those_that_depend_on_a_frame_are_those_of_the_contract() -> None:
    assert {name for name, relation in RELATIONS.items() if relation.framed and relation.supported} == FRAMED


@pytest.mark.parametrize("name", RELATIONS)
def test_every_surface_form_gives_its_canonical_relation(name: str) -> None:
    forms = [said for each, said in SAID if each == name] + [name] * (name != "to")
    assert forms
    for said in forms:
        link = " that is" if name in TAKEN or said == "before" else ""  # "before …" may be an order in time
        (clause,) = parse(f"pick up the mug{link} {said} {_anchors(name)}")[0].target.relations
        assert clause.relation == name, said
        assert [anchor.category for anchor in clause.anchors] == ["box", "bowl"][: RELATIONS[name].anchors], said
        assert clause.distance is None, said


@pytest.mark.parametrize(("name", "said"), VERBS)
def test_every_verb_of_a_relation_says_it_too(name: str, said: str) -> None:
    assert clause_outline(parse(f"the mug that {said} the box")[0].target.relations[0]) == f"{name} box"
    assert clause_outline(parse(f"the mug that does not {said} the box")[0].target.relations[0]) == f"not {name} box"


@pytest.mark.parametrize(("name", "said"), MOTIONS)
def test_every_word_of_motion_gives_a_destination(name: str, said: str) -> None:
    destination = parse(f"move the mug {said} {_anchors(name)}")[0].destination
    assert destination is not None
    assert destination.relation == name


@pytest.mark.parametrize(("meanings", "said"), OPEN)
def test_words_of_two_meanings_have_both_readings(meanings: Meanings, said: str) -> None:
    verb = "take " if said == "away from" else ""  # elsewhere it is far from
    found = [query.target.relations[0].relation for query in parse(f"{verb}the mug {said} the jug")]
    assert found == list(meanings.names)
    if meanings.reversed_by:
        noun = sorted(meanings.reversed_by)[0]
        found = [query.target.relations[0].relation for query in parse(f"{verb}the mug {said} the {noun}")]
        assert found == list(meanings.names)[::-1]


@pytest.mark.parametrize("name", sorted(SUPPORTED - NO_DESTINATION))
def test_every_supported_place_can_be_a_destination(name: str) -> None:
    query = parse(f"put the mug {name} {_anchors(name)}")[0]
    assert query.destination is not None
    assert query.destination.relation == name
    assert query.target.relations == ()


@pytest.mark.parametrize("name", sorted(NO_DESTINATION))
def test_what_is_no_place_says_which_object_is_meant(name: str) -> None:
    query = parse(f"put the mug {name} the box on the tray")[0]
    assert [clause.relation for clause in query.target.relations] == [name]
    assert query.destination is not None
    assert query.destination.relation == "on"


@pytest.mark.parametrize("name", sorted(SUPPORTED))
def test_every_supported_relation_can_be_negated(name: str) -> None:
    (clause,) = parse(f"the mug that is not {name} {_anchors(name)}")[0].target.relations
    assert clause.relation == name
    assert clause.negated


@pytest.mark.parametrize("name", sorted(SUPPORTED - {"between"}))
def test_every_relation_takes_a_plural(name: str) -> None:
    (clause,) = parse(f"the mug {name} the three boxes")[0].target.relations
    assert clause.anchors[0].count == 3


EVERYDAY = {
    "adjacent to": "next to", "beneath": "under", "beside": "next to", "across from": "opposite",
    "ahead of": "in front of", "at the side of": "next to", "by the side of": "next to", "atop": "on",
    "by": "next to", "within": "inside", "amid": "among", "amidst": "among", "amongst": "among", "round": "around",
    "underneath": "under", "on the far side of": "on the other side of", "on the near side of": "in front of",
    "in the centre of": "at the centre of", "in the center of": "at the centre of",
    "in the middle of": "at the centre of", "in the corner of": "at the corner of", "on the edge of": "at the edge of",
    "over": "above", "alongside": "next to", "outside": "out of", "outside of": "out of", "upon": "on", "past": "past",
    "close to": "near", "close by": "next to", "in the vicinity of": "near", "across": "on the other side of",
    "beyond": "on the other side of", "on top of": "on", "in back of": "behind", "to the rear of": "behind",
    "at the rear of": "at the back of", "full of": "containing", "in contact with": "touching",
    "leaning against": "against", "up against": "against", "bigger than": "larger than", "nearer than": "closer than",
    "further than": "farther than", "broader than": "wider than", "slimmer than": "thinner than",
    "along": "along", "through": "through", "in line with": "in line with", "attached to": "attached to",
    "on the rim of": "at the edge of", "at the tip of": "at the end of", "halfway up": "in the middle of the height of",
    "at the foot of": "at the bottom of", "in the top half of": "at the top of", "away from": "far from",
    "looking at": "facing", "looking away from": "facing away from", "apart from": "other than", "except": "other than",
    "in the left half of": "at the left side of", "at the far end of": "at the back of",
    "at the near edge of": "at the front of", "besides": "other than", "toward": "to", "diagonally across from":
    "diagonal to", "next door to": "next to", "holding": "containing",
}  # fmt: skip


@pytest.mark.parametrize(("said", "name"), EVERYDAY.items())
def test_everyday_words_of_place_have_a_canonical_name(said: str, name: str) -> None:
    assert [clause.relation for clause in parse(f"the mug {said} the jug")[0].target.relations] == [name]


@pytest.mark.parametrize(
    ("words", "outlines"),
    [
        ("on the other side of the box from the cup", ["on the other side of box & cup"]),
        ("across the box from the cup", ["on the other side of box & cup"]),
        ("on the far side of the red box from me", ["on the other side of <red> box & me"]),
        ("in the left corner of the tray", ["at the corner of tray", "at the left side of tray"]),
        (
            "in the back right corner of the tray",
            ["at the corner of tray", "at the back of tray", "at the right side of tray"],
        ),
        ("in the middle of the two cups", ["between x2 cup"]),
        ("in the middle of the cups", ["among x-1 cup"]),
        ("among the cup and the bowl", ["between cup & bowl"]),
        ("closer to me than the can", ["closer than@speaker can"]),
        ("farther away from the camera than the can", ["farther than@viewer can"]),
        ("left and right of the box", ["left of box", "right of box"]),
        ("to the left and in front of the box", ["left of box", "in front of box"]),
        ("neither on the tray nor in the box", ["not on tray", "not inside box"]),
        ("that is not on the tray or in the box", ["not on tray", "not inside box"]),
        ("neither behind nor left of the box", ["not behind box", "not left of box"]),
    ],
)
def test_several_relations_at_once(words: str, outlines: list[str]) -> None:
    assert [clause_outline(clause) for clause in parse(f"the mug {words}")[0].target.relations] == outlines


@pytest.mark.parametrize(("said", "name"), INVERSE.items())
def test_what_an_object_has_about_it_is_said_the_other_way_round(said: str, name: str) -> None:
    assert [clause_outline(c) for c in parse(f"the tray with a cup {said} it")[0].target.relations] == [f"{name} cup"]


@pytest.mark.parametrize(("said", "name"), MEASURED.items())
def test_a_distance_keeps_the_relation_it_is_said_with(said: str, name: str) -> None:
    assert RELATIONS[name].supported
    if said in MEANINGS and said != "from":
        (said, *_) = expand(MEANINGS[said].surfaces[0])
    assert clause_outline(parse(f"the mug 10 cm {said} the box")[0].target.relations[0]) == f"~0.1 {name} box"


@pytest.mark.parametrize("name", sorted(SUPPORTED - set(MEASURED) - {"between", "at a distance from"}))
def test_other_relations_take_no_distance(name: str) -> None:
    with pytest.raises(NotUnderstoodError, match="distance cannot be stated"):
        parse(f"the mug 10 cm {name} the box")
