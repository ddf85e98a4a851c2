# SPDX-License-Identifier: Apache-2.0
"""JSON of queries and resolutions: the contract's fields, and the schema they are valid against."""

from __future__ import annotations

import json

import jsonschema
import pytest

from spatial_vlm_ros import Resolver, parse
from spatial_vlm_ros.errors import InputError
from spatial_vlm_ros.schema import json_schema, query_json, resolution_json
from spatial_vlm_ros.sim.examples import chicks_and_cup_frame

SENTENCES = (
    "grab me the chick behind the cup",
    "the second chick from the left",
    "the chick",
    "the duck",
    "the chick left of the box",
    "put the box left of the cup",
    "the chick on my left",
    "the chick touching the cup",
    "",
)


@pytest.mark.parametrize("instruction", SENTENCES)
def test_every_resolution_is_valid_against_the_schema(instruction: str) -> None:
    frame, detections = chicks_and_cup_frame()
    made = resolution_json(Resolver().resolve(frame, instruction, detections))
    validator = jsonschema.Draft202012Validator(json_schema("resolution"))
    assert list(validator.iter_errors(json.loads(json.dumps(made)))) == []


def test_a_resolution_has_the_fields_that_programs_rely_on() -> None:
    frame, detections = chicks_and_cup_frame()
    made = resolution_json(Resolver().resolve(frame, "grab me the chick behind the cup", detections))
    assert {
        *("frame", "instruction", "status", "code", "message", "target", "place", "candidates", "frame_of_reference"),
        *("up_from", "question", "dialogue_id", "hidden_regions", "confidence", "ms", "timings_ms", "schema"),
    } <= set(made)
    assert (made["status"], made["code"], made["place"]) == ("OK", 0, None)
    target = made["target"]
    assert {"id", "label", "pose", "surface_position", "size", "covariance"} <= set(target)
    assert set(target["pose"]) == {"frame_id", "position", "orientation"}
    assert len(target["covariance"]) == 36
    assert len(target["pose"]["orientation"]) == 4
    candidate = made["candidates"][0]
    assert {"id", "probability", "clauses"} <= set(candidate)
    assert {"relation", "anchor_ids", "margin_m", "state"} <= set(candidate["clauses"][0])


def test_a_query_has_the_fields_that_programs_rely_on() -> None:
    made = query_json(parse("put the second red mug from the left behind the box on the tray")[0])
    jsonschema.validate(json.loads(json.dumps(made)), json_schema("query"))
    assert {"instruction", "action", "target", "destination", "readings"} <= set(made)
    assert set(made["destination"]) >= {"relation", "anchors"}
    target = made["target"]
    assert {"category", "attributes", "count", "superlative", "ordinal", "relations"} <= set(target)
    assert target["ordinal"] == {"n": 2, "from": "left"}
    assert {"relation", "anchors", "frame", "negated"} <= set(target["relations"][0])


def test_the_same_input_gives_the_same_json_but_for_timings() -> None:
    def once() -> dict:
        frame, detections = chicks_and_cup_frame()
        made = resolution_json(Resolver().resolve(frame, "grab me the chick behind the cup", detections))
        return {key: value for key, value in made.items() if key not in ("ms", "timings_ms")}

    assert json.dumps(once()) == json.dumps(once())


def test_an_unknown_schema_is_refused_by_name() -> None:
    with pytest.raises(InputError, match="query or resolution"):
        json_schema("answer")
