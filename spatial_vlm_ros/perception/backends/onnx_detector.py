# SPDX-License-Identifier: Apache-2.0
"""Backend "onnx": OWL-ViT and OWLv2, detectors asked in words, through ONNX Runtime; needs no torch.

Two layouts of a model's folder are read: one graph for text and image, as published ones are, and two graphs, as
`spatial-vlm models export` writes them. With two, a phrase goes through the text model once and is then remembered.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.errors import InputError, ModelError, ModelTimeoutError, UnknownNameError
from spatial_vlm_ros.perception.backends.clip_tokens import tokens_of
from spatial_vlm_ros.perception.backends.loading import read_json
from spatial_vlm_ros.perception.backends.onboard import option, yes_or_no
from spatial_vlm_ros.perception.backends.onnx_session import NAME, Arrays, OnnxDevice
from spatial_vlm_ros.perception.backends.owl_graphs import OneGraph, TwoGraphs, graphs_of
from spatial_vlm_ros.perception.backends.owl_inputs import (
    FAMILIES,
    PROMPT,
    OwlPreparation,
    checked_prompt,
    preparation,
    scored,
    told_of,
)
from spatial_vlm_ros.perception.backends.phrase_boxes import ANYTHING, Boxes, Thresholds, grounded
from spatial_vlm_ros.perception.grounder import Grounder, Grounding
from spatial_vlm_ros.perception.model_store.manifest import known_models
from spatial_vlm_ros.perception.model_store.store import by_hand, folder_of, missing
from spatial_vlm_ros.types import NounPhrase, Rgb

LENGTH = 16  # tokens of a text, of the published models
_log = logging.getLogger(__name__)


class OnnxDetector:
    """A detector asked in words; see Grounder.

    Args:
        graphs: of the model.
        prepare: of the same model.
        thresholds: what counts as found; `text` is a phrase's least score, as `score` is a box's.
        prompt: text in which a category stands for "{}".
        budget_s: seconds that a request may take, looked at before each run of the graph.
        clock: seconds that only grow.

    Raises:
        InputError: a prompt without "{}", or a budget out of its range.
        ModelError: the graph takes images of another size.
    """

    def __init__(
        self,
        graphs: OneGraph | TwoGraphs,
        prepare: OwlPreparation,
        thresholds: Thresholds,
        prompt: str = PROMPT,
        budget_s: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if not 0.0 < budget_s < math.inf:
            raise InputError("budget_s", str(budget_s), "seconds, more than 0", "correct the option")
        wanted = (1, 3, prepare.height, prepare.width)
        if any(side not in (None, given) for side, given in zip(graphs.pixels, wanted, strict=True)):
            reason = f"its graph takes images of {graphs.pixels[2:]} pixels, its files say {wanted[2:]}"
            raise ModelError(NAME, reason, "give preprocessor_config.json and config.json of the same model")
        self.thresholds, self.prepare, self._prompt = thresholds, prepare, checked_prompt(prompt)
        self.providers = graphs.providers
        """Execution providers of ONNX Runtime in use, the first one first."""
        self._graphs, self._budget_s, self._clock = graphs, budget_s, clock

    def ground(self, rgb: Rgb, phrases: Sequence[NounPhrase]) -> Grounding:
        """Find what the phrases' categories name; see Grounder.ground.

        A box's score is the greatest of all categories; `match` is as `phrase_boxes.grounded` has it.

        Raises:
            ModelError: ONNX Runtime failed, or gave NaN or arrays of other shapes.
            ModelTimeoutError: the time budget is spent.
            InputError: a category without letters, or one that is too long.
        """
        return grounded(phrases, lambda categories: self.boxes(rgb, categories), self.thresholds)

    def boxes(self, rgb: Rgb, categories: Sequence[str]) -> Boxes:
        """Boxes whose score passes the threshold, clipped to the image, before they are merged.

        Args:
            rgb: (H, W, 3) uint8.
            categories: C categories.

        Raises:
            as `ground`.
        """
        started, size = self._clock(), (rgb.shape[0], rgb.shape[1])
        pixels = self.prepare(rgb)
        texts = [self._prompt.format(category) for category in categories]
        fits, output = [], np.zeros((0, 4))
        for first in range(0, len(texts), self.thresholds.at_once):
            spent = self._clock() - started
            if spent >= self._budget_s:
                reason = f"{spent:.1f} s of {self._budget_s:g} s are spent with {first} of {len(texts)} phrases asked"
                raise ModelTimeoutError(NAME, reason, "raise budget_s, ask for fewer objects, or use int8 or a GPU")
            some = texts[first : first + self.thresholds.at_once]
            logits, output = _checked(self._graphs(pixels, some), len(some))
            fits.append(logits)
        return scored(np.concatenate(fits, axis=1), output, self.prepare, self.thresholds.score, size)

    def warm_up(self) -> None:
        """Run once on a grey image.

        Raises:
            ModelError: the model does not run here.
        """
        self.boxes(np.full((480, 640, 3), 127, np.uint8), (ANYTHING,))


def load(
    *,
    model: str,
    graph: str = "",
    family: str = "auto",
    prompt: str = PROMPT,
    threshold: str = "0.1",
    iou: str = "0.5",
    at_once: str = "64",
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
        model: folder, or name of a model of `spatial-vlm models list`.
        graph: file of one graph within the folder, for example onnx/model_quantized.onnx; "" = the two that
            `spatial-vlm models export` writes, else one of PUBLISHED, else the only one that is there.
        family: "owlvit", "owlv2", or "auto": as config.json says.
        prompt: text in which a category stands for "{}".
        threshold: least score of a box.
        iou: overlap from which boxes are one object.
        at_once: most phrases in one run of the graph.
        most: most boxes of an image.
        device: see onnx_session.OnnxDevice.
        threads: of the CPU, 0 = all cores.
        budget_s: seconds that a request may take.
        warm_up: "yes" or "no": run once at load.
        masks: "" or "sam2"; needs torch.
        masks_model: folder or id of the SAM 2 model, where masks are wanted.
        masks_preset: of the SAM 2 model, see onboard.PRESETS.

    Raises:
        InputError: an option out of its range.
        UnknownNameError: no such model, family, device, kind of masks or preset.
        DependencyError: onnxruntime, tokenizers, Pillow, or for masks torch or transformers is not installed.
        ModelError: the model cannot be loaded, or does not run here.
    """
    least = option("threshold", threshold, float)
    thresholds = Thresholds(
        least, least, option("iou", iou, float), option("at_once", at_once, int), option("most", most, int)
    )
    target, warm = OnnxDevice(device, option("threads", threads, int)), option("warm_up", warm_up, yes_or_no)
    folder = _folder(model)
    known, side, length = _described(folder, family)
    prepare, tokens = preparation(known, told_of(folder, NAME), side), tokens_of(folder, length, model=NAME)
    graphs = graphs_of(folder, graph, tokens, target)
    detector = OnnxDetector(graphs, prepare, thresholds, prompt, option("budget_s", budget_s, float))
    _log.info("%s runs on %s", model, ", ".join(detector.providers))
    if warm:
        detector.warm_up()
    if not masks:
        return detector
    from spatial_vlm_ros.perception.backends.sam2 import with_masks

    return with_masks(detector, masks, masks_model, masks_preset)


def _folder(model: str) -> Path:
    """A folder as given, or of a model of the store."""
    given = Path(model).expanduser()
    if given.is_dir():
        return given
    if given.is_file() or given.suffix == ".onnx":
        raise ModelError(NAME, f"{model} is a file", "give its folder, and the file by graph=NAME.onnx")
    entry = next((e for e in known_models().values() if e.backend == NAME and model in (e.name, e.repository)), None)
    if entry is None:
        names = [e.name for e in known_models().values() if e.backend == NAME]
        raise UnknownNameError("model", model, (*names, "a folder with .onnx files and tokenizer.json"))
    if missing(entry):
        raise ModelError(NAME, f"{model} is not here, or not whole", by_hand(entry))
    return folder_of(entry)


def _described(folder: Path, family: str) -> tuple[str, int | None, int]:
    """Family, side of its image where config.json says so, and length of its texts."""
    if family not in ("auto", *FAMILIES):
        raise UnknownNameError("family", family, ("auto", *FAMILIES))
    path = folder / "config.json"
    if not path.is_file():
        if family == "auto":
            raise ModelError(NAME, f"{path} is missing", f"fetch it, or set family to {' or '.join(FAMILIES)}")
        return family, None, LENGTH
    config = read_json(path, NAME)
    kind = str(config.get("model_type"))
    if kind not in FAMILIES or family not in ("auto", kind):
        wanted = family if family != "auto" else " or ".join(FAMILIES)
        raise ModelError(NAME, f"{folder} holds a model of type {kind!r}", f"give a model whose model_type is {wanted}")
    side = _number(config, "vision_config", "image_size")
    return kind, side, _number(config, "text_config", "max_position_embeddings") or LENGTH


def _number(config: dict[str, Any], part: str, name: str) -> int | None:
    inner = config.get(part)
    value = inner.get(name) if isinstance(inner, dict) else None
    return value if isinstance(value, int) and value > 0 else None


def _checked(output: Arrays, texts: int) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Logits (K, Q) and boxes (K, 4), both of finite numbers."""
    logits, boxes = output["logits"], output["pred_boxes"]
    fits = logits.ndim == boxes.ndim == 3 and logits.shape == (1, boxes.shape[1], texts) and boxes.shape[2] == 4
    if not fits:
        reason = f"it gives logits of shape {logits.shape} and boxes of shape {boxes.shape} for {texts} phrases"
        raise ModelError(NAME, reason, "give a graph of OWL-ViT or OWLv2")
    wrong = int((~np.isfinite(logits)).sum() + (~np.isfinite(boxes)).sum())
    if wrong:
        reason = f"{wrong} of its {logits.size + boxes.size} numbers are NaN or infinite"
        raise ModelError(NAME, reason, "use a graph in fp32, or fetch the model again")
    return logits[0], boxes[0]
