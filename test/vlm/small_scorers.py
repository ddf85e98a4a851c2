# SPDX-License-Identifier: Apache-2.0
"""Classes of published models with a few thousand random weights, inputs for them, and their processors and scorers."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import transformers
from transformers.masking_utils import eager_mask

from spatial_vlm_ros.perception.backends.vlm import without_videos
from spatial_vlm_ros.vlm.diagnostics.candidates import CandidateScorer
from spatial_vlm_ros.vlm.diagnostics.items import ProbeItem

SPECIAL = ("<pad>", "<unk>", "<image>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")
PALIGEMMA = "<image>{question}"
"""Template of a prompt, where the processor brings none."""
PALIGEMMA_WARNS = "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"
"""Filter of a warning that its processor causes in torch, of what it makes labels from."""
PIECE = r"[A-Za-z]+|[\s\S]"
ENCODERS: dict[str, tuple[Any, dict[str, bool]]] = {
    "clip": (transformers.CLIPVisionModel, {}),
    "siglip": (transformers.SiglipVisionModel, {"vision_use_head": False}),
    "siglip2": (transformers.SiglipVisionModel, {"vision_use_head": False}),
    "aimv2": (transformers.Aimv2VisionModel, {"use_head": False}),
}
"""Kind of vision encoder that LLaVA takes → its class, and what leaves out its pooling head."""


def vision_config(
    kind: str, hidden_size: int = 32, layers: int = 3, heads: int = 2, image_size: int = 32, patch_size: int = 8,
    wide: int | None = None,
) -> Any:  # fmt: skip
    model, without = ENCODERS[kind]
    return model.config_class(
        hidden_size=hidden_size, num_hidden_layers=layers, num_attention_heads=heads, image_size=image_size,
        patch_size=patch_size, intermediate_size=wide or (256 if kind == "aimv2" else 4 * hidden_size), **without,
    )  # fmt: skip


def tokenizer(items: Sequence[ProbeItem]) -> Any:
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

    texts = [" ".join((i.plain.question, i.paraphrase, *i.plain.choices)) for i in items]
    pieces = sorted({piece for text in texts for piece in re.findall(PIECE, f"{text} Answer with one of: , .\n")})
    vocabulary = {token: number for number, token in enumerate([*SPECIAL, *pieces])}
    inner = Tokenizer(models.WordLevel(vocabulary, "<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Split(Regex(PIECE), "isolated")
    inner.decoder = decoders.Fuse()
    roles = {"pad_token": SPECIAL[0], "unk_token": SPECIAL[1], "additional_special_tokens": list(SPECIAL[2:])}
    return transformers.PreTrainedTokenizerFast(tokenizer_object=inner, **roles)


def template(kind: str) -> str:
    image = "<image>" if kind == "llava" else "<|vision_start|><|image_pad|><|vision_end|>"
    begin = "{% for m in messages %}{% for part in m.content %}{% if part.type == 'image' %}"
    return begin + image + "{% else %}{{ part.text }}{% endif %}{% endfor %}\n{% endfor %}"


def small_scorer(kind: str, items: Sequence[ProbeItem], seed: int = 0) -> CandidateScorer:
    """The class of a published checkpoint with its processor, of few random weights."""
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    if kind == "paligemma":
        return _small_paligemma(items, seed)
    words = tokenizer(items)
    model = small_vlm(kind, seed, vocab_size=max(len(words), 60))
    names = ("<image>", "<image>") if kind == "llava" else ("<|image_pad|>", "<|video_pad|>")
    model.config.image_token_id = words.convert_tokens_to_ids(names[0])
    if kind == "llava":
        told = {"patch_size": 8, "vision_feature_select_strategy": "default", "num_additional_image_tokens": 1}
        images = CLIPImageProcessorPil(size={"height": 32, "width": 32}, do_center_crop=False)
        roles = {"chat_template": template(kind), "image_token": SPECIAL[2]}
        return CandidateScorer(model, transformers.LlavaProcessor(images, words, **told, **roles))
    ids = {"video_token_id": "<|video_pad|>", "vision_start_token_id": "<|vision_start|>"}
    for name, token in {**ids, "vision_end_token_id": "<|vision_end|>"}.items():
        setattr(model.config, name, words.convert_tokens_to_ids(token))
    patch = 16 if kind == "qwen3_vl" else 14
    edges = dict.fromkeys(("shortest_edge", "longest_edge"), (8 * patch) ** 2)
    images = Qwen2VLImageProcessorPil(patch_size=patch, size=edges)
    made = getattr(transformers, f"{QWEN[kind][0]}Processor")
    return CandidateScorer(model, without_videos(made)(images, words, chat_template=template(kind)))


def _small_paligemma(items: Sequence[ProbeItem], seed: int) -> CandidateScorer:
    """Without chat template, as published; its processor puts words for places and pieces into the tokenizer."""
    from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

    words = tokenizer(items)
    words.add_special_tokens({"bos_token": "<bos>"})
    images = SiglipImageProcessorPil(size={"height": 32, "width": 32}, image_seq_length=16)
    processor = transformers.PaliGemmaProcessor(images, words)
    model = small_vlm("paligemma", seed, vocab_size=len(words))
    model.config.image_token_id = processor.image_token_id
    return CandidateScorer(model, processor, PALIGEMMA)


WORDS, IMAGE, VIDEO, START, END = 60, 50, 51, 52, 53
"""Size of the vocabulary, and tokens of it with a meaning; 0 to 49 are words."""
KINDS = ("llava", "qwen2_5_vl", "qwen3_vl")
TEXT = {
    **{"vocab_size": WORDS, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 4},
    **{"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16, "max_position_embeddings": 512},
    **{"bos_token_id": None, "eos_token_id": None, "pad_token_id": None, "initializer_range": 0.2},
}
SECTIONS = {"rope_parameters": {"rope_type": "default", "mrope_section": [4, 2, 2], "rope_theta": 10000.0}}
TOKENS = {"image_token_id": IMAGE, "video_token_id": VIDEO, "vision_start_token_id": START, "vision_end_token_id": END}


def small_vlm(kind: str, seed: int = 0, dtype: torch.dtype = torch.float32, **text: Any) -> Any:
    """A model of a kind, a key of `ARCHITECTURES`, with 4 x 4 tokens for an image; `text` changes its decoder."""
    torch.manual_seed(seed)
    return (_qwen if kind in QWEN else _llava_or_paligemma)(kind, text).to(dtype).eval()


def prompt(kind: str, words: int = 6, seed: int = 0, dtype: torch.dtype = torch.float32) -> dict[str, torch.Tensor]:
    """One image of noise between some words, as a processor would give it to `model(**inputs)`."""
    rng = torch.Generator().manual_seed(seed)
    before, after = torch.randint(0, 50, (2, words), generator=rng).tolist()
    image = [IMAGE] * 16
    ids = [*before, *([START] if "qwen" in kind else []), *image, *([END] if "qwen" in kind else []), *after]
    input_ids = torch.tensor([ids])
    given = {"input_ids": input_ids, "attention_mask": torch.ones_like(input_ids)}
    if "qwen" not in kind:
        given["pixel_values"] = torch.randn(1, 3, 32, 32, generator=rng).to(dtype)
        if kind == "paligemma":
            given["token_type_ids"] = torch.zeros_like(input_ids)
        return given
    patch = 16 if kind == "qwen3_vl" else 14
    given["pixel_values"] = torch.randn(64, 3 * 2 * patch * patch, generator=rng).to(dtype)
    given["image_grid_thw"] = torch.tensor([[1, 8, 8]])
    given["mm_token_type_ids"] = (input_ids == IMAGE).int()
    return given


def entering(model: Any, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    """(N, D) what enters the first layer of the decoder."""
    seen: list[torch.Tensor] = []
    handle = model.model.language_model.layers[0].register_forward_pre_hook(
        lambda _m, given, named: seen.append(named.get("hidden_states", given[0] if given else None)), with_kwargs=True
    )
    with torch.no_grad():
        model(**inputs)
    handle.remove()
    return seen[0][0]


HIDDEN = {"hidden_size": 32, "intermediate_size": 64}
QWEN: dict[str, tuple[str, dict[str, Any]]] = {
    "qwen2_vl": ("Qwen2VL", {"embed_dim": 32, "mlp_ratio": 2, "patch_size": 14}),
    "qwen2_5_vl": ("Qwen2_5_VL", {**HIDDEN, "patch_size": 14, "window_size": 56, "fullatt_block_indexes": [1]}),
    "qwen3_vl": (
        "Qwen3VL", {**HIDDEN, "patch_size": 16, "num_position_embeddings": 64, "deepstack_visual_indexes": [0]}
    ),
}  # fmt: skip
"""Kind → how the names of its classes begin, and its encoder."""


def _qwen(kind: str, text: dict[str, Any]) -> Any:
    name, encoder = QWEN[kind]
    size = {("hidden_size" if kind == "qwen2_vl" else "out_hidden_size"): text.get("hidden_size", TEXT["hidden_size"])}
    vision = {**encoder, **size, "depth": 2, "num_heads": 2, "initializer_range": 0.2}
    config = getattr(transformers, f"{name}Config")
    model = getattr(transformers, f"{name}ForConditionalGeneration")
    return model(config(text_config={**TEXT, **SECTIONS, **text}, vision_config=vision, **TOKENS))


def _llava_or_paligemma(kind: str, text: dict[str, Any]) -> Any:
    sizes = {**HIDDEN, "num_attention_heads": 2, "image_size": 32, "patch_size": 8}
    if kind == "llava":
        vision = transformers.CLIPVisionConfig(**sizes, num_hidden_layers=4, initializer_factor=3.0)
        words = transformers.LlamaConfig(**{**TEXT, **text})
        config = transformers.LlavaConfig(vision_config=vision, text_config=words, image_token_id=IMAGE)
        return transformers.LlavaForConditionalGeneration(config)
    told = {"image_token_id": IMAGE, "projection_dim": 64, "hidden_size": 64}
    vision = {**sizes, "model_type": "siglip_vision_model", "num_hidden_layers": 2, "projection_dim": 64}
    words = {**TEXT, "model_type": "gemma", **text}
    config = transformers.PaliGemmaConfig(vision_config=vision, text_config=words, **told)
    return transformers.PaliGemmaForConditionalGeneration(config)


REFERENCE = "spatial_vlm_last_row_scaled"
_scaled: dict[Any, tuple[torch.Tensor, float]] = {}
"""Attention of a layer → image columns (N,) bool of the prompt, and the factor."""


@contextmanager
def last_row_scaled(parts: Any, columns: torch.Tensor, alpha: float) -> Iterator[None]:
    """Within this, attention is a function of our own that scales the image logits of the prompt's last row."""
    before = parts.language.config._attn_implementation
    parts.language.set_attn_implementation(REFERENCE)
    _scaled.update((layer.self_attn, (columns, alpha)) for layer in parts.layers)
    try:
        yield
    finally:
        for layer in parts.layers:
            _scaled.pop(layer.self_attn, None)
        parts.language.set_attn_implementation(before)


def scaled_attention(module: Any, query: Any, key: Any, value: Any, mask: Any, scaling: float, **_: Any) -> Any:
    """A call belongs to the prompt if it has as many keys as the prompt has tokens; others are not changed."""
    heads = query.shape[1] // key.shape[1]
    logits = query @ key.repeat_interleave(heads, dim=1).transpose(2, 3) * scaling
    columns, alpha = _scaled[module]
    if key.shape[2] == len(columns):
        logits[:, :, -1] *= torch.where(columns, alpha, 1.0).to(logits)
    logits = logits if mask is None else logits + mask
    weights = logits.softmax(dim=-1, dtype=torch.promote_types(logits.dtype, torch.float32)).to(query.dtype)
    return (weights @ value.repeat_interleave(heads, dim=1)).transpose(1, 2).contiguous(), weights


transformers.AttentionInterface.register(REFERENCE, scaled_attention)
transformers.AttentionMaskInterface.register(REFERENCE, eager_mask)  # otherwise tokens see later ones
