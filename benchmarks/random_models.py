# SPDX-License-Identifier: Apache-2.0
"""Write models of published sizes with random weights, as checkpoint folders; their detections mean nothing.

Sizes are those of the published config.json; other values are the defaults of transformers' configuration.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

TOKENS = {
    "florence": ("<s>", "<pad>", "</s>", "<image>"),
    "qwen": ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>",
             "<|video_pad|>"),
}  # fmt: skip
_UNKNOWN = "<unk>"
_CHAT = (
    "{% for message in messages %}<|im_start|>user\n{% for part in message.content %}"
    "{% if part.type == 'image' %}<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ part.text }}{% endif %}"
    "{% endfor %}<|im_end|>\n{% endfor %}<|im_start|>assistant\n"
)


def save_grounding_dino(
    folder: Path, small: bool, sides: tuple[int, int] = (800, 1333), family: str = "grounding-dino"
) -> None:
    """Write Grounding DINO tiny, 172 million weights, or MM-Grounding-DINO tiny.

    Args:
        folder: output folder.
        small: whether the model has one layer and small images.
        sides: shortest and longest side of its images, pixels.
        family: "grounding-dino" or "mm-grounding-dino", whose decoder's layers share no heads (2401.02361).
    """
    import transformers
    from transformers import BertTokenizer, GroundingDinoImageProcessorPil, GroundingDinoProcessor

    layers: dict[str, Any] = {"encoder_layers": 1, "decoder_layers": 2, "num_queries": 20} if small else {}
    kind = "GroundingDino"
    if family == "mm-grounding-dino":
        kind = "MMGroundingDino"
        layers |= {"decoder_bbox_embed_share": False, "decoder_cls_embed_share": False}
    config = getattr(transformers, f"{kind}Config")(**layers)
    getattr(transformers, f"{kind}ForObjectDetection")(config).save_pretrained(folder)
    vocabulary = [f"[unused{n}]" for n in range(30522)]
    vocabulary[0], vocabulary[100:104] = "[PAD]", ["[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    vocabulary[1012], vocabulary[1029] = ".", "?"
    vocabulary[2000:2005] = ["cup", "can", "box", "cat", "object"]
    (folder / "vocab.txt").write_text("\n".join(vocabulary))
    shortest, longest = (60, 80) if small else sides
    images = GroundingDinoImageProcessorPil(size={"shortest_edge": shortest, "longest_edge": longest})
    GroundingDinoProcessor(images, BertTokenizer(str(folder / "vocab.txt"))).save_pretrained(folder)


def save_sam2(folder: Path, small: bool) -> None:
    """SAM 2.1 Hiera tiny without its memory for videos, 31 million weights, 1024x1024 pixels."""
    import transformers

    config, side = transformers.Sam2Config(), 1024
    if small:
        side = 128
        backbone = transformers.Sam2HieraDetConfig(
            hidden_size=16, num_attention_heads=1, image_size=[side, side], blocks_per_stage=[1, 1, 2, 1],
            embed_dim_per_stage=[16, 32, 64, 128], num_attention_heads_per_stage=[1, 2, 2, 4],
            window_size_per_stage=[8, 4, 4, 4], global_attention_blocks=[3],
        )  # fmt: skip
        vision = transformers.Sam2VisionConfig(
            backbone_config=backbone, backbone_channel_list=[128, 64, 32, 16],
            backbone_feature_sizes=[[32, 32], [16, 16], [8, 8]],
        )  # fmt: skip
        prompts = transformers.Sam2PromptEncoderConfig(image_size=side)
        config = transformers.Sam2Config(vision_config=vision, prompt_encoder_config=prompts)
    transformers.Sam2Model(config).save_pretrained(folder)
    sizes = {"size": {"height": side, "width": side}, "rescale_factor": 1 / 255}
    normal = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
    (folder / "preprocessor_config.json").write_text(json.dumps(sizes | normal))


def save_florence2(folder: Path, small: bool) -> None:
    """Florence-2 base, 231 million weights, 768x768 pixels."""
    import transformers

    roles = {"bos_token": "<s>", "pad_token": "<pad>", "eos_token": "</s>"}
    tokenizer = _tokenizer(TOKENS["florence"], roles | {"extra_special_tokens": {"image_token": "<image>"}})
    tokenizer.add_tokens([*(f"<loc_{n}>" for n in range(1000)), "<poly>", "</poly>", "<sep>"])
    side, rows = (64, 5) if small else (768, 577)
    images = transformers.CLIPImageProcessorPil(
        size={"height": side, "width": side}, do_center_crop=False, image_seq_length=rows
    )
    kinds = ("description_with_bboxes_or_polygons", "phrase_grounding", "polygons")
    post = {name: dict[str, Any]() for name in kinds}
    transformers.Florence2Processor(images, tokenizer, post_processor_config=post).save_pretrained(folder)
    vision: dict[str, Any] = {"projection_dim": 768, "drop_path_rate": 0.0}
    words = {"d_model": 768, "encoder_layers": 6, "decoder_layers": 6, "encoder_ffn_dim": 3072, "decoder_ffn_dim": 3072}
    words |= {"encoder_attention_heads": 12, "decoder_attention_heads": 12}
    if small:
        vision = {"depths": [1] * 4, "embed_dim": [16, 16, 32, 32], "num_heads": [2] * 4, "num_groups": [2] * 4}
        vision |= {"window_size": 4, "projection_dim": 64, "drop_path_rate": 0.0}
        words = {"d_model": 64, "encoder_layers": 1, "decoder_layers": 1, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64}
        words |= {"encoder_attention_heads": 2, "decoder_attention_heads": 2}
    ids = {"bos_token_id": tokenizer.bos_token_id, "pad_token_id": tokenizer.pad_token_id}
    ids |= {"eos_token_id": tokenizer.eos_token_id, "decoder_start_token_id": tokenizer.eos_token_id}
    config = transformers.Florence2Config(
        vision_config=vision,
        text_config=transformers.BartConfig(vocab_size=51289, max_position_embeddings=1024, **words, **ids),
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        **ids,
    )
    model = transformers.Florence2ForConditionalGeneration(config)
    model.generation_config = transformers.GenerationConfig(**ids)
    model.save_pretrained(folder)


def save_qwen(folder: Path, small: bool) -> None:
    """Write Qwen2.5-VL-3B, 3755 million weights in bfloat16: 7.5 GB on disk, and as much memory while writing."""
    import transformers

    roles = {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"}
    tokenizer = _tokenizer(TOKENS["qwen"], roles)
    tokenizer.chat_template = _CHAT
    tokenizer.save_pretrained(folder)
    pixels = {"shortest_edge": 56 * 56, "longest_edge": 12845056}
    transformers.Qwen2VLImageProcessorPil(patch_size=14, size=pixels).save_pretrained(folder)
    sections = [2, 3, 3] if small else [16, 24, 24]
    words: dict[str, Any] = {"hidden_size": 2048, "intermediate_size": 11008, "num_hidden_layers": 36}
    words |= {"num_attention_heads": 16, "num_key_value_heads": 2, "max_position_embeddings": 128000}
    vision: dict[str, Any] = {"depth": 32, "hidden_size": 1280, "num_heads": 16, "out_hidden_size": 2048}
    if small:
        words = {"hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 4}
        words |= {"num_key_value_heads": 2, "max_position_embeddings": 8192}
        vision = {"depth": 2, "hidden_size": 32, "intermediate_size": 64, "num_heads": 2, "out_hidden_size": 64}
        vision |= {"fullatt_block_indexes": [1]}
    rope = {"rope_type": "default", "mrope_section": sections, "rope_theta": 1e6}
    names = {"image_token_id": "image_pad", "video_token_id": "video_pad"}
    names |= {"vision_start_token_id": "vision_start", "vision_end_token_id": "vision_end"}
    config = transformers.Qwen2_5_VLConfig(
        text_config={"vocab_size": 151936, "rope_parameters": rope, **words},
        vision_config=vision,
        tie_word_embeddings=True,
        **{key: tokenizer.convert_tokens_to_ids(f"<|{name}|>") for key, name in names.items()},
    )
    model = _filled(transformers.Qwen2_5_VLForConditionalGeneration, config)
    ends = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    model.generation_config = transformers.GenerationConfig(**ends)
    model.save_pretrained(folder)


def _filled(cls: Any, config: Any) -> Any:
    """Make a model with weights drawn in bfloat16; its class would draw them in float32, with twice the memory."""
    import torch

    with torch.device("meta"):
        model = cls(config)
    model = model.to(torch.bfloat16).to_empty(device="cpu")
    with torch.no_grad():
        for name, value in model.named_parameters():
            if value.ndim > 1:
                value.normal_(0.0, 0.02)
            else:
                value.fill_(float("norm" in name or "ln_q" in name))
    model.tie_weights()
    return model


def _tokenizer(special: Sequence[str], roles: dict[str, Any]) -> Any:
    """Make a tokenizer of single characters."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = dict.fromkeys([*special, _UNKNOWN, "\n", *(chr(code) for code in range(32, 127))])
    tokenizer = Tokenizer(models.WordLevel({word: n for n, word in enumerate(words)}, unk_token=_UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    tokenizer.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token=_UNKNOWN, additional_special_tokens=list(special), **roles
    )
