# SPDX-License-Identifier: Apache-2.0
"""Every detector with and without masks, with every second opinion, from words to an answer: docs/backends.md."""

import itertools
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("tiny_folders")
pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")
import cv2
import tiny_vlms
from contract_server import Contract, finds, serving
from tiny_folders import Folders
from tiny_vlms import Lesson

from spatial_vlm_ros.output.json_schema import resolution_json
from spatial_vlm_ros.parameters import config_from
from spatial_vlm_ros.perception import load_grounder
from spatial_vlm_ros.perception.backends import BACKENDS
from spatial_vlm_ros.perception.backends.families import FAMILIES
from spatial_vlm_ros.perception.backends.florence2 import REFERRING, TASKS
from spatial_vlm_ros.resolver import Resolver
from spatial_vlm_ros.sim.examples import chicks_and_cup_frame
from spatial_vlm_ros.types import Status

FRAME, SEEN = chicks_and_cup_frame()
WIDTH, HEIGHT = 640, 480
WORDS, SENTENCE = "the chick behind the cup", "grab the chick behind the cup"
BOXES = {name: [d.box_xyxy for d in SEEN if d.label == name] for name in ("chick", "cup")}
MEANT = next(d.box_xyxy for d in SEEN if d.id == "bonnet")
DETECTORS = ("compact", "onnx", "grounding-dino", "florence-2", "vlm", "qwen-vl", "server", "owl", "sam3")
TAUGHT = ("florence-2", "vlm", "qwen-vl", "server")
"""Those that know the image by heart, and the server that is told what to answer."""
MASKS = ("", "sam2")
OPINIONS = ("", "florence-2", "vlm", "server")
OWN_MASKS = "sam3"
WHOLE = tuple(one for one in itertools.product(DETECTORS, MASKS, OPINIONS) if one[0] != OWN_MASKS or not one[1])
FEW = {(name, MASKS[n // 4 % 2] if name != OWN_MASKS else "", OPINIONS[n % 4]) for n, name in enumerate(DETECTORS)}
BY_WHAT_WAS_SEEN = {Status.OK, *(status for status in Status if 30 <= status.code < 40)}


def thousandths(box: tuple[float, ...], most: int = 1000) -> list[int]:
    return [round(value / span * most) for value, span in zip(box, (WIDTH, HEIGHT) * 2, strict=True)]


def florence(folder: Path) -> Path:
    def place(box: tuple[float, ...]) -> str:
        return "".join(f"<loc_{value}>" for value in thousandths(box, 999))

    x0, y0, x1, y1 = MEANT
    lessons = [Lesson(FRAME.rgb, TASKS["detection"] + name, name + "".join(map(place, BOXES[name]))) for name in BOXES]
    lessons += [Lesson(FRAME.rgb, REFERRING + WORDS, place((x0, y0, x1, y0)) + place((x1, y1, x0, y1)))]
    return tiny_vlms.florence_folder(folder / "Florence-2-tiny", lessons)


def paligemma(folder: Path) -> Path:
    def place(box: tuple[float, ...], name: str) -> str:
        x0, y0, x1, y1 = thousandths(box, 1023)
        return "".join(f"<loc{value:04d}>" for value in (y0, x0, y1, x1)) + f" {name}"

    asked = {**BOXES, WORDS: [MEANT]}
    lessons = [
        Lesson(FRAME.rgb, f"detect {name}", " ; ".join(place(box, name) for box in asked[name])) for name in asked
    ]
    return tiny_vlms.paligemma_folder(folder / "paligemma2-tiny", lessons)


def qwen(folder: Path) -> Path:
    """It sees 256 x 192 pixels: whole patches, and few."""
    small, asked = cv2.resize(FRAME.rgb, (256, 192)), FAMILIES["qwen3-vl"]
    replies = {
        asked.every.format(name): [{"bbox_2d": thousandths(box), "label": name} for box in BOXES[name]]
        for name in BOXES
    } | {asked.one.format(WORDS): [{"bbox_2d": thousandths(MEANT), "label": "chick"}]}
    lessons = [Lesson(small, question, json.dumps(reply)) for question, reply in replies.items()]
    return tiny_vlms.qwen_folder(folder / "Qwen3-VL-tiny", "qwen3_vl", lessons)


@pytest.fixture(scope="module")
def servers() -> Iterator[dict[str, Contract]]:
    everything = finds(*((name, box) for name, boxes in BOXES.items() for box in boxes))
    with serving(everything) as finding, serving(finds(("chick", MEANT))) as naming:
        yield {"detector": finding, "opinion": naming}


@pytest.fixture(scope="module")
def options(
    servers: dict[str, Contract], folders: Folders, tmp_path_factory: pytest.TempPathFactory
) -> dict[tuple[str, str], str]:
    root = tmp_path_factory.mktemp("parts")
    saved = {
        "florence-2": f"model={florence(root)} device=cpu max_new_tokens=60",
        "vlm": f"model={paligemma(root)} device=cpu max_new_tokens=80",
        "qwen-vl": f"model={qwen(root)} device=cpu max_new_tokens=120 longest_px=256",
    }
    url = "model=tiny url={} convention=absolute probe=no retries=0"
    served = {part: url.format(server.url) for part, server in servers.items()}
    return {
        ("detector", "compact"): "score=0.05 masks=no threads=1",
        ("detector", "onnx"): f"model={folders['owlvit graph']} threshold=0.05 most=6 device=cpu threads=1",
        ("detector", "grounding-dino"): f"model={folders['grounding-dino']} device=cpu threshold=0.01 "
                                        "text_threshold=0.01 most=6",
        ("detector", "owl"): f"model={folders['owlvit']} device=cpu threshold=0.05 most=6",
        ("detector", "sam3"): f"model={folders['sam3']} device=cpu threshold=0.05 most=6",
        ("masks", "sam2"): f"model={folders['sam2']} device=cpu",
        **{(part, name): given for part in ("detector", "opinion") for name, given in saved.items()},
        **{(part, "server"): given for part, given in served.items()},
    }  # fmt: skip


def composed(options: dict[tuple[str, str], str], detector: str, masks: str, opinion: str) -> dict[str, str]:
    made = {"grounder": detector, "options": options["detector", detector]}
    if masks:
        made |= {"masks": masks, "masks_options": options["masks", masks]}
    if opinion:
        made |= {"second_opinion": opinion, "second_opinion_options": options["opinion", opinion]}
    return made


@pytest.mark.parametrize(
    ("detector", "masks", "opinion"),
    [pytest.param(*one, marks=() if one in FEW else pytest.mark.slow) for one in WHOLE],
)
def test_every_composition_answers_by_what_was_seen(
    options: dict[tuple[str, str], str], servers: dict[str, Contract], detector: str, masks: str, opinion: str
) -> None:
    grounder = load_grounder("composed", composed(options, detector, masks, opinion))
    resolver = Resolver(config_from({"second_opinion": {"ask": bool(opinion)}}), grounder)
    before = servers["opinion"].requests
    answered = resolver.look_at(FRAME).ask(SENTENCE)  # what Resolver.resolve does, with the detections
    told = json.loads(json.dumps(resolution_json(answered.resolution)))
    assert Status[told["status"]] in BY_WHAT_WAS_SEEN, told["message"]
    assert told["model_domain"] == ("simulated" if detector == "compact" else "unknown")
    second = told["second_opinion"]
    assert (second is not None) == bool(opinion)
    if second is not None:
        assert (second["words"], second["effect"]) == (WORDS, "reported")  # reported: no reliability is known
        if told["status"] == "OK":
            assert second["named_id"] == second["geometric_id"] == told["target"]["id"]
    assert servers["opinion"].requests - before == (opinion == "server")
    assert answered.resolution.status is Status.OK or masks or detector not in TAUGHT
    assert answered.detections, "thresholds are so low that something is found"
    assert all((d.mask is not None) == (bool(masks) or detector == OWN_MASKS) for d in answered.detections)


def test_every_backend_is_combined() -> None:
    assert {*DETECTORS, "sam2", "composed"} == set(BACKENDS)
    assert set(OPINIONS) <= {"", *DETECTORS}
