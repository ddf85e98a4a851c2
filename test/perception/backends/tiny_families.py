# SPDX-License-Identifier: Apache-2.0
"""Tiny real models of further families, taught as those of `tiny_vlms`, in folders as checkpoints are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from tiny_vlms import SEED, Lesson, _conversations, _pieces, _saved, _teach, _tokenizer
from transformers import (
    GenerationConfig,
    InternVLConfig,
    InternVLForConditionalGeneration,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PaliGemmaConfig,
    PaliGemmaForConditionalGeneration,
    PaliGemmaProcessor,
)
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import GotOcr2ImageProcessorPil
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

SIDE = 56  # of the image that both models see, pixels
TEXT = {
    **{"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4},
    **{"num_key_value_heads": 2, "head_dim": 16, "max_position_embeddings": 2048},
}
VISION = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}

INTERNVL_TOKENS = (
    *("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<IMG_CONTEXT>", "<img>", "</img>", "<video>"),
    *("<ref>", "</ref>", "<box>", "</box>"),
)
INTERNVL_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n"
    "{% for part in message.content %}"
    "{% if part.type == 'image' %}<IMG_CONTEXT>\n{% else %}{{ part.text }}{% endif %}"
    "{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def paligemma_folder(folder: Path, lessons: Sequence[Lesson], steps: int = 1500) -> Path:
    """Save a tiny PaliGemma that learnt the lessons; its location tokens are those of its real processor."""
    torch.manual_seed(SEED)
    roles = {
        **{"bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<pad>"},
        "extra_special_tokens": {"image_token": "<image>"},
    }
    tokenizer = _tokenizer(("<pad>", "<eos>", "<bos>", "<image>"), _pieces(lessons), roles)
    tokens = (SIDE // 14) ** 2
    images = SiglipImageProcessorPil(size={"height": SIDE, "width": SIDE}, image_seq_length=tokens)
    images.image_seq_length = tokens
    processor = PaliGemmaProcessor(images, tokenizer)
    config = PaliGemmaConfig(
        text_config={"model_type": "gemma", **TEXT, "vocab_size": len(tokenizer)},
        vision_config={"model_type": "siglip_vision_model", **VISION, "image_size": SIDE, "patch_size": 14},
        projection_dim=64,
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
    )
    model = PaliGemmaForConditionalGeneration(config)
    ends = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    model.generation_config = GenerationConfig(**ends, bos_token_id=tokenizer.bos_token_id, do_sample=True)
    processor.save_pretrained(folder)
    if steps:
        _teach(model, lambda: _paligemma_batch(tokenizer, images, lessons, tokens), steps)
    return _saved(model, folder, False)


def _paligemma_batch(tokenizer: Any, images: Any, lessons: Sequence[Lesson], tokens: int) -> dict[str, Any]:
    """Image, <bos>, prompt and a line end, then the reply: as big_vision writes it, without the code under test."""
    asked = ["<image>" * tokens + f"<bos>{lesson.question}\n" for lesson in lessons]
    batch = _conversations(tokenizer, asked, [f"{lesson.reply}<eos>" for lesson in lessons])
    prompts = torch.tensor([len(tokenizer.encode(text)) for text in asked])
    types = (torch.arange(batch["input_ids"].shape[1]) >= prompts[:, None]).long()
    seen = images(images=[Image.fromarray(lesson.rgb) for lesson in lessons], return_tensors="pt")
    return {**batch, "token_type_ids": types, **seen}


def internvl_folder(folder: Path, lessons: Sequence[Lesson], steps: int = 1500) -> Path:
    """Save a tiny InternVL that learnt the lessons; <ref> and <box> are special tokens, as in published ones."""
    torch.manual_seed(SEED)
    roles = {
        **{"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"},
        "extra_special_tokens": {
            **{"start_image_token": "<img>", "end_image_token": "</img>"},
            **{"context_image_token": "<IMG_CONTEXT>", "video_token": "<video>"},
        },
    }
    tokenizer = _tokenizer(INTERNVL_TOKENS, _pieces(lessons), roles)
    tokenizer.chat_template = INTERNVL_TEMPLATE
    images = GotOcr2ImageProcessorPil(size={"height": SIDE, "width": SIDE}, max_patches=2)
    tokens = (SIDE // 14 // 2) ** 2
    config = InternVLConfig(
        text_config={"model_type": "qwen2", **TEXT, "vocab_size": len(tokenizer)},
        vision_config={**VISION, "image_size": [SIDE, SIDE], "patch_size": [14, 14]},
        image_token_id=tokenizer.convert_tokens_to_ids("<IMG_CONTEXT>"),
        image_seq_length=tokens,
        downsample_ratio=0.5,
    )
    model = InternVLForConditionalGeneration(config)
    ends = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    model.generation_config = GenerationConfig(**ends, do_sample=True, repetition_penalty=1.5)
    tokenizer.save_pretrained(folder)
    images.save_pretrained(folder)
    (folder / "processor_config.json").write_text(
        f'{{"processor_class": "InternVLProcessor", "image_seq_length": {tokens}}}'
    )
    if steps:
        _teach(model, lambda: _internvl_batch(tokenizer, images, lessons, tokens), steps)
    return _saved(model, folder, False)


def _internvl_batch(tokenizer: Any, images: Any, lessons: Sequence[Lesson], tokens: int) -> dict[str, Any]:
    seen = images(images=[Image.fromarray(lesson.rgb) for lesson in lessons], return_tensors="pt", crop_to_patches=True)
    shown = ["<img>" + "<IMG_CONTEXT>" * tokens * count + "</img>\n" for count in seen.pop("num_patches").tolist()]
    asked = [
        f"<|im_start|>user\n{image}{lesson.question}<|im_end|>\n<|im_start|>assistant\n"
        for lesson, image in zip(lessons, shown, strict=True)
    ]
    return {**_conversations(tokenizer, asked, [f"{lesson.reply}<|im_end|>" for lesson in lessons]), **seen}


LLAVA_TEMPLATE = (
    "{% for message in messages %}USER: "
    "{% for part in message.content %}{% if part.type == 'image' %}<image>\n{% else %}{{ part.text }}{% endif %}"
    "{% endfor %} {% endfor %}{% if add_generation_prompt %}ASSISTANT:{% endif %}"
)


def llava_folder(
    folder: Path,
    lessons: Sequence[Lesson],
    encoder: str = "clip",
    steps: int = 1500,
    prepare: Callable[[Any], None] = lambda _: None,
    known: Sequence[Lesson] = (),
    before: str = "USER: ",
) -> Path:
    """Save a tiny LLaVA that learnt the lessons on images padded to squares.

    Args:
        folder: new folder.
        lessons: what it learns.
        encoder: of spatial_vlm_ros.vlm.remedies.encoders; CLIP's processor cuts the sides of images off, as published.
        steps: of training; 0 leaves it random.
        prepare: called with the model before it learns.
        known: their words are in the tokenizer, and are not learnt.
        before: what stands before image and question.
    """
    from spatial_vlm_ros.vlm.remedies.encoders import vision_config, with_encoder

    torch.manual_seed(SEED)
    roles = {
        **{"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"},
        "extra_special_tokens": {"image_token": "<image>"},
    }
    tokenizer = _tokenizer(
        ("<pad>", "<s>", "</s>", "<image>"),
        _pieces([*lessons, *known, Lesson(lessons[0].rgb, before, "ASSISTANT")]),
        roles,
    )
    if encoder in ("clip", "aimv2"):
        images: Any = CLIPImageProcessorPil(size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE})
    else:
        images = SiglipImageProcessorPil(size={"height": SIDE, "width": SIDE})
    vision = vision_config(encoder, 32, 2, 2, SIDE, 14)
    config = with_encoder(
        LlavaConfig(
            vision_config=vision_config("clip", 32, 2, 2, SIDE, 14),
            text_config={"model_type": "llama", **TEXT, "vocab_size": len(tokenizer)},
            image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        ),
        vision,
    )
    model = LlavaForConditionalGeneration(config)
    ends = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    model.generation_config = GenerationConfig(**ends, bos_token_id=tokenizer.bos_token_id, do_sample=True)
    LlavaProcessor(
        images,
        tokenizer,
        patch_size=14,
        vision_feature_select_strategy=config.vision_feature_select_strategy,
        num_additional_image_tokens=int(encoder == "clip"),
        chat_template=LLAVA_TEMPLATE,
    ).save_pretrained(folder)
    prepare(model)
    if steps:
        _teach(model, lambda: _llava_batch(tokenizer, images, lessons, before), steps)
    return _saved(model, folder, False)


def _llava_batch(tokenizer: Any, images: Any, lessons: Sequence[Lesson], before: str) -> dict[str, Any]:
    """Squares and conversations, written without the code under test."""
    squares = []
    for lesson in lessons:
        height, width = lesson.rgb.shape[:2]
        above, left = (max(width - height, 0) // 2, max(height - width, 0) // 2)
        squares.append(Image.new("RGB", (max(height, width),) * 2, (122, 116, 104)))
        squares[-1].paste(Image.fromarray(lesson.rgb), (left, above))
    asked = [before + "<image>" * (SIDE // 14) ** 2 + f"\n{lesson.question} ASSISTANT:" for lesson in lessons]
    batch = _conversations(tokenizer, asked, [f"{lesson.reply}</s>" for lesson in lessons])
    return {**batch, **images(images=squares, return_tensors="pt")}


MOLMO2_TOKENS = (
    *("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|image|>", "<|video|>", "<im_patch>", "<im_col>", "<im_start>"),
    *("<low_res_im_start>", "<im_end>", "<frame_start>", "<frame_end>", "<im_low>"),
)
MOLMO2_TEMPLATE = INTERNVL_TEMPLATE.replace("<IMG_CONTEXT>\n", "<|image|>")


def molmo2_tokenizer() -> Any:
    """A tokenizer with the special tokens of Molmo 2; it knows no words."""
    roles = {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"}
    tokenizer = _tokenizer(MOLMO2_TOKENS, _pieces([]), roles)
    tokenizer.chat_template = MOLMO2_TEMPLATE
    return tokenizer


def molmo2_folder(folder: Path) -> Path:
    """Save a tiny Molmo 2 of random weights; its processor needs torchvision."""
    from transformers import (
        Molmo2Config,
        Molmo2ForConditionalGeneration,
        Molmo2ImageProcessor,
        Molmo2Processor,
        Molmo2VideoProcessor,
    )

    torch.manual_seed(SEED)
    tokenizer = molmo2_tokenizer()
    images = Molmo2ImageProcessor(size={"height": SIDE, "width": SIDE}, max_crops=2, overlap_margins=[1, 1])
    names = {
        **{"image_start_token_id": "<im_start>", "low_res_image_start_token_id": "<low_res_im_start>"},
        **{"image_end_token_id": "<im_end>", "image_patch_id": "<im_patch>"},
        **{"frame_start_token_id": "<frame_start>", "frame_end_token_id": "<frame_end>"},
    }
    heads = {"num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 16}
    config = Molmo2Config(
        vision_config={
            **{**VISION, **heads, "num_hidden_layers": 3, "image_size": [SIDE, SIDE], "patch_size": 14},
            "num_position_embeddings": (SIDE // 14) ** 2,
        },
        adapter_config={
            **{"hidden_size": 32, "intermediate_size": 64, **heads, "text_hidden_size": TEXT["hidden_size"]},
            "vision_feature_layer": [-1],
        },
        text_config={**TEXT, "vocab_size": len(tokenizer), "additional_vocab_size": 8},
        **{key: tokenizer.convert_tokens_to_ids(token) for key, token in names.items()},
    )
    model = Molmo2ForConditionalGeneration(config)
    ends = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    model.generation_config = GenerationConfig(**ends)
    chat = tokenizer.chat_template
    Molmo2Processor(images, Molmo2VideoProcessor(), tokenizer, chat_template=chat).save_pretrained(folder)
    return _saved(model, folder, False)
