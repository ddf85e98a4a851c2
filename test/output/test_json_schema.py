# SPDX-License-Identifier: Apache-2.0
"""JSON of queries and resolutions: the contract's fields, and the schema they are valid against."""

import json

import jsonschema
import pytest
from chicks import BEHIND, OBSERVED, resolved

from spatial_vlm_ros import Resolver, parse, types
from spatial_vlm_ros.errors import InputError
from spatial_vlm_ros.output.json_schema import (
    as_json,
    dialogue_from_json,
    json_schema,
    phrases_from_json,
    query_json,
    resolution_from_json,
    resolution_json,
)
from spatial_vlm_ros.resolver import phrases_of
from spatial_vlm_ros.sim.examples import chicks_and_cup_frame

SENTENCES = (
    BEHIND, "the second chick from the left", "the chick", "the duck", "the chick left of the box",
    "put the box left of the cup", "the chick on my left", "the chick touching the cup", "",
)  # fmt: skip
VALID = {name: jsonschema.Draft202012Validator(json_schema(name)) for name in ("resolution", "query")}


@pytest.mark.parametrize("instruction", SENTENCES)
def test_every_resolution_is_valid_against_the_schema(instruction: str) -> None:
    made = resolution_json(resolved(instruction))
    assert list(VALID["resolution"].iter_errors(json.loads(json.dumps(made)))) == []


def test_a_resolution_has_the_fields_that_programs_rely_on() -> None:
    made = resolution_json(resolved(BEHIND))
    fields = "frame instruction status code message target place candidates frame_of_reference up_from question"
    assert {*fields.split(), "dialogue_id", "hidden_regions", "confidence", "ms", "timings_ms", "schema"} <= set(made)
    assert (made["status"], made["code"], made["place"]) == ("OK", 0, None)
    target = made["target"]
    assert {"id", "label", "pose", "surface_position", "size", "covariance"} <= set(target)
    assert set(target["pose"]) == {"frame_id", "position", "orientation"}
    assert (len(target["covariance"]), len(target["pose"]["orientation"])) == (36, 4)
    candidate = made["candidates"][0]
    assert {"id", "probability", "clauses"} <= set(candidate)
    assert {"relation", "anchor_ids", "margin_m", "state"} <= set(candidate["clauses"][0])
    frame, detections = chicks_and_cup_frame()  # the same input gives the same JSON but for timings
    again = resolution_json(Resolver().resolve(frame, BEHIND, detections))
    timings = {"ms", "timings_ms"}
    assert {k: v for k, v in again.items() if k not in timings} == {k: v for k, v in made.items() if k not in timings}


def test_a_query_has_the_fields_that_programs_rely_on() -> None:
    made = query_json(parse("put the second red mug from the left behind the box on the tray")[0])
    VALID["query"].validate(json.loads(json.dumps(made)))
    assert {"instruction", "action", "target", "destination", "readings"} <= set(made)
    assert set(made["destination"]) >= {"relation", "anchors"}
    target = made["target"]
    assert {"category", "attributes", "count", "superlative", "ordinal", "relations"} <= set(target)
    assert target["ordinal"] == {"n": 2, "from": "left"}
    assert {"relation", "anchors", "frame", "negated"} <= set(target["relations"][0])


POSE = types.Pose("base_link", (0.1, 0.25, 0.3), (0.0, 0.0, 0.0, 1.0))
MEASURED = ((0.1, 0.2, 0.3), (0.08, 0.07, 0.1), (1e-6,) * 36, False, types.GraspHint(None, 0.07), 0.9, True)
MUGS = tuple(types.Target(id_, "mug", POSE, *MEASURED) for id_ in ("d0", "d1"))
BESIDE = types.Place(POSE, "support", stability_m=None, probability=0.9)
SPOTS = (types.Place(POSE, "d2", "d3", 0.02, 0.05, 0.01, 0.97), BESIDE)
SHELF = types.NounPhrase("shelf", superlative="highest", frame=types.FrameOfReference.OBJECT)
FAR = types.Distance(0.2, "at least")
NOT_BEHIND = types.RelationClause("behind", (SHELF,), types.FrameOfReference.SPEAKER, negated=True, distance=FAR)
CUP = types.NounPhrase("mug", ("red",), 2, None, types.Ordinal(2, "left"), (NOT_BEHIND,), choice="any")
THERE = types.Destination("left of", (SHELF,), types.FrameOfReference.WORLD, types.Distance(0.1))
STEPS = (types.Step("open", SHELF), types.Step("place", CUP, THERE))
QUERY = types.SpatialQuery("words", "place", CUP, THERE, 2, 0.75, STEPS)
CLAUSE = types.ClauseMeasurement("behind", ("d2", "d3"), None, types.ClauseState.UNCLEAR, 0.5)
EVERYTHING = types.Resolution(
    "words", types.Status.OK, "both", target=MUGS[0], place=SPOTS[0], confidence=0.9, query=QUERY, targets=MUGS,
    candidates=(types.Candidate("d0", "mug", 0.9, (CLAUSE,)),), question="Which?", dialogue_id="abc", places=SPOTS,
    frame_of_reference=types.FrameOfReference.SPEAKER, up_from=types.UpSource.TF, stamp_ns=7, frame="f01", ms=1.5,
    hidden_regions=(types.HiddenRegion("d2", (0.1, 0.2, 0.3), (0.1, 0.1, 0.1), "base_link"),),
    answers=(types.OfferedAnswer("the left one", ("d0",)), types.OfferedAnswer("the mugs", ("d0", "d1"))),
    timings_ms={"parse": 0.5},
)  # fmt: skip


@pytest.mark.parametrize("made", [EVERYTHING, types.Resolution("words", types.Status.NOT_FOUND, "none")])
def test_a_resolution_is_valid_and_comes_back_from_its_json_as_it_was(made: types.Resolution) -> None:
    written = json.loads(json.dumps(resolution_json(made)))
    assert resolution_from_json(written) == made
    assert list(VALID["resolution"].iter_errors(written)) == []
    assert list(VALID["query"].iter_errors(json.loads(json.dumps(query_json(QUERY))))) == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("query", "target", "choice"), "either"),
        (("query", "destination", "distance", "bound"), "roughly"),
        (("query", "steps", 0, "action"), None),
        (("places", 0, "stability_m"), "high"),
        (("targets", 1, "pose"), None),
        (("answers", 1, "ids"), "d0"),
    ],
)
def test_a_word_that_does_not_exist_is_refused_by_schema_and_reader(path: tuple[str | int, ...], value: object) -> None:
    written = json.loads(json.dumps(resolution_json(EVERYTHING)))
    place = written
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    assert list(VALID["resolution"].iter_errors(written))
    with pytest.raises(InputError, match=str(path[-1])):
        resolution_from_json(written)


def test_json_from_before_there_were_several_targets_and_places_is_read() -> None:
    written = json.loads(json.dumps(resolution_json(EVERYTHING)))
    del written["targets"], written["places"], written["query"]["steps"], written["query"]["target"]["choice"]
    written["place"] = {"pose": written["place"]["pose"], "anchor_id": "d2"}
    read = resolution_from_json(written)
    assert (read.targets, read.places, read.place) == ((), (), types.Place(POSE, "d2"))


def test_a_dialogue_is_read_back_as_it_was() -> None:
    dialogue, read = None, 0
    for words in ("put the chick left of the second box from the left", "the chick", "the bonnet one",
                  "no, the other one"):  # fmt: skip
        dialogue = OBSERVED.ask(words, follows=dialogue or ()).dialogue
        if dialogue is not None:
            again = dialogue_from_json(json.loads(json.dumps(as_json(dialogue))))
            assert again == dialogue
            assert again.last == dialogue.last
            read += 1
    assert read >= 3


def test_what_is_no_dialogue_phrase_or_schema_is_refused() -> None:
    with pytest.raises(InputError, match="dialogue"):
        dialogue_from_json({"id": 3})
    with pytest.raises(InputError, match="phrases"):
        phrases_from_json([{"category": 3}])
    with pytest.raises(InputError, match="query or resolution"):
        json_schema("answer")


def test_phrases_are_read_back_as_they_were() -> None:
    phrases = phrases_of(parse("the second red cup from the left behind the plate nearest the box"))
    assert phrases_from_json(json.loads(json.dumps(as_json(phrases)))) == phrases
