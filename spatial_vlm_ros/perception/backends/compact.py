# SPDX-License-Identifier: Apache-2.0
"""Backend "compact": our own small grounding model through ONNX Runtime, with boxes and masks. Needs no torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.errors import FileError, InputError, UnfamiliarImageError
from spatial_vlm_ros.geometry.boxes import overlaps
from spatial_vlm_ros.language.lexicon import NOT
from spatial_vlm_ros.perception.backends import shipped_model
from spatial_vlm_ros.perception.backends.onnx_session import MOST_THREADS, OnnxDevice, OnnxGraph
from spatial_vlm_ros.perception.backends.options import YES_OR_NO, chosen, number
from spatial_vlm_ros.perception.grounder import Grounding
from spatial_vlm_ros.spatial.colours import colour_family
from spatial_vlm_ros.spatial.detector_profile import GIVEN
from spatial_vlm_ros.types import Detection, NounPhrase, Rgb
from spatial_vlm_ros.vlm.compact import decoding
from spatial_vlm_ros.vlm.compact.familiarity import Familiarity, pooled, read_familiarity
from spatial_vlm_ros.vlm.compact.spec import ONNX_FILE, CompactSpec, encode, read_spec

NAME = "compact"
_OUTPUTS = ("heat", "box", "kernel", "prototypes")
_FEATURES = "features"  # a further output; models exported before it was added lack it
_MOST_PHRASES = 64
_SURE = 0.8
"""Share of the probability of "chick" that "ribbon chick" must reach to give an object that attribute."""


class CompactGrounder:
    """Finds the objects that phrases name; see Grounder.

    Args:
        score: probability from which an object is reported, 0 to 1.
        familiarity: statistics of its training images; images that differ from them are refused. None = every image is
            accepted.
    """

    def __init__(
        self,
        graph: OnnxGraph,
        spec: CompactSpec,
        score: float = 0.3,
        with_masks: bool = True,
        familiarity: Familiarity | None = None,
    ) -> None:
        self._graph, self.spec, self._score, self._with_masks = graph, spec, score, with_masks
        self.domain, self._familiarity = spec.domain, familiarity

    def ground(self, rgb: Rgb, phrases: Sequence[NounPhrase]) -> Grounding:
        """Find all objects that the phrases' categories name; see Grounder.ground.

        An object found under several phrases is one detection; its label is the phrase that fits best.
        """
        if len(phrases) > _MOST_PHRASES:
            raise InputError("phrases", str(len(phrases)), f"{_MOST_PHRASES} at most", "split the request")
        if not phrases:
            return Grounding((), np.zeros((0, 0)))
        said = [phrase.category for phrase in phrases]
        pairs = dict.fromkeys((p.category, word.removeprefix(NOT)) for p in phrases for word in p.attributes)
        known = [pair for pair in pairs if pair[1] in self.spec.words and colour_family(pair[1]) is None]
        looks = known[:_MOST_PHRASES]
        pixels, box = decoding.letterbox(rgb, self.spec.width, self.spec.height)
        phrased = [*said, *(f"{word} {category}" for category, word in looks)]
        everything = decoding.asked(phrased, self.spec)
        output, features = self._run(pixels, encode(everything, self.spec))
        distance = self._distance(features, box)
        if distance > self.limit:
            raise UnfamiliarImageError(NAME, distance, self.limit)
        decoding.check_output(output, len(everything), self.spec, NAME)
        output = decoding.with_rivals(output, phrased, self.spec)
        objects = merged(
            [one for one in decoding.instances(output, box, self.spec, self._score) if one.phrase < len(said)]
        )
        best = [max(obj, key=lambda one: one.score) for obj in objects]
        seen = decoding.masks(best, output, box) if self._with_masks else [None] * len(best)
        # (P, N): the score under a phrase that found the object, else the heat-map value at its centre
        chance, match = decoding.probabilities(output, self.spec), np.zeros((len(phrased), len(objects)))
        for n, (obj, one) in enumerate(zip(objects, best, strict=True)):
            match[:, n] = chance[:, one.cell[0], one.cell[1]]
            for each in obj:
                match[each.phrase, n] = max(match[each.phrase, n], each.score)
        attributes = [
            tuple(word for (_, word), chance in zip(looks, match[len(said) :, n], strict=True)
                  if chance >= _SURE * one.score) for n, one in enumerate(best)
        ]  # fmt: skip
        detections = tuple(
            Detection(f"d{n}", said[one.phrase], one.score, one.box_xyxy, mask, words)
            for n, (one, mask, words) in enumerate(zip(best, seen, attributes, strict=True), 1)
        )
        return Grounding(detections, match[: len(said)], profile=GIVEN)

    @property
    def limit(self) -> float:
        """Distance from which an image is refused; infinite if none is refused."""
        return math.inf if self._familiarity is None else self._familiarity.limit

    def distance(self, rgb: Rgb) -> float:
        """Distance of an image from the model's training images; 0 if no image is refused."""
        pixels, box = decoding.letterbox(rgb, self.spec.width, self.spec.height)
        return self._distance(self._run(pixels, encode(["object"], self.spec))[1], box)

    def _distance(self, features: npt.NDArray[np.float32] | None, box: decoding.Letterbox) -> float:
        if self._familiarity is None or features is None:
            return 0.0
        return self._familiarity.distance(pooled(features, box))

    def _run(
        self, pixels: npt.NDArray[np.float32], words: npt.NDArray[np.int64]
    ) -> tuple[decoding.RawOutput, npt.NDArray[np.float32] | None]:
        """Run the network: its raw output, and the features of its backbone if they are wanted."""
        said = self._graph.run(pixels=pixels, words=words)
        heat, box, kernel, prototypes = (said[name] for name in _OUTPUTS)
        raw = decoding.RawOutput(heat, box, kernel, prototypes[0] if prototypes.ndim == 4 else prototypes)
        return raw, said.get(_FEATURES)


def merged(found: Sequence[decoding.Instance]) -> list[list[decoding.Instance]]:
    """Merge objects that were found under several phrases, by their boxes; the best object comes first."""
    ordered = sorted(found, key=lambda one: -one.score)
    boxes = np.array([one.box_xyxy for one in ordered], np.float64).reshape(-1, 4)
    same = overlaps(boxes, boxes) >= decoding.SAME_OBJECT
    objects: list[list[decoding.Instance]] = []
    leaders: list[int] = []
    for n, one in enumerate(ordered):
        of = next((t for t, leader in enumerate(leaders) if same[n, leader]
                   and all(other.phrase != one.phrase for other in objects[t])), None)  # fmt: skip
        if of is None:
            objects.append([one])
            leaders.append(n)
        else:
            objects[of].append(one)
    return objects


def load(
    model: str = "", score: str = "0.3", masks: str = "yes", threads: str = "0", unfamiliar: str = "refuse"
) -> CompactGrounder:
    """Load the compact model. Options: docs/models.md."""
    least, cores = number("score", score, float, 0.0, 1.0), number("threads", threads, int, 0, MOST_THREADS)
    with_masks = chosen("masks", masks, YES_OR_NO)
    refuses = chosen("unfamiliar", unfamiliar, {"refuse": True, "answer": False})
    folder = Path(model).expanduser() if model else shipped()
    spec, path = read_spec(folder), folder / ONNX_FILE
    if not path.is_file():
        raise FileError(path, "no such file", "pass a folder that `spatial-vlm train` wrote")
    optional = (_FEATURES,) if refuses else ()
    where = OnnxDevice("cpu", cores)
    graph = OnnxGraph(path, ("pixels", "words"), _OUTPUTS, where, optional=optional, model=NAME, small=True)
    familiarity = read_familiarity(folder) if _FEATURES in graph.outputs else None
    return CompactGrounder(graph, spec, least, with_masks, familiarity)


def shipped() -> Path:
    """Folder of the shipped model; raises as `shipped_model`."""
    return shipped_model(NAME)
