# SPDX-License-Identifier: Apache-2.0
"""The table of families: how each is recognised and asked, and what a reply of it, from its own source, becomes."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from tables import rows

from spatial_vlm_ros import errors
from spatial_vlm_ros.errors import InputError
from spatial_vlm_ros.perception import load_grounder
from spatial_vlm_ros.perception.backends import BACKENDS
from spatial_vlm_ros.perception.backends.families import FAMILIES, asked, recognised, warn_of_one
from spatial_vlm_ros.perception.coordinates import CONVENTIONS
from spatial_vlm_ros.perception.replies import parse_reply

REPLIES, WRONG_OPTIONS = rows(__file__, "family_replies"), rows(__file__, "wrong_options")
ASKED = json.loads(Path(__file__).with_name("family_prompts.json").read_text("utf-8"))
"""Names of models, and prompts as their sources write them; `sources` of each row says where."""
KNOWN = [row.name for row in FAMILIES.values() if not row.unknown]


def test_a_row_is_whole_or_says_what_it_lacks() -> None:
    for row in FAMILIES.values():
        assert row.sources
        assert all(re.search(r"\.(py|md|yaml)\b.*:\d+|\.(com|dev|co)/", source) for source in row.sources)
        assert not row.convention or row.convention in CONVENTIONS
        assert all(template.count("{}") == 1 for template in (row.every, row.one) if template)
        assert all(backend in BACKENDS for backend in row.in_process)
        assert row.name not in KNOWN or (row.every and row.one and row.convention)


def test_a_model_is_recognised_by_its_name_or_else_by_its_config() -> None:
    expected = {**ASKED["names"], **dict.fromkeys(ASKED["none"])}
    assert {model: getattr(recognised(model), "name", None) for model in expected} == expected
    assert getattr(recognised("/models/best", "paligemma"), "name", None) == "paligemma"
    named = recognised("/models/Embodied-R1-3B", "qwen2_5_vl")  # a finetune of another family
    assert getattr(named, "name", None) == "embodied-r1"
    with pytest.raises(InputError, match="qwen3-vl and robopoint"):
        recognised("qwen3-vl-robopoint")


def test_prompts_are_those_of_the_source_and_every_family_that_is_known_whole_has_a_reply() -> None:
    rows = {row.name: row for row in FAMILIES.values() if row.every}
    expected = {name: (prompts[0], prompts[-1]) for name, prompts in ASKED["prompts"].items()}
    assert {name: (row.every.format("red cup"), row.one.format("red cup")) for name, row in rows.items()} == expected
    assert FAMILIES["qwen2.5-vl"].again == FAMILIES["qwen3-vl"].again != ""
    assert {row["family"] for row in REPLIES} == set(KNOWN) - {"florence-2"}  # its own backend reads and tests it


@pytest.mark.parametrize("row", REPLIES, ids=lambda row: row["family"])
def test_a_reply_is_read_to_the_right_pixels(row: dict[str, Any]) -> None:
    family = FAMILIES[row["family"]]
    given = {"convention": CONVENTIONS[family.convention], "size": (640, 480), "resized": row["resized"]}
    found = parse_reply(row["reply"], model=row["family"], **given).places
    seen = [one.box_xyxy if family.places == "box" else one.point_xy for one in found]
    assert seen == [pytest.approx(tuple(place)) for place in row["places"]]


def test_an_unknown_model_lists_families_and_a_fact_that_no_source_tells_has_to_be_stated() -> None:
    with pytest.raises(InputError) as caught:
        asked("my-model")
    for words in (*FAMILIES, "convention=", "prompt=", "thousand"):
        assert words in str(caught.value)
    lacking = {"gemma3:4b": "prompt and convention", "moondream2": "prompt", "cosmos-reason2": "convention"}
    for model, missing in lacking.items():
        with pytest.raises(InputError, match=f"option {missing}: .*not documented"):
            asked(model)
        row = asked(model, prompt='Find {} as {"box": …}', convention="fraction")
        assert row.every.format("cup") == row.one.format("cup") == 'Find cup as {"box": …}'
        assert row.convention == "fraction"
    assert asked("my-model", convention="thousand") is None  # the prompt is left to the backend
    row = asked("Molmo2-8B", convention="percent")
    assert (row.name, row.convention, row.one) == ("molmo2", "percent", "Point to {}")


def test_a_prompt_for_one_object_is_said_in_the_log_but_not_one_of_the_user(caplog: pytest.LogCaptureFixture) -> None:
    warn_of_one(asked("RoboRefer-8B", prompt="Point to every {}"), "RoboRefer-8B")
    warn_of_one(asked("mine", convention="thousand"), "mine")
    assert caplog.text == ""
    all_of_them = {"qwen2.5-vl", "qwen3-vl", "molmo2", "molmo", "paligemma", "florence-2"}
    for row in FAMILIES.values():
        if row.every:
            caplog.clear()
            warn_of_one(row, "mine")
            assert ("may be missed" in caplog.text) is (row.name not in all_of_them), row.name


@pytest.mark.parametrize("row", WRONG_OPTIONS, ids=lambda row: f"{row['backend']} {row['options']}")
def test_an_option_that_a_backend_cannot_have_is_refused(request: pytest.FixtureRequest, row: dict[str, Any]) -> None:
    for package in () if row["backend"] in ("server", "composed") else ("transformers", "onnxruntime", "onnxscript"):
        pytest.importorskip(package)
    model = {"model": str(request.getfixturevalue("folders")[row["folder"]])} if "folder" in row else {}
    with pytest.raises(getattr(errors, row["error"]), match=row["words"]):
        load_grounder(row["backend"], {**model, **row["options"]})
