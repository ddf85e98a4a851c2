# SPDX-License-Identifier: Apache-2.0
"""Folders of models of published classes with few random weights, and frames of drawn boxes to adapt them on."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from frame_files import case, write_cases
from small_scorers import ENCODERS, TEXT, small_scorer, vision_config
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

from spatial_vlm_lab.adaptation.lessons import LocationWords, location_lesson, relation_lesson
from spatial_vlm_lab.adaptation.models import AdaptSettings, PreparedModel, load_base, load_encoder, prepare
from spatial_vlm_lab.adaptation.running import adapt_loop
from spatial_vlm_lab.adaptation.views import LabelledView
from spatial_vlm_lab.comparison.judge_calibration import RelationLabel
from spatial_vlm_lab.training.images import LabelledObject
from spatial_vlm_lab.training.loop import TrainingLoop
from spatial_vlm_ros.perception.judging import CHOICES, QUESTION
from spatial_vlm_ros.recording.frame_folder import write_frame
from spatial_vlm_ros.sim.tabletop import look_at
from spatial_vlm_ros.types import Detection, PinholeCamera, RgbdFrame
from spatial_vlm_ros.vlm.diagnostics.candidates import CandidateScorer
from spatial_vlm_ros.vlm.diagnostics.items import ItemPrompt, ProbeItem

WIDTH, HEIGHT = 96, 72
COLOURS = {"red": (210, 40, 40), "green": (40, 190, 60), "blue": (40, 60, 220)}


def question_items() -> list[ProbeItem]:
    """What the tokenizer of a base has to know: the words of all lessons."""
    words = LocationWords(32, 8).question(" ".join([*COLOURS, "cup", "box"])) + " 0123456789[],."
    choices = tuple(dict.fromkeys(choice for some, _ in CHOICES.values() for choice in some))
    image = np.zeros((8, 8, 3), np.uint8)
    return [ProbeItem("a", "a", "relative", "left-right", ItemPrompt(image, f"{QUESTION} {words}", choices, None), "")]


def base_folder(folder: Path, kind: str = "llava", seed: int = 0) -> Path:
    scorer = small_scorer(kind, question_items(), seed)
    scorer.model.save_pretrained(folder)
    scorer.processor.save_pretrained(folder)
    return folder


def seeing_folder(folder: Path) -> Path:
    """A LLaVA model of half a million random weights whose encoder tells 64 patches and their places apart."""
    scorer = small_scorer("llava", question_items())
    old = scorer.model.config
    torch.manual_seed(0)
    vision = transformers.CLIPVisionConfig(hidden_size=64, intermediate_size=128, num_hidden_layers=2,
                                           num_attention_heads=4, image_size=96, patch_size=12)  # fmt: skip
    sizes = {"hidden_size": 128, "head_dim": 32, "intermediate_size": 256, "num_hidden_layers": 3}
    told = {**TEXT, **sizes, "vocab_size": old.text_config.vocab_size, "initializer_range": 0.08}
    config = transformers.LlavaConfig(vision_config=vision, text_config=transformers.LlamaConfig(**told),
                                      image_token_id=old.image_token_id, vision_feature_layer=-1)  # fmt: skip
    model = transformers.LlavaForConditionalGeneration(config)
    with torch.no_grad():
        model.model.vision_tower.embeddings.position_embedding.weight.normal_(0, 0.5)
        model.model.vision_tower.embeddings.patch_embedding.weight.normal_(0, 0.1)
    model.save_pretrained(folder)
    scorer.processor.patch_size = 12
    scorer.processor.image_processor = CLIPImageProcessorPil(size={"height": 96, "width": 96}, do_center_crop=False)
    scorer.processor.save_pretrained(folder)
    return folder


def encoder_folder(folder: Path, kind: str, seed: int = 1) -> Path:
    """A vision encoder of another width than the base's, with its image processor."""
    torch.manual_seed(seed)
    ENCODERS[kind][0](vision_config(kind, 48, 3, 2, 32, 8, 64)).save_pretrained(folder)
    images: Any = CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    if kind.startswith("siglip"):
        images = SiglipImageProcessorPil(size={"height": 32, "width": 32})
    images.save_pretrained(folder)
    return folder


def drawn_views(count: int, seed: int = 0) -> Iterator[LabelledView]:
    """Three boxes of different colours on grey; sides are true of the image, depth by height, contact none."""
    rng = np.random.default_rng(seed)
    for number in range(count):
        rgb = np.full((HEIGHT, WIDTH, 3), 120, np.uint8)
        objects = []
        for column, colour in enumerate(rng.permutation(list(COLOURS))):
            x, y = 4 + 30 * column + int(rng.integers(6)), 6 + int(rng.integers(40))
            rgb[y : y + 20, x : x + 20] = COLOURS[str(colour)]
            objects.append(LabelledObject("box", (str(colour),), (float(x), float(y), float(x + 20), float(y + 20))))
        left, middle, right = (obj.box_xyxy for obj in objects)
        labels = [
            RelationLabel("left of", left, right, True),
            RelationLabel("right of", left, middle, False),
            RelationLabel("right of", right, middle, True),
            RelationLabel("behind", left, right, left[1] < right[1]),
            RelationLabel("in front of", left, right, left[1] > right[1]),
            RelationLabel("beside", left, middle, True),
            RelationLabel("on", left, middle, False),
        ]
        yield LabelledView(f"view_{number}", rgb, tuple(objects), tuple(labels))


LEVEL = look_at((-1.0, 0.0, 0.5), (0.0, 0.0, 0.5))
"""Of a camera that is not tilted."""


def frames_folder(folder: Path, count: int = 6) -> Path:
    """Labelled frames with cases, as `spatial-vlm evaluate` reads them: two cups on either side of a box."""
    camera, cases = PinholeCamera(np.array([[80.0, 0, 48], [0, 80, 36], [0, 0, 1]]), WIDTH, HEIGHT), []
    for number in range(count):
        rng = np.random.default_rng(number)
        rgb = rng.integers(90, 130, (HEIGHT, WIDTH, 3)).astype(np.uint8)
        found = []
        for column, (name, colour) in enumerate((("cup", "red"), ("box", "green"), ("cup", "blue"))):
            x, y = 4 + 30 * column, 10 + int(rng.integers(30))
            rgb[y : y + 20, x : x + 20] = COLOURS[colour]
            found.append(Detection(f"d{column}", name, 1.0, (x, y, x + 20, y + 20), None, (colour,)))
        depth = np.full((HEIGHT, WIDTH), 1.0, np.float32)
        write_frame(folder / f"f{number}", RgbdFrame(rgb, depth, camera, base_T_camera=LEVEL), found)
        for side, id_ in (("left", "d0"), ("right", "d2")):
            cases.append(case(f"f{number}", f"the cup to the {side} of the box", id_))
    write_cases(folder, cases)
    return folder


CPU, VIEWS = torch.device("cpu"), list(drawn_views(3))
LESSONS = [
    *(relation_lesson(VIEWS[n], VIEWS[n].relations[n], swapped=n == 1, mirrored=n == 2) for n in (0, 2)),
    location_lesson(VIEWS[1], VIEWS[1].objects[0], LocationWords(32, 8)),
]
SCHEMES = ("1d", "axial", "mrope-chunked", "mrope-interleaved", "learned-absolute")
CASES: dict[str, dict[str, Any]] = {
    **{f"encoder {kind}": {"method": "projector", "new_encoder": True} for kind in ENCODERS},
    **{f"positions {name}": {"method": "projector", "positions": name} for name in SCHEMES},
    "norm": {"method": "projector", "norm": "published"},
    "features": {"method": "projector", "features": (1, 3)},
    "all": {"method": "lora", "new_encoder": True, "positions": "axial", "norm": "published", "features": (1, 3)},
    "lora": {"method": "lora"},
    "pin": {"method": "pin"},
}


def prepared(bases: Path, name: str, **more: Any) -> tuple[PreparedModel, AdaptSettings]:
    settings = AdaptSettings(**{**CASES[name], "steps": 12, "rate": 0.02, **more})
    encoder = None
    if settings.new_encoder:
        encoder = load_encoder(bases / (name.split()[-1] if "encoder" in name else "siglip"), CPU, torch.float32)
    return prepare(*load_base(bases / "llava", CPU, torch.float32), bases / "llava", settings, encoder), settings


def scorer_of(made: PreparedModel) -> CandidateScorer:
    return CandidateScorer(made.model, made.processor)


def trained_of(made: PreparedModel) -> dict[str, Any]:
    return {name: value for group in made.groups for name, value in group.items()}


def loop_of(made: PreparedModel, settings: AdaptSettings, folder: Path) -> TrainingLoop:
    return adapt_loop(made.groups, settings, {}, folder)
