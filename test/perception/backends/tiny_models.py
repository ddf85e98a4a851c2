# SPDX-License-Identifier: Apache-2.0
"""Real model classes at a size that trains in seconds, with their processors; nothing is downloaded.

The detectors learn two images that differ only in which side is red and which is blue: words decide about boxes, and
pixels decide where they are.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from transformers import (
    BertConfig,
    BertTokenizer,
    GroundingDinoConfig,
    GroundingDinoForObjectDetection,
    GroundingDinoImageProcessorPil,
    GroundingDinoProcessor,
    MMGroundingDinoConfig,
    MMGroundingDinoForObjectDetection,
    Sam2Config,
    Sam2HieraDetConfig,
    Sam2MaskDecoderConfig,
    Sam2Model,
    Sam2PromptEncoderConfig,
    Sam2VisionConfig,
    SwinConfig,
)

from spatial_vlm_ros.perception.backends.sam2 import Preparation

Rgb = npt.NDArray[np.uint8]
Box = tuple[int, int, int, int]

WORDS = ("cat", "cup", "dog", "soup", "can", "opener", "object", "box", "##s", "a", "red", "-")
WIDTH, HEIGHT = 96, 64
LEFT: Box = (10, 12, 34, 40)
RIGHT: Box = (56, 20, 88, 56)
RED, BLUE = (220, 40, 40), (40, 60, 220)
SAM_SIDE = 128


def image(left: tuple[int, int, int] = RED, right: tuple[int, int, int] = BLUE) -> Rgb:
    """A rectangle at LEFT and one at RIGHT on grey; (HEIGHT, WIDTH, 3) uint8."""
    rgb = np.full((HEIGHT, WIDTH, 3), 120, np.uint8)
    for (x0, y0, x1, y1), colour in ((LEFT, left), (RIGHT, right)):
        rgb[y0:y1, x0:x1] = colour
    return rgb


def bert_tokenizer(folder: Path, words: Sequence[str] = WORDS) -> BertTokenizer:
    """A BERT tokenizer of few words; its special tokens have the numbers that Grounding DINO has built in.

    (101 [CLS], 102 [SEP], 1012 full stop, 1029 question mark: `SPECIAL_TOKENS` of modeling_grounding_dino.)
    """
    vocabulary = [f"[unused{n}]" for n in range(1100)]
    vocabulary[0], vocabulary[100:104] = "[PAD]", ["[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    vocabulary[1012], vocabulary[1029] = ".", "?"
    vocabulary[1040 : 1040 + len(words)] = list(words)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "vocab.txt"
    path.write_text("\n".join(vocabulary))
    return BertTokenizer(str(path), do_lower_case=True)


DETECTORS = {
    "grounding-dino": (GroundingDinoForObjectDetection, GroundingDinoConfig),
    "mm-grounding-dino": (MMGroundingDinoForObjectDetection, MMGroundingDinoConfig),
}


def grounding_dino(kind: str, backbone: SwinConfig, **parts: Any) -> Any:
    """A detector of random weights; `kind` is its model_type."""
    text = BertConfig(
        vocab_size=1100, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64,
        hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    shared: dict[str, Any] = {
        "decoder_layers": 2, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64, "encoder_attention_heads": 4,
        "decoder_attention_heads": 4, "d_model": 32, "disable_custom_kernels": True,
    }  # fmt: skip
    made, config = DETECTORS[kind]
    torch.manual_seed(0)
    return made(config(backbone_config=backbone, text_config=text, **shared, **parts)).eval()


def grounding_dino_processor(folder: Path, shortest: int, longest: int) -> GroundingDinoProcessor:
    images = GroundingDinoImageProcessorPil(size={"shortest_edge": shortest, "longest_edge": longest})
    return GroundingDinoProcessor(images, bert_tokenizer(folder))


def teach_detector(model: Any, processor: Any, steps: int = 250) -> None:
    """Teach that the red rectangle is a cat, the blue one a soup can, and that there is no dog."""
    texts = [["cat", "soup can", "dog"]] * 2
    inputs = processor(images=[image(RED, BLUE), image(BLUE, RED)], text=texts, return_tensors="pt")
    boxes = torch.tensor([_relative(LEFT), _relative(RIGHT)])
    labels = [{"class_labels": torch.tensor(order), "boxes": boxes} for order in ([0, 1], [1, 0])]
    train(model, lambda: model(**inputs, labels=labels).loss, steps)


def _relative(box: Box) -> list[float]:
    x0, y0, x1, y1 = box
    return [(x0 + x1) / 2 / WIDTH, (y0 + y1) / 2 / HEIGHT, (x1 - x0) / WIDTH, (y1 - y0) / HEIGHT]


def saved_detector(folder: Path, kind: str, *, taught: bool) -> Path:
    """A folder with a detector and its processor as `save_pretrained` writes them; each patch is a query."""
    backbone = SwinConfig(
        image_size=64, patch_size=4, embed_dim=16, depths=[1, 1, 1], num_heads=[2, 2, 2], window_size=4,
        out_indices=[3], drop_path_rate=0.0,
    )  # fmt: skip
    model = grounding_dino(
        kind, backbone, num_queries=24, encoder_layers=1, num_feature_levels=1, max_text_len=16, dropout=0.0,
        fusion_droppath=0.0,
    )  # fmt: skip
    processor = grounding_dino_processor(folder, HEIGHT, WIDTH)
    if taught:
        teach_detector(model, processor)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def sam2(seed: int = 0) -> Sam2Model:
    """SAM 2 of random weights for squares of SAM_SIDE pixels."""
    side = SAM_SIDE
    backbone = Sam2HieraDetConfig(
        hidden_size=16, num_attention_heads=1, image_size=[side, side], patch_kernel_size=[7, 7], patch_stride=[4, 4],
        patch_padding=[3, 3], query_stride=[2, 2], window_positional_embedding_background_size=[7, 7],
        num_query_pool_stages=3, blocks_per_stage=[1, 1, 2, 1], embed_dim_per_stage=[16, 32, 64, 128],
        num_attention_heads_per_stage=[1, 2, 2, 4], window_size_per_stage=[8, 4, 4, 4], global_attention_blocks=[3],
    )  # fmt: skip
    vision = Sam2VisionConfig(
        backbone_config=backbone, backbone_channel_list=[128, 64, 32, 16], fpn_hidden_size=32,
        backbone_feature_sizes=[[side // 4, side // 4], [side // 8, side // 8], [side // 16, side // 16]],
    )  # fmt: skip
    prompt = Sam2PromptEncoderConfig(hidden_size=32, image_size=side, patch_size=16)
    decoder = Sam2MaskDecoderConfig(hidden_size=32, mlp_dim=64, num_attention_heads=2, iou_head_hidden_dim=32)
    torch.manual_seed(seed)
    return Sam2Model(Sam2Config(vision_config=vision, prompt_encoder_config=prompt, mask_decoder_config=decoder)).eval()


def shapes() -> tuple[Rgb, npt.NDArray[np.bool_]]:
    """A red disc inside LEFT and a blue diamond inside RIGHT, and their masks (2, HEIGHT, WIDTH)."""
    y, x = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    disc = (x - 22) ** 2 + (y - 26) ** 2 < 11.5**2
    diamond = np.abs(x - 72) / 16 + np.abs(y - 38) / 18 < 1
    rgb = np.full((HEIGHT, WIDTH, 3), 120, np.uint8)
    rgb[disc], rgb[diamond] = RED, BLUE
    return rgb, np.stack([disc, diamond])


def teach_segmenter(model: Sam2Model, steps: int = 250) -> None:
    """Teach prompt encoder and mask decoder the masks of the two shapes for their boxes; what sees stays random."""
    rgb, masks = shapes()
    seen = model.get_image_embeddings(SAM_PREPARATION(rgb, torch.device("cpu")))
    scale = torch.tensor([SAM_SIDE / WIDTH, SAM_SIDE / HEIGHT] * 2)
    boxes = torch.tensor([[LEFT, RIGHT]], dtype=torch.float32) * scale
    target = torch.from_numpy(masks).float()[:, None]

    def loss() -> torch.Tensor:
        low = model(image_embeddings=list(seen), input_boxes=boxes, multimask_output=False).pred_masks[0]
        logits = torch.nn.functional.interpolate(low, (HEIGHT, WIDTH), mode="bilinear", align_corners=False)
        likely = logits.sigmoid()
        dice = 1 - 2 * (likely * target).sum((1, 2, 3)) / (likely + target).sum((1, 2, 3))
        return torch.nn.functional.binary_cross_entropy_with_logits(logits, target) + dice.mean()

    train(model, loss, steps)


def teach_points(model: Sam2Model, steps: int = 250) -> None:
    """Teach the masks of the two shapes for points on them, as the second of three masks and with the highest score."""
    rgb, masks = shapes()
    seen = model.get_image_embeddings(SAM_PREPARATION(rgb, torch.device("cpu")))
    scale = torch.tensor([SAM_SIDE / WIDTH, SAM_SIDE / HEIGHT])
    places = [[(22, 26), (19, 23), (27, 30)], [(72, 38), (69, 41), (76, 32)]]
    points = torch.tensor(places, dtype=torch.float32).view(1, 6, 1, 2) * scale
    labels = torch.ones((1, 6, 1), dtype=torch.int32)
    target = torch.from_numpy(masks).float()[:, None].repeat_interleave(3, 0)
    scores = torch.tensor([0.0, 1.0, 0.0]).expand(6, 3)

    def loss() -> torch.Tensor:
        output = model(image_embeddings=list(seen), input_points=points, input_labels=labels, multimask_output=True)
        low = output.pred_masks[0][:, 1:2]
        logits = torch.nn.functional.interpolate(low, (HEIGHT, WIDTH), mode="bilinear", align_corners=False)
        likely = logits.sigmoid()
        dice = 1 - 2 * (likely * target).sum((1, 2, 3)) / (likely + target).sum((1, 2, 3))
        masked = torch.nn.functional.binary_cross_entropy_with_logits(logits, target) + dice.mean()
        return masked + torch.nn.functional.mse_loss(output.iou_scores[0], scores)

    train(model, loss, steps)


SAM_PREPARATION = Preparation(SAM_SIDE, 1 / 255, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def saved_segmenter(folder: Path, *, taught: bool, points: bool = False) -> Path:
    """A folder with SAM 2, which learned masks for boxes or for points, and the preparation of published folders."""
    model = sam2()
    if taught:
        (teach_points if points else teach_segmenter)(model)
    model.save_pretrained(folder)
    content = {
        "image_processor_type": "Sam2ImageProcessorFast",
        "processor_class": "Sam2Processor",
        "size": {"height": SAM_SIDE, "width": SAM_SIDE},
        "rescale_factor": SAM_PREPARATION.factor,
        "image_mean": list(SAM_PREPARATION.mean),
        "image_std": list(SAM_PREPARATION.std),
        "resample": 2,
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(content))
    return folder


def train(model: Any, loss: Callable[[], torch.Tensor], steps: int, rate: float = 2e-3) -> None:
    """Lower a loss by AdamW, and leave the model ready for inference."""
    optimiser = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, steps)
    model.train()
    for _ in range(steps):
        optimiser.zero_grad()
        loss().backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        optimiser.step()
        schedule.step()
    model.eval()


# ------------------------------------------------------------------------------------------------ random detectors


KINDS = tuple(DETECTORS)


def dino(kind: str, longest_text: int = 24, own_heads: bool = False) -> Any:
    """A detector of random weights whose scores differ between phrases and boxes, with all parts of published ones.

    It has two stages of Swin with shifted windows, a level of features more than Swin gives, and more places in the
    image than boxes.

    Args:
        kind: model_type.
        longest_text: tokens of its texts.
        own_heads: MM-Grounding-DINO: whether each layer of the decoder has a head of its own, as published ones have.
    """
    backbone = SwinConfig(image_size=64, patch_size=4, embed_dim=16, depths=[2, 2], num_heads=[2, 2], window_size=3,
                          out_indices=[1, 2])  # fmt: skip
    heads = {"decoder_bbox_embed_share": False, "decoder_cls_embed_share": False} if own_heads else {}
    model = grounding_dino(
        kind, backbone, num_queries=40, encoder_layers=2, num_feature_levels=3, max_text_len=longest_text, **heads
    )
    with torch.no_grad():
        for name, value in model.named_parameters():
            if "vision_param" in name or "text_param" in name:  # 1e-4 as initialised: image and text would not meet
                value.fill_(0.1)
            elif value.ndim > 1 and "bbox_embed" in name:
                value.normal_(0.0, 0.2)
            elif value.ndim > 1:
                value.normal_(0.0, 0.8 / value.shape[-1] ** 0.5 if value.ndim == 2 else 0.1)
            elif kind == "grounding-dino" and ("decoder.layer_norm.w" in name or "enc_output_norm.w" in name):
                value.fill_(0.2)  # MM-Grounding-DINO divides by the root of their length instead
            elif "class_embed" in name:
                value.zero_()
    return model.eval()


def saved_dino(folder: Path, kind: str) -> Path:
    """A folder as `save_pretrained` writes it."""
    prepared_by = grounding_dino_processor(folder, 60, 100)
    dino(kind, own_heads=kind == "mm-grounding-dino").save_pretrained(folder)
    prepared_by.save_pretrained(folder)
    return folder
