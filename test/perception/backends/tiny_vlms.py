# SPDX-License-Identifier: Apache-2.0
"""Real vision-language models of a few thousand weights, taught a handful of conversations by ordinary training steps.

Each is the class of transformers that a published checkpoint uses, with a processor, tokenizer and chat template built
here, and lies in a folder as a checkpoint does.
"""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from PIL import Image
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    BartConfig,
    Florence2Config,
    Florence2ForConditionalGeneration,
    Florence2Processor,
    GenerationConfig,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
)
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from spatial_vlm_ros.types import Rgb

WIDTH, HEIGHT = 180, 100
IGNORED = -100  # label of a token that is not learnt
SEED = 5
SURE = 0.9  # probability from which a token counts as known by heart

QWEN_CLASSES = {
    "qwen2_vl": (Qwen2VLForConditionalGeneration, Qwen2VLConfig),
    "qwen2_5_vl": (Qwen2_5_VLForConditionalGeneration, Qwen2_5_VLConfig),
    "qwen3_vl": (Qwen3VLForConditionalGeneration, Qwen3VLConfig),
}
QWEN_TOKENS = (
    *("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>"),
    *("<|vision_end|>", "<|image_pad|>", "<|video_pad|>"),
)
QWEN_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n"
    "{% for part in message.content %}"
    "{% if part.type == 'image' %}<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ part.text }}{% endif %}"
    "{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
UNKNOWN = "<unk>"
PIECE = r"[A-Za-z]+|[\s\S]"  # a word, or any other single character


@dataclasses.dataclass(frozen=True)
class Lesson:
    """What the model is to answer to a question about an image."""

    rgb: Rgb
    question: str
    reply: str


def scene(left: int, top: int, right: int, bottom: int, colour: tuple[int, int, int] = (200, 40, 40)) -> Rgb:
    """A grey image of WIDTH x HEIGHT with one filled rectangle."""
    rgb = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)
    rgb[top:bottom, left:right] = colour
    return rgb


# ------------------------------------------------------------------------------------------------ Qwen


def qwen_folder(
    folder: Path,
    kind: str,
    lessons: Sequence[Lesson],
    steps: int = 300,
    spoil: bool = False,
    prepare: Callable[[Any], None] = lambda _: None,
) -> Path:
    """Save a tiny Qwen-VL model that learnt the lessons.

    Args:
        folder: new folder.
        kind: "qwen2_vl", "qwen2_5_vl" or "qwen3_vl".
        lessons: what it learns.
        steps: of training; 0 leaves it random.
        spoil: one of its weights becomes NaN.
        prepare: called with the model before it learns, to put something on it.
    """
    torch.manual_seed(SEED)
    tokenizer = _tokenizer(QWEN_TOKENS, _pieces(lessons), {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"})
    tokenizer.chat_template = QWEN_TEMPLATE
    patch = 16 if kind == "qwen3_vl" else 14
    edges = {"shortest_edge": (4 * patch) ** 2, "longest_edge": 1280 * (2 * patch) ** 2}
    images = Qwen2VLImageProcessorPil(patch_size=patch, size=edges)
    model = _qwen(kind, tokenizer)
    model.generation_config = GenerationConfig(
        eos_token_id=[tokenizer.eos_token_id, tokenizer.pad_token_id],
        pad_token_id=tokenizer.pad_token_id,
        do_sample=True,
        temperature=0.9,
        repetition_penalty=1.5,
    )
    tokenizer.save_pretrained(folder)
    images.save_pretrained(folder)
    prepare(model)
    if steps:
        _teach(model, lambda: _qwen_batch(tokenizer, images, lessons), steps)
    return _saved(model, folder, spoil)


def _qwen(kind: str, tokenizer: Any) -> Any:
    sections = [4, 2, 2] if kind == "qwen3_vl" else [2, 3, 3]
    text = {
        **{"vocab_size": len(tokenizer), "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2},
        **{"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 1024},
        **{"bos_token_id": None, "eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id},
        "rope_parameters": {"rope_type": "default", "mrope_section": sections, "rope_theta": 10000.0},
    }
    vision: dict[str, Any] = {"depth": 2, "num_heads": 2, "patch_size": 14, "hidden_size": 32}
    if kind == "qwen2_vl":
        vision |= {"embed_dim": 32, "mlp_ratio": 2, "hidden_size": 64}
    else:
        vision |= {"intermediate_size": 64, "out_hidden_size": 64}
    if kind == "qwen2_5_vl":
        vision |= {"window_size": 56, "fullatt_block_indexes": [1]}
    elif kind == "qwen3_vl":
        text["head_dim"] = 16
        vision |= {"patch_size": 16, "num_position_embeddings": 64, "deepstack_visual_indexes": [0]}
    names = {"image_token_id": "image_pad", "video_token_id": "video_pad"}
    names |= {"vision_start_token_id": "vision_start", "vision_end_token_id": "vision_end"}
    tokens = {key: tokenizer.convert_tokens_to_ids(f"<|{name}|>") for key, name in names.items()}
    made, config = QWEN_CLASSES[kind]
    return made(config(text_config=text, vision_config=vision, **tokens))


def _qwen_batch(tokenizer: Any, images: Any, lessons: Sequence[Lesson]) -> dict[str, Any]:
    """Whole conversations with labels; written without the code under test."""
    seen = images(images=[Image.fromarray(lesson.rgb) for lesson in lessons], return_tensors="pt")
    pads = ["<|image_pad|>" * int(grid.prod() // images.merge_size**2) for grid in seen["image_grid_thw"]]
    asked = [
        f"<|im_start|>user\n<|vision_start|>{pad}<|vision_end|>{one.question}<|im_end|>\n<|im_start|>assistant\n"
        for one, pad in zip(lessons, pads, strict=True)
    ]
    batch = _conversations(tokenizer, asked, [f"{one.reply}<|im_end|>" for one in lessons])
    of_image = batch["input_ids"] == tokenizer.convert_tokens_to_ids("<|image_pad|>")
    return {**batch, "mm_token_type_ids": of_image.int(), **seen}


# ------------------------------------------------------------------------------------------------ Florence-2


def florence_folder(folder: Path, lessons: Sequence[Lesson], steps: int = 300, spoil: bool = False) -> Path:
    """Save a tiny Florence-2 that learnt the lessons; a question is a task token followed by words."""
    torch.manual_seed(SEED)
    locations = [f"<loc_{number}>" for number in range(1000)]
    tokenizer = _tokenizer(
        ("<s>", "<pad>", "</s>", "<image>"),
        [*_pieces(lessons), *_pieces([Lesson(scene(0, 0, 1, 1), text, "") for text in _FLORENCE_TASKS])],
        {
            **{"bos_token": "<s>", "pad_token": "<pad>", "eos_token": "</s>"},
            "extra_special_tokens": {"image_token": "<image>"},
        },
    )
    tokenizer.add_tokens([*locations, "<poly>", "</poly>", "<sep>"])
    images = CLIPImageProcessorPil(
        size={"height": 64, "width": 64}, do_center_crop=False, do_resize=True, image_seq_length=5
    )
    processor = Florence2Processor(
        images, tokenizer, post_processor_config={name: {} for name in _FLORENCE_POST_PROCESSING}
    )
    model = Florence2ForConditionalGeneration(_florence(tokenizer))
    ends = {"decoder_start_token_id": tokenizer.eos_token_id, "eos_token_id": tokenizer.eos_token_id}
    model.generation_config = GenerationConfig(
        **ends, pad_token_id=tokenizer.pad_token_id, bos_token_id=tokenizer.bos_token_id, num_beams=3, max_length=20
    )
    processor.save_pretrained(folder)
    if steps:
        _teach(model, lambda: _florence_batch(processor, lessons), steps)
    return _saved(model, folder, spoil)


_FLORENCE_TASKS = ("Locate in the image with mask.", "Locate the phrases in the caption: ")
_FLORENCE_POST_PROCESSING = ("description_with_bboxes_or_polygons", "phrase_grounding", "polygons")


def _florence(tokenizer: Any) -> Any:
    ids = {"bos_token_id": tokenizer.bos_token_id, "pad_token_id": tokenizer.pad_token_id}
    ids |= {"eos_token_id": tokenizer.eos_token_id, "decoder_start_token_id": tokenizer.eos_token_id}
    return Florence2Config(
        vision_config={
            **{"depths": [1, 1, 1, 1], "embed_dim": [16, 16, 32, 32], "num_heads": [2, 2, 2, 2]},
            **{"num_groups": [2, 2, 2, 2], "window_size": 4, "drop_path_rate": 0.0, "projection_dim": 64},
        },
        text_config=BartConfig(
            **{"vocab_size": len(tokenizer), "d_model": 64, "encoder_layers": 2, "decoder_layers": 2, "dropout": 0.0},
            **{"encoder_ffn_dim": 128, "decoder_ffn_dim": 128, "max_position_embeddings": 256},
            **{"encoder_attention_heads": 4, "decoder_attention_heads": 4},
            **ids,
        ),
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        **ids,
    )


def _florence_batch(processor: Any, lessons: Sequence[Lesson]) -> dict[str, Any]:
    tokenizer = processor.tokenizer
    inputs = processor(
        images=[Image.fromarray(lesson.rgb) for lesson in lessons],
        text=[lesson.question for lesson in lessons],
        return_tensors="pt",
        padding=True,
    )
    answers = [tokenizer.encode(f"<s>{lesson.reply}</s>", add_special_tokens=False) for lesson in lessons]
    return {**inputs, "labels": _padded(answers, IGNORED)}


# ------------------------------------------------------------------------------------------------ both


def _pieces(lessons: Iterable[Lesson]) -> list[str]:
    text = " ".join(f"{lesson.question} {lesson.reply}" for lesson in lessons)
    printable = [chr(code) for code in range(32, 127)]
    return sorted({*re.findall(PIECE, text), *printable, "\n", "user", "assistant"})


def _tokenizer(special: Sequence[str], pieces: Iterable[str], roles: dict[str, Any]) -> Any:
    """A tokenizer of words and single characters; what it was not given is UNKNOWN."""
    vocabulary = {token: number for number, token in enumerate(dict.fromkeys([*special, UNKNOWN, *pieces]))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(PIECE), "isolated")
    tokenizer.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token=UNKNOWN, additional_special_tokens=list(special), **roles
    )


def _padded(rows: Sequence[Sequence[int]], filler: int) -> torch.Tensor:
    longest = max(len(row) for row in rows)
    return torch.tensor([[*row, *[filler] * (longest - len(row))] for row in rows])


def _conversations(tokenizer: Any, asked: Sequence[str], replies: Sequence[str]) -> dict[str, torch.Tensor]:
    """Tokens of whole conversations, padded on the right, with labels for the replies alone."""
    prompts, answers = ([tokenizer.encode(text) for text in texts] for texts in (asked, replies))
    rows = [prompt + answer for prompt, answer in zip(prompts, answers, strict=True)]
    input_ids, lengths = _padded(rows, tokenizer.pad_token_id), torch.tensor([len(row) for row in rows])
    labels = [[IGNORED] * len(prompt) + answer for prompt, answer in zip(prompts, answers, strict=True)]
    return {
        "input_ids": input_ids,
        "attention_mask": (torch.arange(input_ids.shape[1]) < lengths[:, None]).long(),
        "labels": _padded(labels, IGNORED),
    }


def _teach(model: Any, batch: Callable[[], dict[str, Any]], steps: int) -> None:
    """Train on one batch until every token of every answer is known by heart, or fail."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    inputs = batch()
    model.train()
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.0)
    for _ in range(steps):
        output = model(**inputs)
        surety = _least_surety(output.logits, inputs["labels"], model.config.is_encoder_decoder)
        if surety > SURE:
            break
        optimiser.zero_grad()
        output.loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
    torch.set_num_threads(threads)
    assert surety > SURE, f"after {steps} steps the tiny model knows one token with a probability of {surety:.2f} only"


def _least_surety(logits: torch.Tensor, labels: torch.Tensor, aligned: bool) -> float:
    """Smallest probability that the model gives to a token it should say."""
    if not aligned:  # a decoder's output at one place is what it says at the next
        logits, labels = logits[:, :-1], labels[:, 1:]
    right = logits.detach().softmax(-1).gather(2, labels.clamp(min=0)[:, :, None])[:, :, 0]
    return float(right[labels != IGNORED].min())


def _saved(model: Any, folder: Path, spoil: bool) -> Path:
    if spoil:
        with torch.no_grad():
            next(weight for name, weight in model.named_parameters() if "embed_tokens" in name or "shared" in name)[
                :
            ] = float("nan")
    model.eval().save_pretrained(folder)
    transformers.logging.set_verbosity_error()
    return folder


def noted(folder: Path, to: Path, marks: object) -> Path:
    """A copy of a folder with these marks of remedies in its configuration."""
    from spatial_vlm_ros.vlm.remedies.marking import FIELD

    shutil.copytree(folder, to)
    config = json.loads((to / "config.json").read_text())
    (to / "config.json").write_text(json.dumps({**config, FIELD: marks}))
    return to
