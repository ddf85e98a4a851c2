# SPDX-License-Identifier: Apache-2.0
"""Backend "onnx": detectors with text prompts, through ONNX Runtime; needs no torch.

OWL-ViT and OWLv2 can be read as published, with one graph for text and image, or as `spatial-vlm models export` writes
them, with two graphs; then a phrase goes through the text model once and is cached.

Grounding DINO, MM-Grounding-DINO and LLMDet are read as `spatial-vlm models export` writes them. Inputs of the graph:
pixel_values (1, 3, H, W) float32, normalised; pixel_mask (1, H, W) int64, 1 where the image is; input_ids (1, T) int64,
T tokens. H and W are fixed, T is not. Outputs: logits (1, Q, T) of Q boxes for T tokens; pred_boxes (1, Q, 4), centre
and size relative to the image without its padding; proposals (1, Q) int64, the index in the image features at which
each box started, best first; only the export's own check reads them.
"""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.errors import InputError, ModelError, ModelTimeoutError, UnknownNameError
from spatial_vlm_ros.perception.backends import detector_inputs as inputs
from spatial_vlm_ros.perception.backends.loading import read_json
from spatial_vlm_ros.perception.backends.onnx_session import MOST_THREADS, NAME, Arrays, OnnxDevice, OnnxGraph
from spatial_vlm_ros.perception.backends.options import POSITIVE, number, switch
from spatial_vlm_ros.perception.backends.phrase_boxes import ANYTHING, Boxes, PhraseDetector, Thresholds, together
from spatial_vlm_ros.perception.backends.sam2 import with_masks
from spatial_vlm_ros.perception.grounder import Grounder
from spatial_vlm_ros.perception.model_store import by_hand, folder_of, known_models, missing
from spatial_vlm_ros.types import Rgb

FAMILIES = (*inputs.OWL_SIDES, *inputs.DINO_FAMILIES)
"""Values of `model_type` in a config.json."""
_OWL: Mapping[str, str] = MappingProxyType({"threshold": "0.1", "text_threshold": "", "iou": "0.5", "at_once": "64"})
_DINO: Mapping[str, str] = MappingProxyType(
    {"threshold": "0.25", "text_threshold": "0.25", "iou": "0.8", "at_once": "8"}
)
TEXT_FILE, IMAGE_FILE = "text.onnx", "image.onnx"
TEXT_INPUTS, IMAGE_INPUTS = ("input_ids", "attention_mask"), ("pixel_values", "query_embeds")
EMBEDDINGS, OUTPUTS = "text_embeds", ("logits", "pred_boxes")
_REMEMBERED = 1024  # phrases; 2 KB each
PUBLISHED = ("onnx/model.onnx", "model.onnx")
"""Graph files that need not be named; the first that exists is used, else the only one of a folder."""
GRAPH_FILE, INPUTS, PROPOSALS = "model.onnx", ("pixel_values", "pixel_mask", "input_ids"), "proposals"
_log = logging.getLogger(__name__)


class OneGraph:
    """One graph for both text and image."""

    def __init__(self, path: Path, tokens: inputs.ClipTokens, device: OnnxDevice) -> None:
        self._graph = OnnxGraph(path, ("pixel_values", *TEXT_INPUTS), OUTPUTS, device)
        self._tokens, self.providers = tokens, self._graph.providers
        self.pixels, texts = self._graph.shapes["pixel_values"], self._graph.shapes["input_ids"]
        _check_length(path, texts, tokens)
        self._rows = texts[0]

    def __call__(self, pixels: inputs.Pixels, texts: Sequence[str]) -> Arrays:
        """Give "logits" (1, K, Q) and "pred_boxes" (1, K, 4) of pixels (1, 3, H, W); empty texts fill a fixed size."""
        rows = self._rows or len(texts)
        tokens, parts = self._tokens(texts), []
        for first in range(0, len(texts), rows):
            some = min(rows, len(texts) - first)
            ids, mask = (np.pad(part[first : first + some], ((0, rows - some), (0, 0))) for part in tokens)
            output = self._graph.run(pixel_values=pixels, input_ids=ids, attention_mask=mask)
            parts.append(output["logits"][..., :some])
        return {"logits": np.concatenate(parts, axis=-1), "pred_boxes": output["pred_boxes"]}


class TwoGraphs:
    """One graph for texts, whose results are cached, and one for the image."""

    def __init__(self, folder: Path, tokens: inputs.ClipTokens, device: OnnxDevice) -> None:
        self._text = OnnxGraph(folder / TEXT_FILE, TEXT_INPUTS, (EMBEDDINGS,), device)
        self._image = OnnxGraph(folder / IMAGE_FILE, IMAGE_INPUTS, OUTPUTS, device)
        self._tokens, self.providers = tokens, self._image.providers
        self.pixels = self._image.shapes["pixel_values"]
        _check_length(folder / TEXT_FILE, self._text.shapes["input_ids"], tokens)
        self._known: OrderedDict[str, npt.NDArray[Any]] = OrderedDict()

    def __call__(self, pixels: inputs.Pixels, texts: Sequence[str]) -> Arrays:
        """Score texts in one image; see OneGraph."""
        return self._image.run(pixel_values=pixels, query_embeds=self.embeddings(texts)[None])

    def embeddings(self, texts: Sequence[str]) -> npt.NDArray[Any]:
        """(Q, D) embeddings of Q texts; texts embedded before come from a cache."""
        new = [text for text in dict.fromkeys(texts) if text not in self._known]
        if new:
            ids, mask = self._tokens(new)
            found = self._text.run(input_ids=ids, attention_mask=mask)[EMBEDDINGS]
            if found.ndim != 2 or len(found) != len(new):
                reason = f"{self._text.path} returns {EMBEDDINGS} of shape {found.shape} for {len(new)} texts"
                raise ModelError(NAME, reason, "export the model again")
            self._known.update(zip(new, found, strict=True))
        for text in texts:
            self._known.move_to_end(text)
        asked = np.stack([self._known[text] for text in texts])
        while len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)
        return asked


class OnnxDetector(PhraseDetector):
    """A detector with text prompts; `budget_s` for a request is checked before each run of the graph. See Grounder."""

    def __init__(
        self,
        prepare: inputs.OwlPreparation | inputs.DinoPreparation,
        providers: tuple[str, ...],
        thresholds: Thresholds | None = None,
        budget_s: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.thresholds = thresholds or Thresholds()
        self.prepare: Any = prepare
        self.providers, self._budget_s, self._clock = providers, budget_s, clock

    def boxes(self, rgb: Rgb, categories: Sequence[str]) -> Boxes:
        """See PhraseDetector.boxes; a score is the greatest of all categories, or with Grounding DINO of all tokens."""
        started, size = self._clock(), (rgb.shape[0], rgb.shape[1])
        prompts, image = self._prompts(categories), self.prepare(rgb)
        found: list[Boxes] = []
        for n, prompt in enumerate(prompts):
            spent = self._clock() - started
            if spent >= self._budget_s:
                asked = f"{sum(map(len, prompts[:n]))} of {len(categories)} phrases asked"
                reason = f"{spent:.1f} s of {self._budget_s:g} s are spent with {asked}"
                raise ModelTimeoutError(NAME, reason, "raise budget_s, ask for fewer objects, or use int8 or a GPU")
            found.append(self._find(image, prompt, categories, size))
        return together(found)

    def warm_up(self) -> None:
        """Run once on a grey image."""
        self.boxes(np.full((480, 640, 3), 127, np.uint8), (ANYTHING,))

    def _prompts(self, categories: Sequence[str]) -> list[tuple[str, ...]]:
        raise NotImplementedError

    def _find(self, image: Any, prompt: Sequence[str], categories: Sequence[str], size: tuple[int, int]) -> Boxes:
        """Find boxes of a prompt in a prepared image of `size` (height, width); `categories` are the fit's columns."""
        raise NotImplementedError


class OnnxOwl(OnnxDetector):
    """OWL-ViT or OWLv2; asked for a few categories at a time, each instead of "{}" in the prompt."""

    def __init__(self, graphs: OneGraph | TwoGraphs, prepare: inputs.OwlPreparation, prompt: str, *limits: Any) -> None:
        check_image(graphs.pixels, (prepare.height, prepare.width))
        super().__init__(prepare, graphs.providers, *limits)
        self._graphs, self._prompt = graphs, inputs.checked_prompt(prompt)

    def _prompts(self, categories: Sequence[str]) -> list[tuple[str, ...]]:
        most = self.thresholds.at_once
        return [tuple(categories[n : n + most]) for n in range(0, len(categories), most)]

    def _find(self, image: Any, prompt: Sequence[str], categories: Sequence[str], size: tuple[int, int]) -> Boxes:
        logits, boxes = boxes_of(self._graphs(image, [self._prompt.format(name) for name in prompt]), len(prompt))
        every = np.full((len(boxes), len(categories)), -np.inf)
        every[:, [categories.index(name) for name in prompt]] = logits
        return inputs.scored(every, boxes, self.prepare, self.thresholds.score, size)


class OnnxDino(OnnxDetector):
    """Grounding DINO or a relative."""

    def __init__(
        self,
        path: Path,
        prepare: inputs.DinoPreparation,
        tokens: inputs.DinoTokens,
        device: OnnxDevice,
        outputs: Sequence[str] = OUTPUTS,
        *limits: Any,
    ) -> None:
        self._graph, self._tokens = OnnxGraph(path, INPUTS, outputs, device), tokens
        check_image(self._graph.shapes["pixel_values"], (prepare.height, prepare.width))
        super().__init__(prepare, self._graph.providers, *limits)

    def run(self, image: tuple[inputs.Pixels, inputs.Ids], ids: Sequence[int]) -> Arrays:
        """Run the graph on an image and the tokens of a text."""
        return self._graph.run(pixel_values=image[0], pixel_mask=image[1], input_ids=np.array([ids]))

    def _prompts(self, categories: Sequence[str]) -> list[tuple[str, ...]]:
        most, tokens = self.thresholds.at_once, self._tokens
        return inputs.prompts_of(categories, most, tokens.longest, lambda text: len(tokens(text)))

    def _find(self, image: Any, prompt: Sequence[str], categories: Sequence[str], size: tuple[int, int]) -> Boxes:
        ids = self._tokens(inputs.joined(prompt))
        spans = dict(zip(prompt, inputs.spans_of(ids, self._tokens.stop, prompt, NAME), strict=True))
        logits, boxes = boxes_of(self.run(image, ids), len(ids))
        return inputs.read_boxes(logits, boxes, spans, categories, self.thresholds.score, size)


def graph_file(folder: Path, named: str) -> Path:
    """Find the one graph for text and image in a folder: the file named, one of PUBLISHED, or the only one."""
    if named:
        if Path(named).is_absolute() or ".." in Path(named).parts:
            expected = "a file of the model's folder"
            raise InputError("option graph", repr(named), expected, "name it relative to that folder")
        return folder / named
    paths = [*folder.glob("*.onnx"), *folder.glob("onnx/*.onnx")]
    there = sorted(path.relative_to(folder).as_posix() for path in paths)
    taken = [name for name in PUBLISHED if name in there] or there
    if not taken:
        repair = "fetch one, or make one with `spatial-vlm models export`"
        raise ModelError(NAME, f"{folder} holds no .onnx file", repair)
    if len(taken) > 1 and taken[0] not in PUBLISHED:
        raise ModelError(NAME, f"{folder} holds {', '.join(there)}", "choose one with graph=")
    return folder / taken[0]


def check_image(taken: Sequence[int | None], prepared: tuple[int, int]) -> None:
    """Refuse a graph whose image size, unless any is accepted, differs from the preparation's, (height, width)."""
    wanted = (1, 3, *prepared)
    if len(taken) != 4 or any(side not in (None, given) for side, given in zip(taken, wanted, strict=True)):
        reason = f"its graph takes images of {tuple(taken[2:])} pixels, its files say {prepared}"
        raise ModelError(NAME, reason, "use preprocessor_config.json and config.json of the same model")


def boxes_of(output: Arrays, columns: int) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Return logits (K, N) and boxes (K, 4) from a detector's output, all finite; N is the number of `columns`."""
    logits, boxes = output["logits"], output["pred_boxes"]
    fits = logits.ndim == boxes.ndim == 3 and logits.shape == (1, boxes.shape[1], columns) and boxes.shape[2] == 4
    if not fits:
        reason = f"it returns logits of shape {logits.shape} and boxes of shape {boxes.shape} for {columns} columns"
        raise ModelError(NAME, reason, "use a graph of the model's family")
    wrong = int((~np.isfinite(logits)).sum() + (~np.isfinite(boxes)).sum())
    if wrong:
        reason = f"{wrong} of its {logits.size + boxes.size} numbers are NaN or infinite"
        raise ModelError(NAME, reason, "use a graph in fp32, or fetch the model again")
    return logits[0], boxes[0]


def _check_length(path: Path, shape: Sequence[int | None], tokens: inputs.ClipTokens) -> None:
    if len(shape) != 2 or shape[1] not in (None, tokens.length):
        reason = f"{path} takes texts of shape {shape}, but its config says {tokens.length} tokens"
        raise ModelError(NAME, reason, "use graph and config.json of the same model")


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
    """Load the backend. Options: docs/backends.md."""
    target, warm = OnnxDevice(device, number("threads", threads, int, 0, MOST_THREADS)), switch("warm_up", warm_up)
    seconds = number("budget_s", budget_s, float, POSITIVE)
    folder, kind, config = _files_of(model, family)
    own = _OWL if kind in inputs.OWL_SIDES else _DINO
    thresholds = Thresholds.read(
        threshold or own["threshold"],
        iou or own["iou"],
        most,
        text_threshold or own["text_threshold"],
        at_once or own["at_once"],
    )
    if own is _OWL:
        side = _number(config.get("vision_config"), "image_size")
        prepare = inputs.owl_preparation(kind, inputs.image_config(folder, NAME), side)
        length = _number(config.get("text_config"), "max_position_embeddings") or inputs.OWL_LENGTH
        words = inputs.ClipTokens(inputs.read_tokenizer(folder, NAME), length, model=NAME)
        two = not graph and ((folder / TEXT_FILE).exists() or (folder / IMAGE_FILE).exists())
        graphs: OneGraph | TwoGraphs
        graphs = TwoGraphs(folder, words, target) if two else OneGraph(graph_file(folder, graph), words, target)
        detector: OnnxDetector = OnnxOwl(graphs, prepare, prompt or inputs.PROMPT, thresholds, seconds)
    elif prompt:
        raise InputError("option prompt", repr(prompt), "nothing for Grounding DINO", "leave it out")
    else:
        tokens = inputs.DinoTokens(folder, _number(config, "max_text_len") or inputs.DINO_LENGTH)
        squared = inputs.dino_preparation(inputs.image_config(folder, NAME))
        detector = OnnxDino(graph_file(folder, graph), squared, tokens, target, OUTPUTS, thresholds, seconds)
    _log.info("%s runs on %s", model, ", ".join(detector.providers))
    if warm:
        detector.warm_up()
    return with_masks(detector, masks, masks_model, masks_preset)


def _files_of(model: str, family: str) -> tuple[Path, str, dict[str, Any]]:
    """The model's folder, as given or in the store, its family, and its config.json, empty if there is none."""
    folder = Path(model).expanduser()
    if not folder.is_dir():
        if folder.is_file() or folder.suffix == ".onnx":
            raise ModelError(NAME, f"{model} is a file", "pass its folder, and the file as graph=NAME.onnx")
        own = [entry for entry in known_models().values() if entry.backend == NAME]
        entry = next((entry for entry in own if model in (entry.name, entry.repository)), None)
        if entry is None:
            names = [entry.name for entry in own]
            raise UnknownNameError("model", model, (*names, "a folder with .onnx files and tokenizer.json"))
        if missing(entry):
            raise ModelError(NAME, f"{model} is missing or incomplete", by_hand(entry))
        folder = folder_of(entry)

    if family not in ("auto", *FAMILIES):
        raise UnknownNameError("family", family, ("auto", *FAMILIES))
    path = folder / "config.json"
    if not path.is_file():
        if family == "auto":
            raise ModelError(NAME, f"{path} is missing", f"fetch it, or set family to {' or '.join(FAMILIES)}")
        return folder, family, {}
    config = read_json(path, NAME)
    kind = str(config.get("model_type"))
    if kind not in FAMILIES or family not in ("auto", kind):
        wanted = family if family != "auto" else " or ".join(FAMILIES)
        raise ModelError(NAME, f"{folder} holds a model of type {kind!r}", f"use a model whose model_type is {wanted}")
    return folder, kind, config


def _number(told: object, name: str) -> int | None:
    value = told.get(name) if isinstance(told, dict) else None
    return value if isinstance(value, int) and value > 0 else None
