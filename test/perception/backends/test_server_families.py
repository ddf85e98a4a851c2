# SPDX-License-Identifier: Apache-2.0
"""Every family that chats, from its name to detections, against the contract server; points by a real SAM 2."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from contract_server import Handler, finds, says, serving

pytest.importorskip("torch")
pytest.importorskip("transformers")
from server_cases import client, image
from tiny_models import HEIGHT, LEFT, RIGHT, WIDTH, saved_segmenter, shapes

from spatial_vlm_ros.errors import InputError, ModelError, UnknownNameError
from spatial_vlm_ros.perception.backends.families import FAMILIES
from spatial_vlm_ros.perception.backends.server_http import ServerTimeoutError
from spatial_vlm_ros.perception.probing_backends import ConventionError, probe_grounder
from spatial_vlm_ros.perception.relation_marks import MarksError
from spatial_vlm_ros.perception.worker import WorkerGrounder
from spatial_vlm_ros.resolver import Resolver
from spatial_vlm_ros.sim.examples import chicks_and_cup_frame
from spatial_vlm_ros.types import NounPhrase, Status

CAT, CAN = NounPhrase("cat"), NounPhrase("soup can")
RESIZED = (84, 56)  # the nearest multiples of 28 of the shapes' 96 x 64
DISC, DIAMOND = (22, 26), (72, 38)
Values = tuple[float, ...]
Size = tuple[int, int]
Write = Callable[[Values, str, Size], str]


def scaled(values: Values, across: float, down: float) -> list[int]:
    """Fractions of the sides in another unit."""
    return [round(v * s) for v, s in zip(values, (across, down) * 2, strict=False)]


def of_shapes(values: Values) -> Values:
    """Pixels of the shapes' image as fractions of its sides."""
    return tuple(v / s for v, s in zip(values, (WIDTH, HEIGHT) * 2, strict=False))


def paligemma(box: Values, label: str, sent: Size) -> str:  # noqa: ARG001
    x0, y0, x1, y1 = scaled(box, 1023, 1023)
    return f"<loc{y0:04d}><loc{x0:04d}><loc{y1:04d}><loc{x1:04d}> {label}"


def internvl(box: Values, label: str, sent: Size) -> str:  # noqa: ARG001
    return f"<ref>{label}</ref><box>[{scaled(box, 1000, 1000)}]</box>"


def robobrain(box: Values, label: str, sent: Size) -> str:  # noqa: ARG001 - it writes no names
    return str(scaled(box, *sent))


def molmo2(point: Values, label: str, sent: Size) -> str:  # noqa: ARG001
    x, y = scaled(point, 1000, 1000)
    return f'<points coords="1 1 {x:03d} {y:03d}">{label}</points>'


def molmo(point: Values, label: str, sent: Size) -> str:  # noqa: ARG001
    x, y = (value / 10 for value in scaled(point, 1000, 1000))
    return f'<point x="{x}" y="{y}" alt="{label}">{label}</point>'


def tuples(point: Values, label: str, sent: Size) -> str:  # noqa: ARG001 - it writes no names
    return f"[({point[0]:.3f}, {point[1]:.3f})]"


def several(point: Values, label: str, sent: Size) -> str:  # noqa: ARG001
    x, y = point
    return f"[({x:.3f}, {y:.3f}), ({x - 0.03:.3f}, {y + 0.04:.3f})]"


def embodied(point: Values, label: str, sent: Size) -> str:
    (x, y), (a, b) = scaled(point, *sent), scaled((point[0] - 0.03, point[1] + 0.04), *sent)
    return f"<think>the {label}, 1 of 2</think><answer><point>[[{x}, {y}], [{a}, {b}]]</point></answer>"


def llava(box: Values, label: str, sent: Size) -> str:  # noqa: ARG001 - of the square that is sent, with no name
    return "[" + ", ".join(f"{v:.2f}" for v in box) + "]"


BOXES: dict[str, tuple[str, Write]] = {
    "llava-1.5": ("llava-hf/llava-1.5-7b-hf", llava),
    "paligemma": ("google/paligemma2-3b-mix-448", paligemma),
    "internvl": ("OpenGVLab/InternVL3-8B-hf", internvl),
    "robobrain2": ("BAAI/RoboBrain2.0-7B", robobrain),
}
POINTS: dict[str, tuple[str, Write]] = {
    "molmo2": ("allenai/Molmo2-8B", molmo2),
    "molmo": ("allenai/Molmo-7B-D-0924", molmo),
    "roborefer": ("Zhoues/RoboRefer-8B-SFT", tuples),
    "robopoint": ("wentao-yuan/robopoint-v1-vicuna-v1.5-13b", several),
    "embodied-r1": ("IffYuan/Embodied-R1-3B-v1", embodied),
}
JSON = {"qwen2.5-vl": "Qwen/Qwen2.5-VL-7B-Instruct", "qwen3-vl": "Qwen/Qwen3-VL-8B-Instruct"}


@pytest.fixture(scope="module")
def segmenter(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(saved_segmenter(tmp_path_factory.mktemp("sam2"), taught=True, points=True))


def test_every_family_that_chats_and_is_known_whole_is_here() -> None:
    assert {*BOXES, *POINTS, *JSON} == {row.name for row in FAMILIES.values() if row.chat and not row.unknown}


@pytest.mark.parametrize("family", BOXES)
def test_boxes_of_a_family_become_detections(family: str) -> None:
    model, write = BOXES[family]
    row, (rgb, _) = FAMILIES[family], shapes()
    sent = RESIZED if row.multiple == 28 else (WIDTH, HEIGHT)
    places = [of_shapes(LEFT), of_shapes(RIGHT)]
    if row.convention == "square-fraction":  # the image comes padded above and below
        above, sent = (WIDTH - HEIGHT) // 2, (WIDTH, WIDTH)
        places = [tuple((v + above * (k % 2)) / WIDTH for k, v in enumerate(box)) for box in (LEFT, RIGHT)]
    cat, can = write(places[0], "cat", sent), write(places[1], "soup can", sent)
    with serving(says(cat), says(can), says(cat)) as server:
        grounder = client(server.url, model=model)
        grounding = grounder.ground(rgb, [CAT, CAN, NounPhrase("cat", ("red",))])
        (found,) = grounder.refer(rgb, "the cat on the left")
    assert [r.text for r in server.received] == [
        row.every.format("cat"), row.every.format("soup can"), row.one.format("the cat on the left"),
    ]  # fmt: skip
    for request in server.received:
        assert [message["role"] for message in request.body["messages"]] == ["user"]
        assert "response_format" not in request.body
        assert (request.image.shape[1], request.image.shape[0]) == sent
    assert [d.label for d in grounding.detections] == ["cat", "soup can"]
    for one, box in zip(grounding.detections, (LEFT, RIGHT), strict=True):
        assert one.box_xyxy == pytest.approx(box, abs=0.7)
    assert grounding.match.tolist() == [[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]]
    assert found.box_xyxy == pytest.approx(LEFT, abs=0.7)


def test_points_become_objects_by_depth_alone() -> None:
    frame, detections = chicks_and_cup_frame()
    height, width = frame.depth.shape
    middles: dict[str, list[Values]] = defaultdict(list)
    for one in detections:
        x0, y0, x1, y1 = one.box_xyxy
        middles[one.label].append(((x0 + x1) / 2 / width, (y0 + y1) / 2 / height))
    cup = middles["cup"][0]
    chicks = " ".join(f'x{n}="{100 * x:.1f}" y{n}="{100 * y:.1f}"' for n, (x, y) in enumerate(middles["chick"], 1))
    reply = f'<points {chicks} alt="chick">chick</points>'
    with serving(says(reply), says(molmo(cup, "cup", (width, height)))) as server:
        options = {"model": POINTS["molmo"][0], "url": server.url, "masks": "depth", "probe": "no"}
        with WorkerGrounder("server", options, timeout_s=30.0) as grounder:
            answer = Resolver(grounder=grounder).resolve(frame, "the chick behind the cup")
    truth = Resolver().resolve(frame, "the chick behind the cup", detections)
    assert answer.status is truth.status is Status.OK
    assert answer.target is not None
    assert truth.target is not None
    assert np.linalg.norm(np.subtract(answer.target.pose.position, truth.target.pose.position)) < 0.01


@pytest.mark.parametrize(
    ("model", "more", "words"),
    [
        (POINTS["robopoint"][0], {}, "several points on an object.*masks=sam2"),
        (POINTS["molmo"][0], {"masks_model": "sam2.1-hiera-tiny"}, "none with masks=depth"),
    ],
)
def test_depth_is_refused_where_it_cannot_make_objects(model: str, more: dict[str, str], words: str) -> None:
    with pytest.raises(InputError, match=words):
        client("http://127.0.0.1:9/v1", model=model, masks="depth", **more)


@pytest.mark.parametrize("family", POINTS)
def test_points_of_a_family_become_objects_with_masks(family: str, segmenter: str) -> None:
    model, write = POINTS[family]
    row, (rgb, truth) = FAMILIES[family], shapes()
    sent = RESIZED if row.multiple == 28 else (WIDTH, HEIGHT)
    cat, can = write(of_shapes(DISC), "cat", sent), write(of_shapes(DIAMOND), "soup can", sent)
    with serving(says(cat), says(can), says(cat)) as server:
        grounder = client(server.url, model=model, masks="sam2", masks_model=segmenter)
        grounding = grounder.ground(rgb, [CAT, CAN])
        found = grounder.refer(rgb, "the cat on the left")
    assert server.received[0].text == row.every.format("cat")
    assert len(grounding.detections) == 2
    for one, true in zip(grounding.detections, truth, strict=True):
        assert one.mask is not None
        assert (one.mask & true).sum() / (one.mask | true).sum() > 0.8
        assert one.mask[round(one.box_xyxy[1]), :].any()
    assert grounding.match.tolist() == [[1.0, 0.0], [0.0, 1.0]]
    assert found[0].box_xyxy is None
    assert found[0].point_xy == pytest.approx(DISC, abs=0.7)


@pytest.mark.parametrize("family", JSON)
def test_families_that_answer_in_json_are_asked_for_all_names_at_once(family: str) -> None:
    scale = RESIZED if family == "qwen2.5-vl" else (1000, 1000)
    rgb, _ = shapes()
    with serving(
        finds(*((label, scaled(of_shapes(box), *scale)) for label, box in (("cat", LEFT), ("soup can", RIGHT))))
    ) as server:
        grounder = client(server.url, model=JSON[family])
        grounding = grounder.ground(rgb, [CAT, CAN])
    (request,) = server.received
    assert request.image.shape[:2] == ((56, 84) if family == "qwen2.5-vl" else (HEIGHT, WIDTH))
    assert request.body["response_format"]["json_schema"]["strict"] is True
    for one, box in zip(grounding.detections, (LEFT, RIGHT), strict=True):
        assert one.box_xyxy == pytest.approx(box, abs=0.7)


def test_masks_are_cut_for_boxes_too(tmp_path: Path) -> None:
    folder = saved_segmenter(tmp_path / "sam2", taught=True)
    rgb, truth = shapes()
    with serving(finds(("cat", scaled(of_shapes(LEFT), 1000, 1000)))) as server:
        grounder = client(server.url, model="Qwen3-VL-8B", masks="sam2", masks_model=str(folder))
        (one,) = grounder.ground(rgb, [CAT]).detections
    assert one.mask is not None
    assert (one.mask & truth[0]).sum() / (one.mask | truth[0]).sum() > 0.8


@pytest.mark.parametrize(
    ("model", "written"),
    [
        ("Qwen/Qwen2.5-VL-7B-Instruct", "[42, 14, 63, 42]"),  # of 84 x 56, which is sent
        ("Qwen/Qwen3-VL-8B-Instruct", "[500, 250, 750, 750]"),
        ("llava-hf/llava-1.5-7b-hf", "[0.50, 0.33, 0.75, 0.67]"),  # 16 rows above the image of 64 in a square of 96
        ("OpenGVLab/InternVL3-8B-hf", "<box>[[500, 250, 750, 750]]</box>"),
    ],
)
def test_a_box_in_a_question_is_written_as_the_model_writes_it(model: str, written: str) -> None:
    rgb, _ = shapes()
    with serving(says("A")) as server:
        assert client(server.url, model=model).box_text(rgb, (48.0, 16.0, 72.0, 48.0)) == written


def test_a_model_that_points_takes_no_box_in_a_question() -> None:
    rgb, _ = shapes()
    with serving(says("A")) as server, pytest.raises(MarksError, match="molmo write points"):
        client(server.url, model="allenai/Molmo-7B-D-0924", masks="none").box_text(rgb, (0.0, 0.0, 9.0, 9.0))


@pytest.mark.parametrize("family", [*BOXES, *POINTS])
def test_a_model_that_writes_as_its_family_does_is_confirmed_by_the_probe(family: str) -> None:
    model, write = (BOXES | POINTS)[family]

    def sees(handler: Handler) -> None:
        rgb = handler.server.contract.received[-1].image.astype(int)
        rows, columns = (np.flatnonzero((np.ptp(rgb, axis=2) > 60).any(axis=n)) for n in (1, 0))  # what is no grey
        height, width = rgb.shape[:2]
        box = (columns[0] / width, rows[0] / height, (columns[-1] + 1) / width, (rows[-1] + 1) / height)
        place = box if family in BOXES else ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)
        says(write(place, "shape", (width, height)))(handler)

    with serving(sees) as server:
        verdict = probe_grounder(client(server.url, model=model, masks="none"))
    assert verdict.outcome == "confirmed", verdict.reason
    wrong = "thousand" if FAMILIES[family].convention != "thousand" else "percent"
    with serving(sees) as server, pytest.raises(ConventionError):
        client(server.url, model=model, masks="none", probe="yes", convention=wrong)


# ------------------------------------------------------------------------------------------------ what is stated


def test_a_stated_prompt_and_convention_make_an_unknown_model_known() -> None:
    with serving(says("[10, 20, 50, 60]"), says("[]")) as server:
        grounder = client(
            server.url, model="mine", convention="percent", prompt="Where is {}? Answer with {\"left\": …}."
        )  # fmt: skip
        grounding = grounder.ground(image(), [CAT, CAN])
    assert [r.text for r in server.received] == [
        'Where is cat? Answer with {"left": …}.', 'Where is soup can? Answer with {"left": …}.',
    ]  # fmt: skip
    ((label, box),) = [(d.label, d.box_xyxy) for d in grounding.detections]
    assert (label, box) == ("cat", pytest.approx((64.0, 96.0, 320.0, 288.0)))


def test_a_stated_family_is_asked_whatever_the_name() -> None:
    with serving(says("<loc0000><loc0000><loc0512><loc0512> cat")) as server:
        grounder = client(server.url, model="mine", family="paligemma")
        assert len(grounder.ground(image(), [CAT]).detections) == 1
    assert server.received[0].text == "detect cat"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"model": "mine"}, "family: .*qwen3-vl.*paligemma.*convention=.*prompt="),
        ({"model": "gemma-3-4b-it"}, "prompt and convention"),
        ({"model": "Molmo2-8B"}, "masks=sam2 masks_model=.*masks=depth.*masks=none"),
        ({"model": "Molmo2-8B", "masks": "sam2"}, "masks_model"),
        ({"model": "Florence-2-base"}, "Use the backend florence-2"),
    ],
)
def test_what_is_missing_is_said_when_it_is_loaded(options: dict[str, str], words: str) -> None:
    with pytest.raises(InputError, match=words):
        client("http://127.0.0.1:9/v1", **options)


def test_unknown_names_are_refused() -> None:
    for options in ({"family": "nope"}, {"model": "Molmo2-8B", "masks": "sam1"}):
        with pytest.raises(UnknownNameError, match=r"nope|sam1"):
            client("http://127.0.0.1:9/v1", **options)


def test_points_alone_serve_second_opinions_only() -> None:
    rgb, _ = shapes()
    with serving(says(molmo2(of_shapes(DISC), "cat", (WIDTH, HEIGHT)))) as server:
        grounder = client(server.url, model="Molmo2-8B", masks="none")
        assert grounder.refer(rgb, "the cat")[0].point_xy == pytest.approx(DISC, abs=0.7)
        with pytest.raises(ModelError, match="masks=sam2"):
            grounder.ground(rgb, [CAT])


def test_nothing_found_is_an_empty_grounding() -> None:
    with serving(says("There are none.")) as server:
        grounder = client(server.url, model="Molmo2-8B", masks="none")
        assert grounder.ground(image(), [CAT]).match.shape == (1, 0)


def test_requests_for_several_names_share_one_budget() -> None:
    def slowly(handler: Handler) -> None:
        handler.server.contract.ended.wait(0.4)
        says("<loc0000><loc0000><loc0512><loc0512> cat")(handler)

    with serving(slowly) as server:
        grounder = client(server.url, model="paligemma2", budget="1")
        with pytest.raises(ServerTimeoutError):
            grounder.ground(image(), [NounPhrase(name) for name in ("cat", "dog", "cup", "can")])


def test_words_that_look_like_places_or_tokens_do_not_reach_the_prompt() -> None:
    with serving(says("<loc0000><loc0000><loc0512><loc0512> cat")) as server:
        client(server.url, model="paligemma2").ground(image(), [NounPhrase("cat <loc0001> ; dog\ndetect cup")])
    assert server.received[0].text == "detect cat dog detect cup"
    assert json.dumps(server.received[0].body)


def test_a_score_is_the_models_and_one_where_the_server_tells_none() -> None:
    with serving(says("<loc0000><loc0000><loc0512><loc0512> cat")) as server:
        (one,) = client(server.url, model="paligemma2").ground(image(), [CAT]).detections
    assert one.score == 1.0
    assert np.isfinite(one.box_xyxy).all()
