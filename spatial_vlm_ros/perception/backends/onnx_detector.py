# SPDX-License-Identifier: Apache-2.0
"""Backend "onnx": detectors with text prompts, through ONNX Runtime; needs no torch.

OWL-ViT and OWLv2 (onnx_owl.py) can be read as published, with one graph for text and image, or as `spatial-vlm models
export` writes them, with two graphs; then a phrase goes through the text model once and is cached. Grounding DINO,
MM-Grounding-DINO and LLMDet (onnx_dino.py) are read as `spatial-vlm models export` writes them.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np

from spatial_vlm_ros.errors import InputError, ModelError, ModelTimeoutError, UnknownNameError
from spatial_vlm_ros.perception.backends import dino_inputs, owl_inputs
from spatial_vlm_ros.perception.backends.clip_tokens import tokens_of
from spatial_vlm_ros.perception.backends.loading import read_json
from spatial_vlm_ros.perception.backends.model_inputs import Pixels, image_config
from spatial_vlm_ros.perception.backends.onboard import option, yes_or_no
from spatial_vlm_ros.perception.backends.onnx_dino import OnnxDino
from spatial_vlm_ros.perception.backends.onnx_session import NAME, OnnxDevice, boxes_of, check_image, graph_file
from spatial_vlm_ros.perception.backends.owl_graphs import OneGraph, TwoGraphs, graphs_of
from spatial_vlm_ros.perception.backends.owl_inputs import PROMPT, OwlPreparation, checked_prompt, scored
from spatial_vlm_ros.perception.backends.phrase_boxes import ANYTHING, Boxes, Thresholds, grounded, together
from spatial_vlm_ros.perception.grounder import Grounder, Grounding
from spatial_vlm_ros.perception.model_store.manifest import known_models
from spatial_vlm_ros.perception.model_store.store import by_hand, folder_of, missing
from spatial_vlm_ros.types import NounPhrase, Rgb

FAMILIES = (*owl_inputs.FAMILIES, *dino_inputs.FAMILIES)
"""Values of `model_type` in a config.json."""
_OWL: Mapping[str, str] = MappingProxyType({"threshold": "0.1", "text_threshold": "", "iou": "0.5", "at_once": "64"})
_DINO: Mapping[str, str] = MappingProxyType(
    {"threshold": "0.25", "text_threshold": "0.25", "iou": "0.8", "at_once": "8"}
)
_log = logging.getLogger(__name__)


class OnnxOwl:
    """OWL-ViT or OWLv2; see onnx_detector.AskedModel.

    Args:
        prompt: text in which a category stands for "{}".
    """

    def __init__(self, graphs: OneGraph | TwoGraphs, prepare: OwlPreparation, prompt: str = PROMPT) -> None:
        check_image(graphs.pixels, (prepare.height, prepare.width))
        self.prepare, self.providers = prepare, graphs.providers
        self._graphs, self._prompt = graphs, checked_prompt(prompt)

    def prompts(self, categories: Sequence[str], at_once: int) -> list[tuple[str, ...]]:
        """Split categories into groups of `at_once`."""
        return [tuple(categories[n : n + at_once]) for n in range(0, len(categories), at_once)]

    def prepared(self, rgb: Rgb) -> Pixels:
        """Prepare the image for the graphs."""
        return self.prepare(rgb)

    def find(
        self, image: Pixels, prompt: Sequence[str], categories: Sequence[str], least: float, size: tuple[int, int]
    ) -> Boxes:
        """Find the boxes of a prompt; a box's score is the greatest of its category scores."""
        logits, boxes = boxes_of(self._graphs(image, [self._prompt.format(name) for name in prompt]), len(prompt))
        every = np.full((len(boxes), len(categories)), -np.inf)
        every[:, [categories.index(name) for name in prompt]] = logits
        return scored(every, boxes, self.prepare, least, size)


class AskedModel(Protocol):
    """A model that searches for a few categories at a time."""

    @property
    def providers(self) -> tuple[str, ...]:
        """Execution providers of ONNX Runtime in use, in order of priority."""

    def prompts(self, categories: Sequence[str], at_once: int) -> list[tuple[str, ...]]:
        """Split categories into groups of at most `at_once` that fit in one prompt."""

    def prepared(self, rgb: Rgb) -> Any:
        """Prepare (H, W, 3) uint8 as input of the model."""

    def find(
        self, image: Any, prompt: Sequence[str], categories: Sequence[str], least: float, size: tuple[int, int]
    ) -> Boxes:
        """Find the objects of one group of categories.

        Args:
            image: result of `prepared`.
            prompt: the group.
            categories: categories of the whole request, the columns of the boxes' fit.
            least: score that a box has to exceed.
            size: (height, width) of the image in pixels, to which the boxes are clipped.
        """


class OnnxDetector:
    """A detector with text prompts; see Grounder.

    Args:
        budget_s: seconds that a request may take, checked before each run of the graph.
        clock: monotonic time, seconds.
    """

    def __init__(
        self,
        model: AskedModel,
        thresholds: Thresholds,
        budget_s: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if not 0.0 < budget_s < math.inf:
            raise InputError("budget_s", str(budget_s), "seconds, more than 0")
        self.model, self.thresholds = model, thresholds
        self.providers = model.providers
        """Execution providers of ONNX Runtime in use, in order of priority."""
        self._budget_s, self._clock = budget_s, clock

    def ground(self, rgb: Rgb, phrases: Sequence[NounPhrase]) -> Grounding:
        """Find what the phrases' categories name; see Grounder.ground.

        A box's score is the greatest score of all categories, or with Grounding DINO of all tokens. See
        `phrase_boxes.grounded` for `match`.
        """
        return grounded(phrases, lambda categories: self.boxes(rgb, categories), self.thresholds)

    def boxes(self, rgb: Rgb, categories: Sequence[str]) -> Boxes:
        """Find the boxes whose score passes the threshold, clipped to the image, before they are merged.

        Args:
            rgb: (H, W, 3) uint8.
            categories: C categories, C >= 1.
        """
        started, size = self._clock(), (rgb.shape[0], rgb.shape[1])
        prompts = self.model.prompts(categories, self.thresholds.at_once)
        image = self.model.prepared(rgb)
        found: list[Boxes] = []
        for n, prompt in enumerate(prompts):
            spent = self._clock() - started
            if spent >= self._budget_s:
                asked = sum(map(len, prompts[:n]))
                reason = (
                    f"{spent:.1f} s of {self._budget_s:g} s are spent with {asked} of {len(categories)} phrases asked"
                )
                raise ModelTimeoutError(NAME, reason, "raise budget_s, ask for fewer objects, or use int8 or a GPU")
            found.append(self.model.find(image, prompt, categories, self.thresholds.score, size))
        return together(found)

    def warm_up(self) -> None:
        """Run once on a grey image."""
        self.boxes(np.full((480, 640, 3), 127, np.uint8), (ANYTHING,))


def load(
    *,
    model: str,
    graph: str = "",
    family: str = "auto",
    prompt: str = "",
    threshold: str = "",
    text_threshold: str = "",
    iou: str = "",
    at_once: str = "",
    most: str = "100",
    device: str = "auto",
    threads: str = "0",
    budget_s: str = "60",
    warm_up: str = "no",
    masks: str = "",
    masks_model: str = "",
    masks_preset: str = "auto",
) -> Grounder:
    """Load the backend.

    Args:
        graph: file of one graph within the folder, for example onnx/model_quantized.onnx; "" = the graphs from
            `spatial-vlm models export`, else as `graph_file`.
        family: a name of FAMILIES, or "auto": as config.json says.
        prompt: OWL-ViT and OWLv2: text in which a category stands for "{}"; "" = owl_inputs.PROMPT.
        threshold: least score of a box; "" = 0.1 for OWL-ViT and OWLv2, else 0.25.
        text_threshold: least score of a phrase for a box; "" = as threshold for OWL-ViT and OWLv2, else 0.25.
        iou: overlap from which boxes are one object; "" = 0.5 for OWL-ViT and OWLv2, else 0.8.
        at_once: most phrases in one run of the graph; "" = 64 for OWL-ViT and OWLv2, else 8.
        most: most boxes of an image.
        device: see onnx_session.OnnxDevice.
        threads: CPU threads, 0 = all cores.
        budget_s: seconds that a request may take.
        warm_up: "yes" or "no": run once at load.
        masks: "" or "sam2"; needs torch.
        masks_model: folder or id of the SAM 2 model, if masks are wanted.
        masks_preset: preset of the SAM 2 model, see onboard.PRESETS.
    """
    target, warm = OnnxDevice(device, option("threads", threads, int)), option("warm_up", warm_up, yes_or_no)
    folder = _folder(model)
    kind, config = _described(folder, family)
    told = {"threshold": threshold, "text_threshold": text_threshold, "iou": iou, "at_once": at_once}
    own = _OWL if kind in owl_inputs.FAMILIES else _DINO
    told = {name: text or own[name] for name, text in told.items()}
    thresholds = Thresholds(
        option("threshold", told["threshold"], float),
        option("text_threshold", told["text_threshold"] or told["threshold"], float),
        option("iou", told["iou"], float),
        option("at_once", told["at_once"], int),
        option("most", most, int),
    )
    asked = (
        _owl(folder, graph, kind, config, prompt, target)
        if own is _OWL
        else _dino(folder, graph, config, prompt, target)
    )
    detector = OnnxDetector(asked, thresholds, option("budget_s", budget_s, float))
    _log.info("%s runs on %s", model, ", ".join(detector.providers))
    if warm:
        detector.warm_up()
    if not masks:
        return detector
    from spatial_vlm_ros.perception.backends.sam2 import with_masks

    return with_masks(detector, masks, masks_model, masks_preset)


def _folder(model: str) -> Path:
    """Return the folder as given, or that of a model of the store."""
    given = Path(model).expanduser()
    if given.is_dir():
        return given
    if given.is_file() or given.suffix == ".onnx":
        raise ModelError(NAME, f"{model} is a file", "pass its folder, and the file as graph=NAME.onnx")
    entry = next((e for e in known_models().values() if e.backend == NAME and model in (e.name, e.repository)), None)
    if entry is None:
        names = [e.name for e in known_models().values() if e.backend == NAME]
        raise UnknownNameError("model", model, (*names, "a folder with .onnx files and tokenizer.json"))
    if missing(entry):
        raise ModelError(NAME, f"{model} is missing or incomplete", by_hand(entry))
    return folder_of(entry)


def _owl(folder: Path, graph: str, kind: str, config: dict[str, Any], prompt: str, device: OnnxDevice) -> OnnxOwl:
    side = _number(config.get("vision_config"), "image_size")
    prepare = owl_inputs.preparation(kind, image_config(folder, NAME), side)
    length = _number(config.get("text_config"), "max_position_embeddings") or owl_inputs.LENGTH
    graphs = graphs_of(folder, graph, tokens_of(folder, length, model=NAME), device)
    return OnnxOwl(graphs, prepare, prompt or owl_inputs.PROMPT)


def _dino(folder: Path, graph: str, config: dict[str, Any], prompt: str, device: OnnxDevice) -> OnnxDino:
    if prompt:
        raise InputError("option prompt", repr(prompt), "nothing for Grounding DINO", "leave it out")
    tokens = dino_inputs.DinoTokens(folder, _number(config, "max_text_len") or dino_inputs.LENGTH)
    prepare = dino_inputs.preparation(image_config(folder, NAME))
    return OnnxDino(graph_file(folder, graph), prepare, tokens, device)


def _described(folder: Path, family: str) -> tuple[str, dict[str, Any]]:
    """Return the family, and the content of config.json, empty if there is none."""
    if family not in ("auto", *FAMILIES):
        raise UnknownNameError("family", family, ("auto", *FAMILIES))
    path = folder / "config.json"
    if not path.is_file():
        if family == "auto":
            raise ModelError(NAME, f"{path} is missing", f"fetch it, or set family to {' or '.join(FAMILIES)}")
        return family, {}
    config = read_json(path, NAME)
    kind = str(config.get("model_type"))
    if kind not in FAMILIES or family not in ("auto", kind):
        wanted = family if family != "auto" else " or ".join(FAMILIES)
        raise ModelError(NAME, f"{folder} holds a model of type {kind!r}", f"use a model whose model_type is {wanted}")
    return kind, config


def _number(told: object, name: str) -> int | None:
    value = told.get(name) if isinstance(told, dict) else None
    return value if isinstance(value, int) and value > 0 else None
