# SPDX-License-Identifier: Apache-2.0
"""Every way of saying a relation, from the table itself, and the contract: contract_relations.jsonl."""

import pytest
from language_outline import clause_outline, rows

from spatial_vlm_ros.errors import NotUnderstoodError
from spatial_vlm_ros.language import RELATIONS, parse
from spatial_vlm_ros.language.patterns import expand
from spatial_vlm_ros.language.vocabulary import INVERSE, MEANINGS, MEASURED, OWN, PROPERTIES, Meanings

CONTRACT = {name: said for name, *said in rows("contract_relations")}
REFUSED, NO_DESTINATION, FRAMED = (
    {name for name, said in CONTRACT.items() if word in said} for word in ("refused", "no place", "framed")
)
SUPPORTED = CONTRACT.keys() - REFUSED
TAKEN = ("from", "off", "out of")
SAID, MOTIONS, VERBS = (
    [(name, said) for name, word in RELATIONS.items() for pattern in getattr(word, ways) for said in expand(pattern)]
    for ways in ("surfaces", "motion", "verbs")
)
OPEN = [(each, said) for each in MEANINGS.values() for pattern in each.surfaces for said in expand(pattern)]


def _anchors(name: str) -> str:
    return "the box and the bowl" if RELATIONS[name].anchors == 2 else "the box"


def test_relations_are_supported_refused_by_name_and_framed_as_in_the_contract() -> None:
    assert {name for name, relation in RELATIONS.items() if relation.supported} == SUPPORTED
    assert {name for name, relation in RELATIONS.items() if not relation.supported} >= REFUSED
    assert {name for name, relation in RELATIONS.items() if relation.framed and relation.supported} == FRAMED
    tables = ("framed", "of_two", "no_place", "pushed_to", "further", "grammatical", "motion", "verbs")
    assert {name for table in tables for name in PROPERTIES.read[table]} <= OWN.keys()


@pytest.mark.parametrize("name", RELATIONS)
def test_every_surface_form_gives_its_canonical_relation(name: str) -> None:
    forms = [said for each, said in SAID if each == name] + [name] * (name != "to")
    assert forms
    for said in forms:
        link = " that is" if name in TAKEN or said == "before" else ""  # "before …" may be an order in time
        (clause,) = parse(f"pick up the mug{link} {said} {_anchors(name)}")[0].target.relations
        assert (clause.relation, clause.negated) == (("touching", True) if name == "without" else (name, False)), said
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
