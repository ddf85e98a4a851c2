# SPDX-License-Identifier: Apache-2.0
"""Cost of judging a relation with a model: questions and milliseconds per clause, by class of model.

It measures the shipped small judge, and classes of published models with about 0.3 billion parameters, random weights
in their decoders and small vision towers, float32 on the CPU. Their answers mean nothing; their cost grows with their
size. Each is asked about the two chicks of the example, 640 x 480 pixels, like the `judge` of a backend; also with
scaled attention (ScalingVis, AdaptVis). Your own model is measured by its folder.

    python -m benchmarks.judging_cost
    python -m benchmarks.judging_cost --backend qwen-vl --options "model=/models/Qwen3-VL-4B device=cuda"
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from benchmarks.harness import Claim, alternate, finish, table
from spatial_vlm_ros.perception import load_grounder, parse_options
from spatial_vlm_ros.perception.backends.relation_judge import load
from spatial_vlm_ros.perception.judging import CHOICES, AskedJudge, RelationJudge, RelationQuestion, judge_of
from spatial_vlm_ros.perception.relation_marks import QUESTION
from spatial_vlm_ros.sim.examples import chicks_and_cup_frame
from spatial_vlm_ros.types import Rgb

REPETITIONS = 5
CLAUSES = {"a side": "left of", "behind or in front": "behind", "on, under or inside": "on"}
"""Words of the user → relation."""
DECODER = {
    **{"vocab_size": 32_000, "hidden_size": 1024, "intermediate_size": 2816, "num_hidden_layers": 16},
    **{"num_attention_heads": 16, "num_key_value_heads": 16, "head_dim": 64, "max_position_embeddings": 4096},
    **{"bos_token_id": None, "eos_token_id": None, "pad_token_id": None},
}
SMALLEST = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2}
SMALLEST |= {"num_attention_heads": 4, "num_key_value_heads": 4, "head_dim": 16}
SPECIAL = ("<pad>", "<unk>", "<image>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")
PIECE = r"[A-Za-z]+|[\s\S]"
RED, BLUE = (230, 30, 30), (30, 60, 230)
"""Colours of the marks around target and anchor; see relation_marks.marked."""
LONG = 3600.0
MOST_MS = 20.0
"""Time limit of the small judge for a pair."""


class Consistent:
    """Runs a scorer, then answers from the marks, because random weights would contradict themselves and end early.

    Attributes:
        questions: number of questions asked.
    """

    def __init__(self, scorer: Any) -> None:
        self._scorer, self.questions = scorer, 0

    def scores(self, rgb: Rgb, question: str, choices: Sequence[str]) -> list[float]:
        """Run the scorer, and return likelihoods that are consistent for both orders and the mirrored image."""
        self._scorer.scores(rgb, question, choices)
        self.questions += 1
        red, blue = (float(np.nonzero((rgb == colour).all(axis=2))[1].mean()) for colour in (RED, BLUE))
        said = {"left" if red < blue else "right", "behind", "on top"}
        return [0.0 if choice in said else -9.0 for choice in choices]

    def answer(self, rgb: Rgb, question: str, choices: Sequence[str]) -> str:
        """The likeliest choice."""
        scores = self.scores(rgb, question, choices)
        return choices[scores.index(max(scores))]


def tokenizer() -> Any:
    """Make a tokenizer of the words of the questions, and single characters."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    text = " ".join([QUESTION, *(word for choices, _ in CHOICES.values() for word in choices), "Answer with one of: ."])
    pieces = sorted({*re.findall(PIECE, text), *(chr(code) for code in range(32, 127)), "\n"})
    inner = Tokenizer(models.WordLevel({piece: n for n, piece in enumerate([*SPECIAL, *pieces])}, "<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Split(Regex(PIECE), "isolated")
    inner.decoder = decoders.Fuse()
    roles = dict(zip(("pad_token", "unk_token"), SPECIAL, strict=False))
    return PreTrainedTokenizerFast(tokenizer_object=inner, additional_special_tokens=list(SPECIAL[2:]), **roles)


def scorers(decoder: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Name of a class → its scorer, one after the other so that only one model is in memory."""
    yield "llava", _llava(decoder)
    yield "paligemma", _paligemma(decoder)
    yield "qwen2_5_vl", _qwen("qwen2_5_vl", decoder)
    yield "qwen3_vl", _qwen("qwen3_vl", decoder)


def _llava(decoder: Mapping[str, Any]) -> Any:
    """576 image tokens, as in LLaVA-1.5."""
    from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration, LlavaProcessor
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    from spatial_vlm_ros.vlm.diagnostics.candidates import CandidateScorer

    words = tokenizer()
    tower = CLIPVisionConfig(
        hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=2, image_size=336, patch_size=14
    )
    image = words.convert_tokens_to_ids("<image>")
    config = LlavaConfig(vision_config=tower, text_config=LlamaConfig(**decoder), image_token_id=image)
    images = CLIPImageProcessorPil(size={"height": 336, "width": 336}, do_center_crop=False)
    processor = LlavaProcessor(
        images, words, patch_size=14, vision_feature_select_strategy="default", num_additional_image_tokens=1,
        chat_template=_chat("<image>"), image_token="<image>",  # noqa: S106
    )  # fmt: skip
    return CandidateScorer(LlavaForConditionalGeneration(config).eval(), processor)


def _paligemma(decoder: Mapping[str, Any]) -> Any:
    """256 image tokens, as at 224 pixels."""
    from transformers import PaliGemmaConfig, PaliGemmaForConditionalGeneration, PaliGemmaProcessor
    from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

    from spatial_vlm_ros.vlm.diagnostics.candidates import CandidateScorer

    words = tokenizer()
    words.add_special_tokens({"bos_token": "<bos>"})
    processor = PaliGemmaProcessor(
        SiglipImageProcessorPil(size={"height": 224, "width": 224}, image_seq_length=256), words
    )
    wide = int(decoder["hidden_size"])
    tower = {"model_type": "siglip_vision_model", "hidden_size": 64, "intermediate_size": 128, "image_size": 224}
    tower |= {"num_hidden_layers": 2, "num_attention_heads": 2, "patch_size": 14, "projection_dim": wide}
    config = PaliGemmaConfig(
        vision_config=tower, text_config={**decoder, "model_type": "gemma"}, image_token_id=processor.image_token_id,
        projection_dim=wide, hidden_size=wide,
    )  # fmt: skip
    return CandidateScorer(PaliGemmaForConditionalGeneration(config).eval(), processor, "<image>{question}")


def _qwen(kind: str, decoder: Mapping[str, Any]) -> Any:
    """The image tokens of 640 x 480 pixels: 17 x 23, or 15 x 20."""
    import transformers
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    from spatial_vlm_ros.perception.backends.qwen_vl import without_videos
    from spatial_vlm_ros.vlm.diagnostics.candidates import CandidateScorer

    newer, words = kind == "qwen3_vl", tokenizer()
    patch, name = (16, "Qwen3VL") if newer else (14, "Qwen2_5_VL")
    tower = {"depth": 2, "hidden_size": 64, "intermediate_size": 128, "num_heads": 2, "patch_size": patch}
    tower |= {"out_hidden_size": decoder["hidden_size"]}
    tower |= {"deepstack_visual_indexes": [0]} if newer else {"fullatt_block_indexes": [1]}
    half = int(decoder["head_dim"]) // 2
    sections = [half - 2 * (half // 3), half // 3, half // 3]
    rope = {"rope_parameters": {"rope_type": "default", "mrope_section": sections, "rope_theta": 1e6}}
    ids = {"image_token_id": "<|image_pad|>", "video_token_id": "<|video_pad|>"}
    ids |= {"vision_start_token_id": "<|vision_start|>", "vision_end_token_id": "<|vision_end|>"}
    config = getattr(transformers, f"{name}Config")(
        text_config={**decoder, **rope}, vision_config=tower,
        **{key: words.convert_tokens_to_ids(token) for key, token in ids.items()},
    )  # fmt: skip
    model = getattr(transformers, f"{name}ForConditionalGeneration")(config).eval()
    images = Qwen2VLImageProcessorPil(
        patch_size=patch, size={"shortest_edge": (4 * patch) ** 2, "longest_edge": 1280 * (2 * patch) ** 2}
    )
    made = without_videos(getattr(transformers, f"{name}Processor"))
    processor = made(images, words, chat_template=_chat("<|vision_start|><|image_pad|><|vision_end|>"))
    return CandidateScorer(model, processor)


def _chat(image: str) -> str:
    return (
        "{% for m in messages %}{% for part in m.content %}{% if part.type == 'image' %}" + image + "{% else %}"
        "{{ part.text }}{% endif %}{% endfor %}\n{% endfor %}"
    )


def with_remedies(scorer: Any) -> dict[str, Any]:
    """Name of a remedy → the scorer with it; the plain one first. PaliGemma's attention cannot be scaled."""
    from spatial_vlm_ros.vlm.diagnostics.candidates import CandidateScorer
    from spatial_vlm_ros.vlm.remedies.attention_scaling import one_row
    from spatial_vlm_ros.vlm.remedies.attention_scaling_calibration import AdaptVis, ScalingVis

    found = {"": scorer}
    for name, settings in (("ScalingVis", ScalingVis(1.2)), ("AdaptVis", AdaptVis(0.5, 1.5, 0.5))):
        if scorer.parts.kind != "paligemma":
            answering = partial(one_row, scorer.parts, settings=settings)
            found[name] = CandidateScorer(
                scorer.model, scorer.processor, scorer.template, scorer.lead, lambda ids, of=answering: of(ids)
            )
    return found


def measured(judge: RelationJudge, repetitions: int, asked: Consistent | None = None) -> list[dict[str, Any]]:
    """Questions and time of each kind of clause, about a chick and the cup."""
    frame, detections = chicks_and_cup_frame()
    boxes = [next(d.box_xyxy for d in detections if d.label == label) for label in ("chick", "cup")]
    rows = []
    for name, relation in CLAUSES.items():
        before = asked.questions if asked else 0
        timing = alternate(
            {name: lambda r=relation: judge.judge(frame.rgb, [RelationQuestion(r, *boxes)], LONG)}, repetitions, 1
        )[name]
        runs = len(timing.seconds) + 1
        questions = (asked.questions - before) // runs if asked else 1
        rows.append({"clause": name, "questions": questions, **timing.summary()})
    return rows


def main() -> int:
    """Measure, print and write benchmarks/results/judging_cost.json; for your own model nothing is written."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=REPETITIONS)
    parser.add_argument("--tiny", action="store_true", help="models of two narrow layers, to see that it runs")
    parser.add_argument("--backend", default="", help="measure this backend instead")
    parser.add_argument("--options", default="", help='of the backend, "name=value name=value"')
    given, sys.argv[1:] = parser.parse_known_args()
    if given.backend:
        judge = judge_of(load_grounder(given.backend, parse_options(given.options)))
        if judge is None:
            parser.error(f"{given.backend} cannot be asked about relations")
        asked = Consistent(judge._model) if isinstance(judge, AskedJudge) else None
        _print({given.backend: measured(AskedJudge(asked) if asked else judge, given.repetitions, asked)})
        return 0
    found = {"relation-judge, shipped": measured(load(), max(given.repetitions, 20))}
    for name, scorer in scorers({**DECODER, **(SMALLEST if given.tiny else {})}):
        millions = sum(p.numel() for p in scorer.model.parameters()) / 1e6
        for remedy, treated in with_remedies(scorer).items():
            asked = Consistent(treated)
            row = f"{name}, {millions:.0f} million weights" + (f", {remedy}" if remedy else "")
            found[row] = measured(AskedJudge(asked), given.repetitions, asked)
    _print(found)
    slowest = max(row["median_ms"] for row in found["relation-judge, shipped"])
    claim = Claim("the small judge, milliseconds of a pair, both mirrored images", slowest, MOST_MS, "ms")
    return finish("judging_cost", {"rows": found}, [claim])


def _print(found: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    table(
        "A clause about one pair of objects, by who is asked",
        ("who", "clause", "questions", "median ms", "95 % ms", "n"),
        [
            (who, row["clause"], row["questions"], row["median_ms"], row["p95_ms"], row["n"])
            for who, rows in found.items()
            for row in rows
        ],
    )


if __name__ == "__main__":
    sys.exit(main())
