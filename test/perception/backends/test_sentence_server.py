# SPDX-License-Identifier: Apache-2.0
"""Sentences that a language model reads where the grammar does not, against a real HTTP server."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest
from contract_server import fails, says, serving
from server_cases import unused_address

from spatial_vlm_ros.errors import InputError, ModelError, NotUnderstoodError, UnknownNameError
from spatial_vlm_ros.parameters import ResolverConfig
from spatial_vlm_ros.parameters.resolver import LanguageConfig
from spatial_vlm_ros.perception.backends.sentence_server import load_reader
from spatial_vlm_ros.perception.sentence_reading import model_reading
from spatial_vlm_ros.resolver import Resolver
from spatial_vlm_ros.sim.examples import chicks_and_cup_frame
from spatial_vlm_ros.types import Status

GERMAN = "Gib mir bitte das Küken hinter der Tasse"
PARTS = (
    ("Gib mir", "give me"),
    ("bitte", "please"),
    ("das Küken", "the chick"),
    ("hinter der Tasse", "behind the cup"),
)


def reply(command: str, parts: Any = PARTS, translation: str | None = None) -> str:
    """An answer of a model; a part is what was said, what it means, and True for an aside."""
    told = [{"said": said, "means": means, "aside": bool(aside)} for said, means, *aside in parts]
    meant = " ".join(means for _, means, *_ in parts) if translation is None else translation
    return json.dumps({"translation": meant, "command": command, "parts": told})


def refused(instruction: str, text: str) -> str:
    with pytest.raises(NotUnderstoodError) as error:
        model_reading(instruction, text, "tiny")
    return error.value.reason


# ------------------------------------------------------------------------------------------------ what is believed


def test_a_sentence_of_another_language_becomes_a_query_that_says_who_read_it() -> None:
    reading = model_reading(GERMAN, reply("give me the chick behind the cup"), "tiny")
    query = reading.queries[0]
    assert (query.action, query.target.category, query.read_by) == ("give", "chick", "model")
    assert query.target.relations[0].relation == "behind"
    assert query.instruction == GERMAN
    assert reading.translation == "give me please the chick behind the cup"


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("", "found no command"),
        ("give me the chick in front of the cup", "leaves out 'behind'"),
        ("give me the chick", "leaves out 'behind', 'cup'"),
        ("give me the yellow chick behind the cup", "adds 'yellow'"),
        ("give me the cup behind the chick", "in another order"),
        ("give me the 2 chicks behind the cup", "adds '2'"),
        ("chick chick behind behind cup", "in another order"),
    ],
)
def test_a_reading_that_leaves_out_adds_or_swaps_words_is_refused(command: str, words: str) -> None:
    assert words in refused(GERMAN, reply(command))


def test_every_word_of_the_sentence_is_accounted_for_in_a_plain_command() -> None:
    command = "give me the chick behind the cup"
    silent = (PARTS[0], ("bitte", ""), *PARTS[2:])
    poem = (("dichte", "write a poem about"), ("die Tasse", "the cup"))
    for told, text, words in (
        (GERMAN, reply(command, PARTS[1:]), "every word"),
        (GERMAN, reply(command, (*PARTS, ("nicht", "not"))), "every word"),
        (GERMAN, reply(command, translation=f"{command} not there"), "does not match the meanings"),
        (GERMAN, reply(command, silent, command), "leaves words out"),
        ("dichte die Tasse", reply("write a poem about the cup", poem), "read it as 'write a poem about the cup'"),
    ):
        assert words in refused(told, text)


def test_an_aside_holds_nothing_that_changes_what_is_meant() -> None:
    told = "My sister was here before dawn. Give me the cup"
    aside = ("My sister was here before dawn", "My sister was here before dawn", True)
    assert "'before'" in refused(told, reply("give me the cup", (aside, ("Give me the cup", "Give me the cup"))))
    told = told.replace(" before dawn", "")
    aside = ("My sister was here", "My sister was here", True)
    reading = model_reading(told, reply("give me the cup", (aside, ("Give me the cup", "Give me the cup"))), "tiny")
    assert reading.queries[0].target.category == "cup"
    told = "nimm nicht die Tasse sondern den Teller"
    parts = (("nimm nicht die Tasse", "do not take the cup", True), ("sondern den Teller", "but the plate"))
    assert "'not'" in refused(told, reply("take the plate", parts))


def test_numbers_are_copied_never_made() -> None:
    parts = (("Stell die Tasse", "put the cup"), ("10 cm", "10 cm"), ("vor den Teller", "in front of the plate"))
    command = "put the cup 10 cm in front of the plate"
    told = "Stell die Tasse 10 cm vor den Teller"
    query = model_reading(told, reply(command, parts), "tiny").queries[0]
    assert query.destination is not None
    assert query.destination.distance is not None
    assert query.destination.distance.metres == pytest.approx(0.1)
    spelled = (parts[0], ("zehn cm", "ten cm"), parts[2])
    told = "Stell die Tasse zehn cm vor den Teller"
    assert "figures for numbers" in refused(told, reply(command.replace("10", "ten"), spelled))
    changed = (parts[0], ("10 cm", "100 cm"), parts[2])
    assert "number" in refused("Stell die Tasse 10 cm vor den Teller", reply(command.replace("10", "100"), changed))


def test_an_answer_of_another_form_is_the_models_fault() -> None:
    for text in ("", "no JSON", "[]", '{"translation": 1}', '{"translation": "a", "command": "b"}'):
        with pytest.raises(ModelError, match="requested form"):
            model_reading(GERMAN, text, "tiny")


# ------------------------------------------------------------------------------------------------ over the network


def resolver(url: str) -> Resolver:
    return Resolver(
        ResolverConfig(language=LanguageConfig("grammar+model", f"model=tiny url={url} retries=0 budget=5"))
    )


def test_an_answer_by_a_model_has_to_be_confirmed() -> None:
    frame, detections = chicks_and_cup_frame()
    with serving(says(reply("give me the chick behind the cup"))) as server:
        observed = resolver(server.url).look_at(frame, detections)
        asked = observed.ask(GERMAN)
        assert asked.resolution.status is Status.LOW_CONFIDENCE
        assert "give me the chick behind the cup" in asked.resolution.message
        assert asked.resolution.target is None
        assert asked.dialogue is not None
        agreed = observed.ask("yes", follows=asked.dialogue).resolution
        denied = observed.ask("no", follows=asked.dialogue).resolution
    assert agreed.status is Status.OK
    assert agreed.target is not None
    assert agreed.target.id == Resolver().resolve(frame, "give me the chick behind the cup", detections).target.id
    assert denied.target is None
    (request,) = server.received
    assert json.dumps(GERMAN, ensure_ascii=False)[1:-1] in request.text
    jsonschema.validate(json.loads(reply("x")), request.answer_schema)
    assert not server.violations


def test_what_the_grammar_understands_is_asked_of_nobody_and_stop_moves_nothing() -> None:
    frame, detections = chicks_and_cup_frame()
    with serving(says(reply("stop", (("arrête", "stop"),)))) as server:
        answer = resolver(server.url).resolve(frame, "grab me the chick behind the cup", detections)
        assert (answer.status, answer.query.read_by) == (Status.OK, "grammar")
        assert not server.received
        answer = resolver(server.url).resolve(frame, "arrête", detections)
        assert (answer.status, answer.target) == (Status.CANCELLED, None)


def test_where_the_model_fails_the_grammars_refusal_stands() -> None:
    frame, detections = chicks_and_cup_frame()
    alone = Resolver().resolve(frame, GERMAN, detections)
    with serving(fails(500)) as server:
        failed = resolver(server.url).resolve(frame, GERMAN, detections)
    with unused_address() as url:
        away = resolver(url).resolve(frame, GERMAN, detections)
    for answer in (failed, away):
        assert answer.status is alone.status is Status.NOT_UNDERSTOOD
        assert "the language model did not help" in answer.message


def test_wrong_options_are_named() -> None:
    with pytest.raises(InputError, match=r"language\.model"):
        LanguageConfig("grammar+model")
    for options, error, words in (
        ("url=http://127.0.0.1:1/v1", InputError, "Name the model"),
        ("model=tiny convention=thousand", UnknownNameError, "convention"),
        ("model=tiny max_tokens=0", InputError, "max_tokens"),
    ):
        with pytest.raises(error, match=words):
            load_reader(options)
