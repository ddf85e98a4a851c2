# SPDX-License-Identifier: Apache-2.0
"""Every family that chats, from its name to detections, against the contract server; points by a real SAM 2."""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
from contract_server import Handler, box_seen, finds, says, serving
from tables import tables

pytest.importorskip("tiny_folders")
from contract_server import client, image
from tiny_folders import Folders
from tiny_models import HEIGHT, LEFT, RIGHT, WIDTH, iou, shapes

from spatial_vlm_ros.errors import ModelError
from spatial_vlm_ros.perception.backends.families import FAMILIES
from spatial_vlm_ros.perception.backends.server_http import ServerTimeoutError
from spatial_vlm_ros.perception.judging import MarksError
from spatial_vlm_ros.perception.probing import ConventionError, probe_grounder
from spatial_vlm_ros.perception.worker import WorkerGrounder
from spatial_vlm_ros.resolver import Resolver
from spatial_vlm_ros.sim.examples import chicks_and_cup_frame
from spatial_vlm_ros.types import NounPhrase, Status

TABLES = tables(__file__)

CAT, CAN = NounPhrase("cat"), NounPhrase("soup can")
RESIZED = (84, 56)  # the nearest multiples of 28 of the shapes' 96 x 64
DISC, DIAMOND = (22, 26), (72, 38)
Values = tuple[float, ...]
Size = tuple[int, int]


def scaled(values: Values, across: float, down: float) -> list[int]:
    return [round(v * s) for v, s in zip(values, (across, down) * 2, strict=False)]


def of_shapes(values: Values) -> Values:
    return tuple(v / s for v, s in zip(values, (WIDTH, HEIGHT) * 2, strict=False))


def written(family: str, place: Values, label: str, sent: Size) -> str:
    """A place as the family writes it; robobrain2, llava-1.5, roborefer and robopoint write no names."""
    thousandths, x, y = scaled(place, 1000, 1000), place[0], place[1]
    match family:
        case "paligemma":
            x0, y0, x1, y1 = scaled(place, 1023, 1023)
            return f"<loc{y0:04d}><loc{x0:04d}><loc{y1:04d}><loc{x1:04d}> {label}"
        case "internvl":
            return f"<ref>{label}</ref><box>[{thousandths}]</box>"
        case "robobrain2":
            return str(scaled(place, *sent))
        case "llava-1.5":  # of the square that is sent
            return "[" + ", ".join(f"{v:.2f}" for v in place) + "]"
        case "molmo2":
            return f'<points coords="1 1 {thousandths[0]:03d} {thousandths[1]:03d}">{label}</points>'
        case "molmo":
            return f'<point x="{thousandths[0] / 10}" y="{thousandths[1] / 10}" alt="{label}">{label}</point>'
        case "roborefer":
            return f"[({x:.3f}, {y:.3f})]"
        case "robopoint":
            return f"[({x:.3f}, {y:.3f}), ({x - 0.03:.3f}, {y + 0.04:.3f})]"
        case _:
            points = [scaled(point, *sent) for point in ((x, y), (x - 0.03, y + 0.04))]
            return f"<think>the {label}, 1 of 2</think><answer><point>{points}</point></answer>"


BOXES, POINTS = dict(TABLES["boxes"]), dict(TABLES["points"])
JSON = {"qwen2.5-vl": "Qwen/Qwen2.5-VL-7B-Instruct", "qwen3-vl": "Qwen/Qwen3-VL-8B-Instruct"}
NOWHERE = "http://127.0.0.1:9/v1"


def few(names: Iterable[str], *kept: str) -> list[Any]:
    return [pytest.param(name, marks=() if name in kept else pytest.mark.slow) for name in names]


def test_every_family_that_chats_and_is_known_whole_is_here() -> None:
    assert {*BOXES, *POINTS, *JSON} == {row.name for row in FAMILIES.values() if row.chat and not row.unknown}


@pytest.mark.parametrize("family", BOXES)
def test_boxes_of_a_family_become_detections(family: str) -> None:
    row, (rgb, _) = FAMILIES[family], shapes()
    sent = RESIZED if row.multiple == 28 else (WIDTH, HEIGHT)
    places = [of_shapes(LEFT), of_shapes(RIGHT)]
    if row.convention == "square-fraction":  # the image comes padded above and below
        above, sent = (WIDTH - HEIGHT) // 2, (WIDTH, WIDTH)
        places = [tuple((v + above * (k % 2)) / WIDTH for k, v in enumerate(box)) for box in (LEFT, RIGHT)]
    cat, can = (written(family, place, name, sent) for place, name in zip(places, ("cat", "soup can"), strict=True))
    with serving(says(cat), says(can), says(cat)) as server:
        grounder = client(server.url, model=BOXES[family])
        grounding = grounder.ground(rgb, [CAT, CAN, NounPhrase("cat", ("red",))])
        (found,) = grounder.refer(rgb, "the cat on the left")
    prompts = [row.every.format("cat"), row.every.format("soup can"), row.one.format("the cat on the left")]
    assert [r.text for r in server.received] == prompts
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
    with serving(says(reply), says(written("molmo", cup, "cup", (width, height)))) as server:
        options = {"model": POINTS["molmo"], "url": server.url, "masks": "depth", "probe": "no"}
        with WorkerGrounder("server", options, timeout_s=30.0) as grounder:
            answer = Resolver(grounder=grounder).resolve(frame, "the chick behind the cup")
    truth = Resolver().resolve(frame, "the chick behind the cup", detections)
    assert answer.status is truth.status is Status.OK
    assert np.linalg.norm(np.subtract(answer.target.pose.position, truth.target.pose.position)) < 0.01


@pytest.mark.parametrize("family", few(POINTS, "molmo", "robopoint"))
def test_points_of_a_family_become_objects_with_masks(family: str, folders: Folders) -> None:
    row, (rgb, truth) = FAMILIES[family], shapes()
    sent = RESIZED if row.multiple == 28 else (WIDTH, HEIGHT)
    cat = written(family, of_shapes(DISC), "cat", sent)
    can = written(family, of_shapes(DIAMOND), "soup can", sent)
    with serving(says(cat), says(can), says(cat)) as server:
        grounder = client(server.url, model=POINTS[family], masks="sam2", masks_model=str(folders["sam2 points"]))
        grounding = grounder.ground(rgb, [CAT, CAN])
        found = grounder.refer(rgb, "the cat on the left")
    assert server.received[0].text == row.every.format("cat")
    for one, true in zip(grounding.detections, truth, strict=True):
        assert iou(one.mask, true) > 0.8
        assert one.mask[round(one.box_xyxy[1]), :].any()
    assert grounding.match.tolist() == [[1.0, 0.0], [0.0, 1.0]]
    assert found[0].box_xyxy is None
    assert found[0].point_xy == pytest.approx(DISC, abs=0.7)


@pytest.mark.parametrize("family", JSON)
def test_families_that_answer_in_json_are_asked_for_all_names_at_once(family: str) -> None:
    scale = RESIZED if family == "qwen2.5-vl" else (1000, 1000)
    boxes = [scaled(of_shapes(box), *scale) for box in (LEFT, RIGHT)]
    with serving(finds(*zip(("cat", "soup can"), boxes, strict=True))) as server:
        grounding = client(server.url, model=JSON[family]).ground(shapes()[0], [CAT, CAN])
    (request,) = server.received
    assert request.image.shape[:2] == ((56, 84) if family == "qwen2.5-vl" else (HEIGHT, WIDTH))
    assert request.body["response_format"]["json_schema"]["strict"] is True
    for one, box in zip(grounding.detections, (LEFT, RIGHT), strict=True):
        assert one.box_xyxy == pytest.approx(box, abs=0.7)


def test_a_box_in_a_question_is_written_for_the_size_that_is_sent_and_models_that_point_write_none() -> None:
    grounder = client(NOWHERE, model=JSON["qwen2.5-vl"])
    assert grounder.box_text(shapes()[0], (48.0, 16.0, 72.0, 48.0)) == "[42, 14, 63, 42]"  # of 84 x 56, which is sent
    with pytest.raises(MarksError, match="molmo write points"):
        client(NOWHERE, model=POINTS["molmo"], masks="none").box_text(shapes()[0], (0.0, 0.0, 9.0, 9.0))


@pytest.mark.parametrize("family", few((*BOXES, *POINTS), "llava-1.5", "molmo"))
def test_a_model_that_writes_as_its_family_does_is_confirmed_by_the_probe(family: str) -> None:
    model = (BOXES | POINTS)[family]

    def sees(handler: Handler) -> None:
        height, width = handler.server.contract.received[-1].image.shape[:2]
        box = box_seen(handler)
        place = box if family in BOXES else ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)
        says(written(family, place, "shape", (width, height)))(handler)

    with serving(sees) as server:
        verdict = probe_grounder(client(server.url, model=model, masks="none"))
    assert verdict.outcome == "confirmed", verdict.reason
    wrong = "thousand" if FAMILIES[family].convention != "thousand" else "percent"
    with serving(sees) as server, pytest.raises(ConventionError):
        client(server.url, model=model, masks="none", probe="yes", convention=wrong)


def test_a_stated_prompt_and_convention_make_an_unknown_model_known() -> None:
    prompt = 'Where is {}? Answer with {"left": …}.'
    with serving(says("[10, 20, 50, 60]"), says("[]")) as server:
        grounder = client(server.url, model="mine", convention="percent", prompt=prompt)
        grounding = grounder.ground(image(), [CAT, CAN])
    assert [r.text for r in server.received] == [prompt.replace("{}", name) for name in ("cat", "soup can")]
    ((label, box),) = [(d.label, d.box_xyxy) for d in grounding.detections]
    assert (label, box) == ("cat", pytest.approx((64.0, 96.0, 320.0, 288.0)))


def test_a_stated_family_is_asked_whatever_the_name_and_has_a_score_of_one_without_logprobs() -> None:
    with serving(says("<loc0000><loc0000><loc0512><loc0512> cat")) as server:
        grounder = client(server.url, model="mine", family="paligemma")
        (one,) = grounder.ground(image(), [CAT]).detections
        grounder.ground(image(), [NounPhrase("cat <loc0001> ; dog\ndetect cup")])
    assert one.score == 1.0
    # words that look like places or tokens do not reach the prompt
    assert [request.text for request in server.received] == ["detect cat", "detect cat dog detect cup"]


def test_points_alone_serve_second_opinions_only_and_none_is_an_empty_grounding() -> None:
    rgb, _ = shapes()
    points = says(written("molmo2", of_shapes(DISC), "cat", (WIDTH, HEIGHT)))
    with serving(points, points, says("There are none.")) as server:
        grounder = client(server.url, model="Molmo2-8B", masks="none")
        assert grounder.refer(rgb, "the cat")[0].point_xy == pytest.approx(DISC, abs=0.7)
        with pytest.raises(ModelError, match="masks=sam2"):
            grounder.ground(rgb, [CAT])
        assert grounder.ground(rgb, [CAT]).match.shape == (1, 0)


def test_requests_for_several_names_share_one_budget() -> None:
    def slowly(handler: Handler) -> None:
        handler.server.contract.ended.wait(0.4)
        says("<loc0000><loc0000><loc0512><loc0512> cat")(handler)

    with serving(slowly) as server:
        grounder = client(server.url, model="paligemma2", budget="1")
        with pytest.raises(ServerTimeoutError):
            grounder.ground(image(), [NounPhrase(name) for name in ("cat", "dog", "cup", "can")])
