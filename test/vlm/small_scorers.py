# SPDX-License-Identifier: Apache-2.0
"""Models of small_vlms.py with the processors of their classes, which know the words of some questions."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from small_vlms import small_vlm

from spatial_vlm_ros.perception.backends.qwen_vl import without_videos
from spatial_vlm_ros.vlm.diagnostics.candidates import CandidateScorer
from spatial_vlm_ros.vlm.diagnostics.items import ProbeItem

SPECIAL = ("<pad>", "<unk>", "<image>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")
PALIGEMMA = "<image>{question}"
"""Template of a prompt, where the processor brings none."""
PALIGEMMA_WARNS = "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"
"""Filter of a warning that its processor causes in torch, of what it makes labels from."""
PIECE = r"[A-Za-z]+|[\s\S]"


def tokenizer(items: Sequence[ProbeItem]) -> Any:
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    texts = [" ".join((i.plain.question, i.paraphrase, *i.plain.choices)) for i in items]
    pieces = sorted({piece for text in texts for piece in re.findall(PIECE, f"{text} Answer with one of: , .\n")})
    vocabulary = {token: number for number, token in enumerate([*SPECIAL, *pieces])}
    inner = Tokenizer(models.WordLevel(vocabulary, "<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Split(Regex(PIECE), "isolated")
    inner.decoder = decoders.Fuse()
    roles = dict(zip(("pad_token", "unk_token"), SPECIAL, strict=False))
    return PreTrainedTokenizerFast(tokenizer_object=inner, additional_special_tokens=list(SPECIAL[2:]), **roles)


def template(kind: str) -> str:
    image = "<image>" if kind == "llava" else "<|vision_start|><|image_pad|><|vision_end|>"
    return (
        "{% for m in messages %}{% for part in m.content %}{% if part.type == 'image' %}"
        + image
        + "{% else %}{{ part.text }}{% endif %}{% endfor %}\n{% endfor %}"
    )


def small_scorer(kind: str, items: Sequence[ProbeItem], seed: int = 0) -> CandidateScorer:
    """The class of a published checkpoint with its processor, of few random weights."""
    from transformers import LlavaProcessor, Qwen2_5_VLProcessor, Qwen2VLProcessor, Qwen3VLProcessor
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    if kind == "paligemma":
        return _small_paligemma(items, seed)
    words = tokenizer(items)
    model = small_vlm(kind, seed, vocab_size=max(len(words), 60))
    names = ("<image>", "<image>") if kind == "llava" else ("<|image_pad|>", "<|video_pad|>")
    model.config.image_token_id = words.convert_tokens_to_ids(names[0])
    if kind == "llava":
        roles = {"chat_template": template(kind), "image_token": SPECIAL[2]}
        images = CLIPImageProcessorPil(size={"height": 32, "width": 32}, do_center_crop=False)
        processor = LlavaProcessor(
            images,
            words,
            patch_size=8,
            vision_feature_select_strategy="default",
            num_additional_image_tokens=1,
            **roles,
        )
        return CandidateScorer(model, processor)
    ids = {"video_token_id": "<|video_pad|>", "vision_start_token_id": "<|vision_start|>"}
    for name, token in {**ids, "vision_end_token_id": "<|vision_end|>"}.items():
        setattr(model.config, name, words.convert_tokens_to_ids(token))
    patch = 16 if kind == "qwen3_vl" else 14
    images = Qwen2VLImageProcessorPil(
        patch_size=patch, size={"shortest_edge": (8 * patch) ** 2, "longest_edge": (8 * patch) ** 2}
    )
    made = {"qwen2_vl": Qwen2VLProcessor, "qwen2_5_vl": Qwen2_5_VLProcessor, "qwen3_vl": Qwen3VLProcessor}[kind]
    return CandidateScorer(model, without_videos(made)(images, words, chat_template=template(kind)))


def _small_paligemma(items: Sequence[ProbeItem], seed: int) -> CandidateScorer:
    """Without chat template, as published; its processor puts words for places and pieces into the tokenizer."""
    from transformers import PaliGemmaProcessor
    from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

    words = tokenizer(items)
    words.add_special_tokens({"bos_token": "<bos>"})
    images = SiglipImageProcessorPil(size={"height": 32, "width": 32}, image_seq_length=16)
    processor = PaliGemmaProcessor(images, words)
    model = small_vlm("paligemma", seed, vocab_size=len(words))
    model.config.image_token_id = processor.image_token_id
    return CandidateScorer(model, processor, PALIGEMMA)
