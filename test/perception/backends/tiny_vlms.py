# SPDX-License-Identifier: Apache-2.0
"""Real vision-language models of a few thousand weights, taught a handful of conversations by training steps."""

import copy
import dataclasses
import json
import re
import shutil
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import GotOcr2ImageProcessorPil
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

from spatial_vlm_ros.types import NounPhrase, Rgb

CONFIGS = json.loads(Path(__file__).with_name("tiny_configs.json").read_text("utf-8"))

WIDTH, HEIGHT = 180, 100
IGNORED = -100  # label of a token that is not learnt
SEED = 5
SURE = 0.9  # probability from which a token counts as known by heart

QWEN_CLASSES = {
    "qwen2_vl": (transformers.Qwen2VLForConditionalGeneration, transformers.Qwen2VLConfig),
    "qwen2_5_vl": (transformers.Qwen2_5_VLForConditionalGeneration, transformers.Qwen2_5_VLConfig),
    "qwen3_vl": (transformers.Qwen3VLForConditionalGeneration, transformers.Qwen3VLConfig),
}
QWEN_TOKENS = (
    *("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>"),
    *("<|vision_end|>", "<|image_pad|>", "<|video_pad|>"),
)
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{% for part in message.content %}"
    "{% if part.type == 'image' %}IMAGE{% else %}{{ part.text }}{% endif %}{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""Of Qwen, InternVL and Molmo 2, but for what stands for an image."""
QWEN_IMAGE = "<|vision_start|>{}<|vision_end|>"
UNKNOWN = "<unk>"
PIECE = r"[A-Za-z]+|[\s\S]"  # a word, or any other single character


@dataclasses.dataclass(frozen=True)
class Lesson:
    rgb: Rgb
    question: str
    reply: str


def scene(left: int, top: int, right: int, bottom: int, colour: tuple[int, int, int] = (200, 40, 40)) -> Rgb:
    rgb = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)
    rgb[top:bottom, left:right] = colour
    return rgb


KINDS = ("qwen2_5_vl", "qwen3_vl")
LEFT, RIGHT = (20, 30, 60, 80), (110, 10, 170, 50)
CUP_LEFT, CUP_RIGHT = scene(*LEFT, colour=(220, 40, 40)), scene(*RIGHT, colour=(40, 220, 240))
# 180 x 100 pixels become 168 x 112 for patches of 14 merged two by two: each side to the nearest multiple of 28.
RESIZED = (168, 112)


def written(kind: str, box: tuple[int, ...]) -> list[int]:
    across, down = RESIZED if kind == "qwen2_5_vl" else (1000, 1000)
    return [round(v * s) for v, s in zip(box, (across / WIDTH, down / HEIGHT) * 2, strict=True)]


def assert_finds_the_cup(grounder: Any, places: Iterable[tuple[Rgb, Sequence[float]]], within: float) -> list[float]:
    """A grounder finds the one cup of each image at its place, to so many pixels; how sure it is of each."""
    scores = []
    for rgb, box in places:
        (one,) = grounder.ground(rgb, [NounPhrase("cup")]).detections
        assert one.label == "cup"
        assert one.box_xyxy == pytest.approx(box, abs=within)
        scores.append(one.score)
    return scores


def qwen_folder(
    folder: Path,
    kind: str,
    lessons: Sequence[Lesson],
    steps: int = 300,
    spoil: bool = False,
    prepare: Callable[[Any], None] = lambda _: None,
) -> Path:
    """Save a tiny Qwen-VL that learnt the lessons, after `prepare` put something on it; spoilt, a weight is NaN."""
    torch.manual_seed(SEED)
    tokenizer = _tokenizer(QWEN_TOKENS, _pieces(lessons), "<|im_end|>", "<|endoftext|>")
    tokenizer.chat_template = CHAT_TEMPLATE.replace("IMAGE", QWEN_IMAGE.format("<|image_pad|>"))
    patch = 16 if kind == "qwen3_vl" else 14
    edges = {"shortest_edge": (4 * patch) ** 2, "longest_edge": 1280 * (2 * patch) ** 2}
    images = Qwen2VLImageProcessorPil(patch_size=patch, size=edges)
    ends = [tokenizer.eos_token_id, tokenizer.pad_token_id]
    settings = {"eos_token_id": ends, "do_sample": True, "temperature": 0.9, "repetition_penalty": 1.5}
    model = _settled(_qwen(kind, tokenizer), tokenizer, folder, images, **settings)
    prepare(model)
    return _taught(model, folder, lambda: _qwen_batch(tokenizer, images, lessons), steps, spoil)


def _qwen(kind: str, tokenizer: Any) -> Any:
    sections = [4, 2, 2] if kind == "qwen3_vl" else [2, 3, 3]
    text = {
        **CONFIGS["qwen text"],
        **{"vocab_size": len(tokenizer), "eos_token_id": tokenizer.eos_token_id},
        **{"pad_token_id": tokenizer.pad_token_id, **({"head_dim": 16} if kind == "qwen3_vl" else {})},
        "rope_parameters": {"rope_type": "default", "mrope_section": sections, "rope_theta": 10000.0},
    }
    names = ("image_pad", "video_pad", "vision_start", "vision_end")
    tokens = [tokenizer.convert_tokens_to_ids(f"<|{name}|>") for name in names]
    keys = ("image_token_id", "video_token_id", "vision_start_token_id", "vision_end_token_id")
    made, config = QWEN_CLASSES[kind]
    return made(config(text_config=text, vision_config=CONFIGS[kind], **dict(zip(keys, tokens, strict=True))))


def _qwen_batch(tokenizer: Any, images: Any, lessons: Sequence[Lesson]) -> dict[str, Any]:
    """Whole conversations with labels; written without the code under test."""
    seen = images(images=[Image.fromarray(lesson.rgb) for lesson in lessons], return_tensors="pt")
    pads = ["<|image_pad|>" * int(grid.prod() // images.merge_size**2) for grid in seen["image_grid_thw"]]
    batch = _chats(tokenizer, lessons, [QWEN_IMAGE.format(pad) for pad in pads])
    of_image = batch["input_ids"] == tokenizer.convert_tokens_to_ids("<|image_pad|>")
    return {**batch, "mm_token_type_ids": of_image.int(), **seen}


def florence_folder(folder: Path, lessons: Sequence[Lesson], steps: int = 300, spoil: bool = False) -> Path:
    """Save a tiny Florence-2 that learnt the lessons; a question is a task token followed by words."""
    torch.manual_seed(SEED)
    pieces = [*_pieces(lessons), *_pieces([Lesson(scene(0, 0, 1, 1), text, "") for text in _FLORENCE_TASKS])]
    special = ("<s>", "<pad>", "</s>", "<image>")
    tokenizer = _tokenizer(special, pieces, "</s>", "<pad>", "<s>", image_token="<image>")  # noqa: S106
    tokenizer.add_tokens([*(f"<loc_{number}>" for number in range(1000)), "<poly>", "</poly>", "<sep>"])
    size = {"height": 64, "width": 64}
    images = CLIPImageProcessorPil(size=size, do_center_crop=False, do_resize=True, image_seq_length=5)
    after = {name: {} for name in _FLORENCE_POST_PROCESSING}
    processor = transformers.Florence2Processor(images, tokenizer, post_processor_config=after)
    settings = {"decoder_start_token_id": tokenizer.eos_token_id, "num_beams": 3, "max_length": 20}
    ids = {"bos_token_id": tokenizer.bos_token_id, "pad_token_id": tokenizer.pad_token_id}
    ids |= {"eos_token_id": tokenizer.eos_token_id, "decoder_start_token_id": tokenizer.eos_token_id}
    text = transformers.BartConfig(vocab_size=len(tokenizer), **CONFIGS["florence text"], **ids)
    image, vision = tokenizer.convert_tokens_to_ids("<image>"), CONFIGS["florence vision"]
    config = transformers.Florence2Config(vision_config=vision, text_config=text, image_token_id=image, **ids)
    model = transformers.Florence2ForConditionalGeneration(config)
    _settled(model, tokenizer, folder, processor, bos_token_id=tokenizer.bos_token_id, **settings)
    return _taught(model, folder, lambda: _florence_batch(processor, lessons), steps, spoil)


_FLORENCE_TASKS = ("Locate in the image with mask.", "Locate the phrases in the caption: ")
_FLORENCE_POST_PROCESSING = ("description_with_bboxes_or_polygons", "phrase_grounding", "polygons")


def _florence_batch(processor: Any, lessons: Sequence[Lesson]) -> dict[str, Any]:
    images, questions = [Image.fromarray(lesson.rgb) for lesson in lessons], [lesson.question for lesson in lessons]
    inputs = processor(images=images, text=questions, return_tensors="pt", padding=True)
    replies = (f"<s>{lesson.reply}</s>" for lesson in lessons)
    answers = [processor.tokenizer.encode(reply, add_special_tokens=False) for reply in replies]
    return {**inputs, "labels": _padded(answers, IGNORED)}


def _pieces(lessons: Iterable[Lesson]) -> list[str]:
    text = " ".join(f"{lesson.question} {lesson.reply}" for lesson in lessons)
    printable = [chr(code) for code in range(32, 127)]
    return sorted({*re.findall(PIECE, text), *printable, "\n", "user", "assistant"})


def _tokenizer(
    special: Sequence[str], pieces: Iterable[str], eos: str, pad: str, bos: str | None = None, **further: str
) -> Any:
    """A tokenizer of words and single characters; what it was not given is UNKNOWN. `further` are roles of tokens."""
    vocabulary = {token: number for number, token in enumerate(dict.fromkeys([*special, UNKNOWN, *pieces]))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(PIECE), "isolated")
    tokenizer.decoder = decoders.Fuse()
    roles: dict[str, Any] = {"eos_token": eos, "pad_token": pad, "unk_token": UNKNOWN}
    roles |= {"bos_token": bos} if bos else {}
    roles |= {"extra_special_tokens": further} if further else {}
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, additional_special_tokens=list(special), **roles
    )


def _padded(rows: Sequence[Sequence[int]], filler: int) -> torch.Tensor:
    longest = max(len(row) for row in rows)
    return torch.tensor([[*row, *[filler] * (longest - len(row))] for row in rows])


def _conversations(tokenizer: Any, asked: Sequence[str], replies: Sequence[str]) -> dict[str, torch.Tensor]:
    prompts, answers = ([tokenizer.encode(text) for text in texts] for texts in (asked, replies))
    rows = [prompt + answer for prompt, answer in zip(prompts, answers, strict=True)]
    input_ids, lengths = _padded(rows, tokenizer.pad_token_id), torch.tensor([len(row) for row in rows])
    labels = [[IGNORED] * len(prompt) + answer for prompt, answer in zip(prompts, answers, strict=True)]
    return {
        "input_ids": input_ids,
        "attention_mask": (torch.arange(input_ids.shape[1]) < lengths[:, None]).long(),
        "labels": _padded(labels, IGNORED),
    }


def _chats(tokenizer: Any, lessons: Sequence[Lesson], images: Iterable[str]) -> dict[str, torch.Tensor]:
    """Conversations in the form of CHAT_TEMPLATE, with what stands for the image of each."""
    asked = [
        f"<|im_start|>user\n{image}{lesson.question}<|im_end|>\n<|im_start|>assistant\n"
        for lesson, image in zip(lessons, images, strict=True)
    ]
    return _conversations(tokenizer, asked, [f"{lesson.reply}<|im_end|>" for lesson in lessons])


def _teach(model: Any, batch: Callable[[], dict[str, Any]], steps: int) -> None:
    """Train on one batch until every token is known; stuck on one answer for both images, it begins again, slower."""
    threads, untaught, inputs = torch.get_num_threads(), copy.deepcopy(model.state_dict()), batch()
    torch.set_num_threads(1)
    model.train()
    for step in range(2 * steps):
        if step % steps == 0:
            model.load_state_dict(untaught)
            optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3 if step else 3e-3, weight_decay=0.0, fused=True)
        output = model(**inputs)
        surety = _least_surety(output.logits, inputs["labels"], model.config.is_encoder_decoder)
        if surety > SURE:
            break
        optimiser.zero_grad()
        output.loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
    torch.set_num_threads(threads)
    assert surety > SURE, f"after {step} steps the tiny model knows one token with a probability of {surety:.2f} only"


def _least_surety(logits: torch.Tensor, labels: torch.Tensor, aligned: bool) -> float:
    if not aligned:  # a decoder's output at one place is what it says at the next
        logits, labels = logits[:, :-1], labels[:, 1:]
    right = logits.detach().softmax(-1).gather(2, labels.clamp(min=0)[:, :, None])[:, :, 0]
    return float(right[labels != IGNORED].min())


def _settled(model: Any, tokenizer: Any, folder: Path, processor: Any, **settings: Any) -> Any:
    """Save tokenizer and processor, and give the model settings that a backend has to overrule."""
    ends = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    model.generation_config = transformers.GenerationConfig(**{**ends, **settings})
    tokenizer.save_pretrained(folder)
    processor.save_pretrained(folder)
    return model


def _taught(model: Any, folder: Path, batch: Callable[[], dict[str, Any]], steps: int, spoil: bool = False) -> Path:
    if steps:
        _teach(model, batch, steps)
    if spoil:
        weights = (weight for name, weight in model.named_parameters() if "embed_tokens" in name or "shared" in name)
        with torch.no_grad():
            next(weights).fill_(float("nan"))
    model.eval().save_pretrained(folder)
    transformers.logging.set_verbosity_error()
    return folder


def noted(folder: Path, to: Path, marks: object) -> Path:
    from spatial_vlm_ros.vlm.remedies.learned import FIELD

    shutil.copytree(folder, to)
    config = json.loads((to / "config.json").read_text())
    (to / "config.json").write_text(json.dumps({**config, FIELD: marks}))
    return to


SIDE = 56  # of the image that both models see, pixels
TEXT, VISION = CONFIGS["text"], CONFIGS["vision"]

INTERNVL_TOKENS = (
    *("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<IMG_CONTEXT>", "<img>", "</img>", "<video>"),
    *("<ref>", "</ref>", "<box>", "</box>"),
)


def paligemma_folder(folder: Path, lessons: Sequence[Lesson], steps: int = 1500) -> Path:
    """Save a tiny PaliGemma that learnt the lessons; its location tokens are those of its real processor."""
    torch.manual_seed(SEED)
    special = ("<pad>", "<eos>", "<bos>", "<image>")
    tokenizer = _tokenizer(special, _pieces(lessons), "<eos>", "<pad>", "<bos>", image_token="<image>")  # noqa: S106
    tokens = (SIDE // 14) ** 2
    images = SiglipImageProcessorPil(size={"height": SIDE, "width": SIDE}, image_seq_length=tokens)
    images.image_seq_length = tokens
    processor = transformers.PaliGemmaProcessor(images, tokenizer)
    config = transformers.PaliGemmaConfig(
        text_config={"model_type": "gemma", **TEXT, "vocab_size": len(tokenizer)},
        vision_config={"model_type": "siglip_vision_model", **VISION, "image_size": SIDE, "patch_size": 14},
        projection_dim=64,
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
    )
    model = transformers.PaliGemmaForConditionalGeneration(config)
    _settled(model, tokenizer, folder, processor, bos_token_id=tokenizer.bos_token_id, do_sample=True)
    return _taught(model, folder, lambda: _paligemma_batch(tokenizer, images, lessons, tokens), steps)


def _paligemma_batch(tokenizer: Any, images: Any, lessons: Sequence[Lesson], tokens: int) -> dict[str, Any]:
    asked = ["<image>" * tokens + f"<bos>{lesson.question}\n" for lesson in lessons]
    batch = _conversations(tokenizer, asked, [f"{lesson.reply}<eos>" for lesson in lessons])
    prompts = torch.tensor([len(tokenizer.encode(text)) for text in asked])
    types = (torch.arange(batch["input_ids"].shape[1]) >= prompts[:, None]).long()
    seen = images(images=[Image.fromarray(lesson.rgb) for lesson in lessons], return_tensors="pt")
    return {**batch, "token_type_ids": types, **seen}


def internvl_folder(folder: Path, lessons: Sequence[Lesson], steps: int = 1500) -> Path:
    """Save a tiny InternVL that learnt the lessons; <ref> and <box> are special tokens, as in published ones."""
    torch.manual_seed(SEED)
    roles = {"start_image_token": "<img>", "end_image_token": "</img>"}
    roles |= {"context_image_token": "<IMG_CONTEXT>", "video_token": "<video>"}
    tokenizer = _tokenizer(INTERNVL_TOKENS, _pieces(lessons), "<|im_end|>", "<|endoftext|>", **roles)
    tokenizer.chat_template = CHAT_TEMPLATE.replace("IMAGE", "<IMG_CONTEXT>\n")
    images = GotOcr2ImageProcessorPil(size={"height": SIDE, "width": SIDE}, max_patches=2)
    tokens = (SIDE // 14 // 2) ** 2
    config = transformers.InternVLConfig(
        text_config={"model_type": "qwen2", **TEXT, "vocab_size": len(tokenizer)},
        vision_config={**VISION, "image_size": [SIDE, SIDE], "patch_size": [14, 14]},
        downsample_ratio=0.5,
        image_token_id=tokenizer.convert_tokens_to_ids("<IMG_CONTEXT>"),
        image_seq_length=tokens,
    )
    model = transformers.InternVLForConditionalGeneration(config)
    _settled(model, tokenizer, folder, images, do_sample=True, repetition_penalty=1.5)
    described = {"processor_class": "InternVLProcessor", "image_seq_length": tokens}
    (folder / "processor_config.json").write_text(json.dumps(described))
    return _taught(model, folder, lambda: _internvl_batch(tokenizer, images, lessons, tokens), steps)


def _internvl_batch(tokenizer: Any, images: Any, lessons: Sequence[Lesson], tokens: int) -> dict[str, Any]:
    seen = images(images=[Image.fromarray(lesson.rgb) for lesson in lessons], return_tensors="pt", crop_to_patches=True)
    counts = seen.pop("num_patches").tolist()
    shown = ["<img>" + "<IMG_CONTEXT>" * tokens * count + "</img>\n" for count in counts]
    return {**_chats(tokenizer, lessons, shown), **seen}


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
    """Save a tiny LLaVA that learnt the lessons on padded squares; the words of `known` are in its tokenizer only."""
    from small_scorers import vision_config

    from spatial_vlm_lab.adaptation.models import with_encoder

    torch.manual_seed(SEED)
    pieces = _pieces([*lessons, *known, Lesson(lessons[0].rgb, before, "ASSISTANT")])
    special = ("<pad>", "<s>", "</s>", "<image>")
    tokenizer = _tokenizer(special, pieces, "</s>", "<pad>", "<s>", image_token="<image>")  # noqa: S106
    if encoder in ("clip", "aimv2"):
        images: Any = CLIPImageProcessorPil(size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE})
    else:
        images = SiglipImageProcessorPil(size={"height": SIDE, "width": SIDE})
    plain = transformers.LlavaConfig(
        vision_config=vision_config("clip", 32, 2, 2, SIDE, 14),
        text_config={"model_type": "llama", **TEXT, "vocab_size": len(tokenizer)},
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
    )
    config = with_encoder(plain, vision_config(encoder, 32, 2, 2, SIDE, 14))
    model = transformers.LlavaForConditionalGeneration(config)
    processor = transformers.LlavaProcessor(
        images,
        tokenizer,
        patch_size=14,
        vision_feature_select_strategy=config.vision_feature_select_strategy,
        num_additional_image_tokens=int(encoder == "clip"),
        chat_template=LLAVA_TEMPLATE,
    )
    _settled(model, tokenizer, folder, processor, bos_token_id=tokenizer.bos_token_id, do_sample=True)
    prepare(model)
    return _taught(model, folder, lambda: _llava_batch(tokenizer, images, lessons, before), steps)


def _llava_batch(tokenizer: Any, images: Any, lessons: Sequence[Lesson], before: str) -> dict[str, Any]:
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


def molmo2_tokenizer() -> Any:
    """A tokenizer with the special tokens of Molmo 2; it knows no words."""
    tokenizer = _tokenizer(MOLMO2_TOKENS, _pieces([]), "<|im_end|>", "<|endoftext|>")
    tokenizer.chat_template = CHAT_TEMPLATE.replace("IMAGE", "<|image|>")
    return tokenizer


def molmo2_folder(folder: Path) -> Path:
    torch.manual_seed(SEED)
    tokenizer, size = molmo2_tokenizer(), {"height": SIDE, "width": SIDE}
    images = transformers.Molmo2ImageProcessor(size=size, max_crops=2, overlap_margins=[1, 1])
    names = {
        **{"image_start_token_id": "<im_start>", "low_res_image_start_token_id": "<low_res_im_start>"},
        **{"image_end_token_id": "<im_end>", "image_patch_id": "<im_patch>"},
        **{"frame_start_token_id": "<frame_start>", "frame_end_token_id": "<frame_end>"},
    }
    heads = {"num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 16}
    vision = {**VISION, **heads, "num_hidden_layers": 3, "image_size": [SIDE, SIDE], "patch_size": 14}
    adapter = {"hidden_size": 32, "intermediate_size": 64, **heads, "text_hidden_size": TEXT["hidden_size"]}
    config = transformers.Molmo2Config(
        vision_config={**vision, "num_position_embeddings": (SIDE // 14) ** 2},
        adapter_config={**adapter, "vision_feature_layer": [-1]},
        text_config={**TEXT, "vocab_size": len(tokenizer), "additional_vocab_size": 8},
        **{key: tokenizer.convert_tokens_to_ids(token) for key, token in names.items()},
    )
    model = transformers.Molmo2ForConditionalGeneration(config)
    videos, chat = transformers.Molmo2VideoProcessor(), tokenizer.chat_template
    _settled(model, tokenizer, folder, transformers.Molmo2Processor(images, videos, tokenizer, chat_template=chat))
    return _taught(model, folder, dict, 0)
