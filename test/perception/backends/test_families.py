# SPDX-License-Identifier: Apache-2.0
"""The table of families: how each is recognised and asked, and what a reply of it, from its own source, becomes."""

from __future__ import annotations

import re

import pytest

from spatial_vlm_ros.errors import InputError, UnknownNameError
from spatial_vlm_ros.perception.backends import BACKENDS
from spatial_vlm_ros.perception.backends.families import AGAIN, EVERY, FAMILIES, ONE
from spatial_vlm_ros.perception.backends.family_choice import asked, recognised, warn_of_one
from spatial_vlm_ros.perception.coordinates import CONVENTIONS
from spatial_vlm_ros.perception.replies import parse_reply

KNOWN = [row.name for row in FAMILIES.values() if not row.unknown]


def test_a_row_is_whole_or_says_what_it_lacks() -> None:
    for row in FAMILIES.values():
        assert row.sources
        assert all(re.search(r"\.(py|md|yaml)\b.*:\d+|\.(com|dev|co)/", source) for source in row.sources)
        assert not row.convention or row.convention in CONVENTIONS
        assert all(template.count("{}") == 1 for template in (row.every, row.one) if template)
        assert all(backend in BACKENDS for backend in row.in_process)
        assert row.in_process or row.why_not
        assert row.name not in KNOWN or (row.every and row.one and row.convention)


NAMES = {
    "Qwen/Qwen2.5-VL-7B-Instruct": "qwen2.5-vl",
    "qwen2.5vl:7b": "qwen2.5-vl",
    "Qwen/Qwen3-VL-30B-A3B-Instruct": "qwen3-vl",
    "/models/robopoint/Qwen3-VL-4B/": "qwen3-vl",
    "allenai/Molmo2-8B": "molmo2",
    "allenai/Molmo-7B-D-0924": "molmo",
    "Zhoues/RoboRefer-8B-SFT": "roborefer",
    "wentao-yuan/robopoint-v1-vicuna-v1.5-13b": "robopoint",
    "google/paligemma2-3b-mix-448": "paligemma",
    "google/paligemma-3b-mix-224": "paligemma",
    "OpenGVLab/InternVL3_5-8B-HF": "internvl",
    "BAAI/RoboBrain2.0-7B": "robobrain2",
    "IffYuan/Embodied-R1-3B-v1": "embodied-r1",
    "nvidia/Cosmos-Reason2-8B": "cosmos-reason2",
    "gemma3:27b": "gemma3",
    "vikhyatk/moondream2": "moondream",
    "microsoft/Florence-2-base": "florence-2",
    "llava-hf/llava-1.5-7b-hf": "llava-1.5",
    "liuhaotian/llava-v1.5-13b": "llava-1.5",
}
OF_NONE = (
    *("allenai/MolmoPoint-8B", "InternRobotics/InternVLA-M1", "BAAI/RoboBrain2.5-8B", "Embodied-R1.5", "my-model"),
    *("nvidia/Cosmos-Reason1-7B", "google/gemma-3n-E4B-it", "llava-hf/llava-v1.6-mistral-7b-hf"),
    "llava-hf/bakLlava-v1-hf",
)


def test_a_model_is_recognised_by_its_name_or_else_by_its_config() -> None:
    found = {model: getattr(recognised(model), "name", None) for model in (*NAMES, *OF_NONE)}
    assert found == {**NAMES, **dict.fromkeys(OF_NONE)}
    assert getattr(recognised("/models/best", "paligemma"), "name", None) == "paligemma"
    named = recognised("/models/Embodied-R1-3B", "qwen2_5_vl")  # a finetune of another family
    assert getattr(named, "name", None) == "embodied-r1"
    with pytest.raises(InputError, match="qwen3-vl and robopoint"):
        recognised("qwen3-vl-robopoint")


# Prompts as their sources write them; `sources` of each row says where.
PROMPTS = {
    "qwen2.5-vl": (EVERY.format("red cup"), ONE.format("red cup")),
    "qwen3-vl": (EVERY.format("red cup"), ONE.format("red cup")),
    "molmo2": ("Point to red cup\nPlease say 'There are none.' if it is not in the image.", "Point to red cup"),
    "molmo": ("Point to every red cup", "Point to red cup"),
    "roborefer": (
        "Please point to red cup. Your answer should be formatted as a list of tuples, i.e. [(x1, y1)], where each "
        "tuple contains the x and y coordinates of a point satisfying the conditions above. The coordinates should be "
        "between 0 and 1, indicating the normalized pixel locations of the points in the image.",
    ),
    "robopoint": (
        "Pinpoint several points within red cup. Your answer should be formatted as a list of tuples, i.e. [(x1, y1), "
        "(x2, y2), ...], where each tuple contains the x and y coordinates of a point satisfying the conditions above. "
        "The coordinates should be between 0 and 1, indicating the normalized pixel locations of the points in the "
        "image.",
    ),
    "paligemma": ("detect red cup",),
    "internvl": (
        "Please provide the bounding box coordinate of the region this sentence describes: <ref>red cup</ref>",
    ),
    "robobrain2": ("Please provide the bounding box coordinate of the region this sentence describes: red cup.",),
    "embodied-r1": (
        "Provide one or more points coordinate of objects region this sentence describes: red cup. The results are "
        "presented in a format <point>[[x1,y1], [x2,y2], ...]</point>. You FIRST think about the reasoning process as "
        "an internal monologue and then provide the final answer. The reasoning process and answer are enclosed within "
        "<think> </think> and <answer> </answer> tags. The answer consists only of several coordinate points, with the "
        "overall format being: <think> reasoning process here </think><answer><point>[[x1, y1], [x2, y2], ...]</point>"
        "</answer>",
    ),
    "llava-1.5": ("Please provide the bounding box coordinate of the region this sentence describes: red cup.",),
    "cosmos-reason2": ("Locate the bounding box of red cup. Return a json.",),
    "florence-2": ("<OPEN_VOCABULARY_DETECTION>red cup", "<CAPTION_TO_PHRASE_GROUNDING>red cup"),
}


def test_prompts_are_those_of_the_source() -> None:
    rows = {row.name: row for row in FAMILIES.values() if row.every}
    assert {name: (row.every.format("red cup"), row.one.format("red cup")) for name, row in rows.items()} == {
        name: (prompts[0], prompts[-1]) for name, prompts in PROMPTS.items()
    }
    assert FAMILIES["qwen3-vl"].again == AGAIN


Place = tuple[float, ...]
SIZE = (640, 480)
REPLIES: list[tuple[str, str, tuple[int, int] | None, list[Place]]] = [
    # QwenLM/Qwen3-VL qwen-vl-finetune/README.md:117; the size of its image is not given, so one of our own is taken.
    ("qwen2.5-vl", '{\n"bbox_2d": [135, 114, 1016, 672]\n}', (1280, 960), [(67.5, 57.0, 508.0, 336.0)]),
    # QwenLM/Qwen3-VL evaluation/ODinW-13/README.md:176, its x1 to y2 replaced by numbers of our own.
    ("qwen3-vl", '[{"bbox_2d": [250, 100, 500, 900], "label": "boat"}]', None, [(160.0, 48.0, 320.0, 432.0)]),
    # allenai/molmo2 tests/preprocessing/test_point_formatter.py:110: points (0.9, 0.4) and (0.911, 0.8) of the sides.
    (
        "molmo2",
        'Counting the <points coords="1 1 900 400 2 911 800">aasdf</points> shows a total of 2.',
        None,
        [(576.0, 192.0), (583.04, 384.0)],
    ),
    # The same file, line 104: nothing is found.
    ("molmo2", "There are none.", None, []),
    # The same file, line 79, its first two points; on 360 x 640 they are (82.8, 113.28) and (137.52, 154.24) there.
    (
        "molmo",
        '<points x1="23.0" y1="17.7" x2="38.2" y2="24.1" alt="purple plates">purple plates</points>',
        None,
        [(147.2, 84.96), (244.48, 115.68)],
    ),
    # Zhoues/RoboRefer API/use_api.py:52 has the form [(x1, y1)]; the numbers are those of RoboPoint's README.md:160.
    ("roborefer", "[(0.461, 0.527)]", None, [(295.04, 252.96)]),
    (
        "robopoint",
        "[(0.461, 0.527), (0.498, 0.521), (0.481, 0.521), (0.445, 0.529)]",
        None,
        [(295.04, 252.96), (318.72, 250.08), (307.84, 250.08), (284.8, 253.92)],
    ),
    # big_vision README.md:99: <loc0000> and <loc1023> are the ends of the image; a bin is read at its middle.
    ("paligemma", "<loc0000><loc0512><loc1023><loc1023> cat", None, [(320.3125, 0.234375, 639.6875, 479.765625)]),
    # OpenGVLab/InternVL streamlit_demo/app.py:195 and 213: form and scale; numbers of our own.
    ("internvl", "<ref>the middle leopard</ref><box>[[250, 100, 500, 900]]</box>", None, [(160.0, 48.0, 320.0, 432.0)]),
    # haotian-liu/LLaVA issue 623, on an image of our size: 0.36 of a square of 640 is 230.4, with 80 of padding above.
    ("llava-1.5", "[0.61, 0.36, 0.92, 0.83]", None, [(390.4, 150.4, 588.8, 451.2)]),
    # FlagOpen/RoboBrain2.0 inference.py:182: form and scale; numbers of our own.
    ("robobrain2", "[160, 48, 320, 432]", (640, 480), [(160.0, 48.0, 320.0, 432.0)]),
    # pickxiguapi/Embodied-R1 inference_example.py:51: form; where2place.py:69: pixels; numbers of our own.
    (
        "embodied-r1",
        "<think> the cup is red </think><answer><point>[[160, 48], [320, 432]]</point></answer>",
        (640, 480),
        [(160.0, 48.0), (320.0, 432.0)],
    ),
]  # fmt: skip


@pytest.mark.parametrize(("family", "reply", "resized", "places"), REPLIES)
def test_a_reply_is_read_to_the_right_pixels(
    family: str, reply: str, resized: tuple[int, int] | None, places: list[Place]
) -> None:
    convention = CONVENTIONS[FAMILIES[family].convention]
    found = parse_reply(reply, model=family, convention=convention, size=SIZE, resized=resized).places
    kind = FAMILIES[family].places
    assert [one.box_xyxy if kind == "box" else one.point_xy for one in found] == [pytest.approx(p) for p in places]


def test_every_family_that_is_known_whole_has_a_reply_here() -> None:
    assert {family for family, *_ in REPLIES} == set(KNOWN) - {"florence-2"}  # its own backend reads and tests it


# ------------------------------------------------------------------------------------------------ what a user states


def test_an_unknown_model_lists_families_and_how_to_state_both() -> None:
    with pytest.raises(InputError) as caught:
        asked("my-model")
    for words in (*FAMILIES, "convention=", "prompt=", "thousand"):
        assert words in str(caught.value)


def test_a_fact_that_no_source_tells_has_to_be_stated_and_what_is_stated_replaces_those_of_a_family() -> None:
    for model, missing in (
        ("gemma3:4b", "prompt and convention"),
        ("moondream2", "prompt"),
        ("cosmos-reason2", "convention"),
    ):
        with pytest.raises(InputError, match=f"option {missing}: .*not documented"):
            asked(model)
        row = asked(model, prompt='Find {} as {"box": …}', convention="fraction")
        assert row is not None
        assert row.every.format("cup") == row.one.format("cup") == 'Find cup as {"box": …}'
        assert row.convention == "fraction"
    assert asked("my-model", convention="thousand") is None  # the prompt is left to the backend
    row = asked("Molmo2-8B", convention="percent")
    assert row is not None
    assert (row.name, row.convention, row.one) == ("molmo2", "percent", "Point to {}")


def test_a_prompt_that_asks_for_one_object_is_said_in_the_log_but_not_one_of_the_user(
    caplog: pytest.LogCaptureFixture,
) -> None:
    warn_of_one(asked("RoboRefer-8B", prompt="Point to every {}"), "RoboRefer-8B")
    warn_of_one(asked("mine", convention="thousand"), "mine")
    assert caplog.text == ""
    all_of_them = {"qwen2.5-vl", "qwen3-vl", "molmo2", "molmo", "paligemma", "florence-2"}
    for row in FAMILIES.values():
        if row.every:
            caplog.clear()
            warn_of_one(row, "mine")
            assert ("may be missed" in caplog.text) is (row.name not in all_of_them), row.name


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ({"family": "nope"}, UnknownNameError, "family"),
        ({"convention": "guess"}, UnknownNameError, "convention"),
        ({"prompt": "where?", "convention": "thousand"}, InputError, "one {}"),
        ({"prompt": "{} or {}", "convention": "thousand"}, InputError, "one {}"),
    ],
)
def test_wrong_options_are_refused(given: dict[str, str], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=re.escape(words)):
        asked("my-model", **given)
