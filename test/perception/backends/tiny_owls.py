# SPDX-License-Identifier: Apache-2.0
"""OWL-ViT and OWLv2: real classes of transformers at a tiny size with random weights, and graphs made of them."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from transformers import (
    CLIPTokenizer,
    Owlv2Config,
    Owlv2ForObjectDetection,
    Owlv2ImageProcessorPil,
    Owlv2Processor,
    OwlViTConfig,
    OwlViTForObjectDetection,
    OwlViTImageProcessorPil,
    OwlViTProcessor,
)

SIDES, PATCHES = {"owlvit": 96, "owlv2": 64}, {"owlvit": 6, "owlv2": 4}
FILLER, LENGTH = "!", 32
LETTERS = "abcdefghijklmnopqrstuvwxyz"
PHRASES = ("cat", "soup can", "dog")


def tokenizer() -> CLIPTokenizer:
    """CLIP's scheme with letters for words; as in published ones "!" is 0 and the end has the greatest number."""
    tokens = [FILLER, *LETTERS, *(f"{letter}</w>" for letter in LETTERS), "<|startoftext|>", "<|endoftext|>"]
    vocabulary = {token: n for n, token in enumerate(tokens)}
    return CLIPTokenizer(vocab=vocabulary, merges=[], pad_token=FILLER, model_max_length=LENGTH)


def owl(family: str, side: int = 0, length: int = LENGTH) -> Any:
    """A detector of random weights whose scores differ between phrases and boxes.

    Args:
        family: model_type.
        side: of its images in pixels; 0 = SIDES.
        length: tokens of its texts.
    """
    side = side or SIDES[family]
    words = {"vocab_size": 55, "bos_token_id": 53, "eos_token_id": 54, "max_position_embeddings": length,
             "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}  # fmt: skip
    pixels = {"hidden_size": 48, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2,
              "image_size": side, "patch_size": side // PATCHES[family]}  # fmt: skip
    torch.manual_seed(0)
    if family == "owlvit":
        model: Any = OwlViTForObjectDetection(OwlViTConfig(text_config=words, vision_config=pixels, projection_dim=32))
    else:
        model = Owlv2ForObjectDetection(Owlv2Config(text_config=words, vision_config=pixels, projection_dim=32))
    with torch.no_grad():
        for name, value in model.named_parameters():
            if value.ndim > 1:  # weights as large as trained ones; as initialised all boxes score alike
                value.normal_(
                    0.0,
                    0.4 if "class_head" in name else 0.05 if "box_head" in name else 0.15 if value.ndim == 2 else 0.01,
                )
    return model.eval()


def processor(family: str, side: int = 0) -> Any:
    size = {"height": side or SIDES[family], "width": side or SIDES[family]}
    if family == "owlvit":
        return OwlViTProcessor(OwlViTImageProcessorPil(size=size, crop_size=size), tokenizer())
    return Owlv2Processor(Owlv2ImageProcessorPil(size=size), tokenizer())


def saved_owl(folder: Path, family: str) -> Path:
    """A folder as `save_pretrained` writes it."""
    owl(family).save_pretrained(folder)
    processor(family).save_pretrained(folder)
    return folder


def published(folder: Path, model: Any, dynamic: bool = True) -> Path:
    """A folder with one graph for text and image, with the names that published ones have."""
    (folder / "onnx").mkdir(parents=True)
    family, side = model.config.model_type, model.config.vision_config.image_size
    prepared_by, length = processor(family, side), model.config.text_config.max_position_embeddings
    tokens = prepared_by.tokenizer(["cat", "dog"], padding="max_length", max_length=length, return_tensors="pt")
    pixels = torch.zeros(1, 3, side, side)

    class Whole(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, input_ids: Any, pixel_values: Any, attention_mask: Any) -> Any:
            output = self.model(input_ids=input_ids, pixel_values=pixel_values, attention_mask=attention_mask)
            return output.logits, output.pred_boxes, output.text_embeds

    any_number = {0: torch.export.Dim("texts", min=1, max=256)} if dynamic else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            Whole(),
            (tokens["input_ids"], pixels, tokens["attention_mask"]),
            folder / "onnx" / "model.onnx",
            input_names=["input_ids", "pixel_values", "attention_mask"],
            output_names=["logits", "pred_boxes", "text_embeds"],
            dynamic_shapes={"input_ids": any_number, "pixel_values": {}, "attention_mask": any_number},
            external_data=False,
            dynamo=True,
            verbose=False,
        )
    prepared_by.tokenizer.save_pretrained(folder)
    model.config.save_pretrained(folder)
    told = json.loads(prepared_by.image_processor.to_json_string())
    (folder / "preprocessor_config.json").write_text(json.dumps(told))
    return folder


def by_transformers(
    family: str, rgb: npt.NDArray[np.uint8], texts: list[str], threshold: float
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Boxes (K, 4), scores (K,) and number of the text (K,), as transformers' own classes find them."""
    model, prepared_by = owl(family), processor(family)
    text = {"padding": "max_length", "max_length": LENGTH}
    inputs = prepared_by(images=[rgb], text=[texts], return_tensors="pt", text_kwargs=text)
    with torch.inference_mode():
        output = model(**inputs)
    found = prepared_by.image_processor.post_process_object_detection(output, threshold, [rgb.shape[:2]])[0]
    return found["boxes"].double().numpy(), found["scores"].double().numpy(), found["labels"].numpy()
