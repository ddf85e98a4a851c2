# SPDX-License-Identifier: Apache-2.0
"""Real model classes at a size that trains in seconds, with their processors; nothing is downloaded."""

import ast
import importlib.util
import json
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import transformers

from spatial_vlm_ros.perception.backends.sam2 import Preparation
from spatial_vlm_ros.types import Mask

Rgb = npt.NDArray[np.uint8]
Box = tuple[int, int, int, int]

CONFIGS = json.loads(Path(__file__).with_name("tiny_configs.json").read_text("utf-8"))
WORDS = ("cat", "cup", "dog", "soup", "can", "opener", "object", "box", "##s", "a", "red", "-")
WIDTH, HEIGHT = 96, 64
LEFT: Box = (10, 12, 34, 40)
RIGHT: Box = (56, 20, 88, 56)
RED, BLUE = (220, 40, 40), (40, 60, 220)
SAM_SIDE = 128


def image(left: tuple[int, int, int] = RED, right: tuple[int, int, int] = BLUE) -> Rgb:
    rgb = np.full((HEIGHT, WIDTH, 3), 120, np.uint8)
    for (x0, y0, x1, y1), colour in ((LEFT, left), (RIGHT, right)):
        rgb[y0:y1, x0:x1] = colour
    return rgb


def bert_tokenizer(folder: Path, words: Sequence[str] = WORDS) -> transformers.BertTokenizer:
    """A BERT tokenizer of few words; Grounding DINO has the numbers of its special tokens built in."""
    vocabulary = [f"[unused{n}]" for n in range(1100)]
    vocabulary[0], vocabulary[100:104] = "[PAD]", ["[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    vocabulary[1012], vocabulary[1029] = ".", "?"
    vocabulary[1040 : 1040 + len(words)] = list(words)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "vocab.txt"
    path.write_text("\n".join(vocabulary))
    return transformers.BertTokenizer(str(path), do_lower_case=True)


DETECTORS = {
    "grounding-dino": (transformers.GroundingDinoForObjectDetection, transformers.GroundingDinoConfig),
    "mm-grounding-dino": (transformers.MMGroundingDinoForObjectDetection, transformers.MMGroundingDinoConfig),
}


def grounding_dino(kind: str, form: str, **parts: Any) -> Any:
    made, config = DETECTORS[kind]
    torch.manual_seed(0)
    return made(config(**{**CONFIGS["grounding dino"], **CONFIGS[form], **parts})).eval()


def grounding_dino_processor(folder: Path, shortest: int, longest: int) -> transformers.GroundingDinoProcessor:
    images = transformers.GroundingDinoImageProcessorPil(size={"shortest_edge": shortest, "longest_edge": longest})
    return transformers.GroundingDinoProcessor(images, bert_tokenizer(folder))


def teach_detector(model: Any, processor: Any, steps: int = 160) -> None:
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
    model = grounding_dino(kind, "each patch a query")
    processor = grounding_dino_processor(folder, HEIGHT, WIDTH)
    if taught:
        teach_detector(model, processor)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def sam2() -> transformers.Sam2Model:
    torch.manual_seed(0)
    return transformers.Sam2Model(transformers.Sam2Config(**CONFIGS["sam2"])).eval()


def shapes() -> tuple[Rgb, npt.NDArray[np.bool_]]:
    """A red disc inside LEFT and a blue diamond inside RIGHT, and their masks (2, HEIGHT, WIDTH)."""
    y, x = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    disc = (x - 22) ** 2 + (y - 26) ** 2 < 11.5**2
    diamond = np.abs(x - 72) / 16 + np.abs(y - 38) / 18 < 1
    rgb = np.full((HEIGHT, WIDTH, 3), 120, np.uint8)
    rgb[disc], rgb[diamond] = RED, BLUE
    return rgb, np.stack([disc, diamond])


def teach_segmenter(model: Any, *, points: bool, steps: int = 160) -> None:
    """Teach the masks of the two shapes for their boxes, or, as the second and best of three, for points on them."""
    rgb, masks = shapes()
    seen = model.get_image_embeddings(SAM_PREPARATION(rgb, torch.device("cpu")))
    scale = torch.tensor([SAM_SIDE / WIDTH, SAM_SIDE / HEIGHT])
    target = torch.from_numpy(masks).float()[:, None].repeat_interleave(3 if points else 1, 0)
    if points:
        places = torch.tensor([[(22, 26), (19, 23), (27, 30)], [(72, 38), (69, 41), (76, 32)]], dtype=torch.float32)
        asked = {"input_points": places.view(1, 6, 1, 2) * scale, "input_labels": torch.ones((1, 6, 1)).int()}
    else:
        asked = {"input_boxes": torch.tensor([[LEFT, RIGHT]], dtype=torch.float32) * scale.repeat(2)}

    def loss() -> torch.Tensor:
        output = model(image_embeddings=list(seen), **asked, multimask_output=points)
        low = output.pred_masks[0][:, 1:2] if points else output.pred_masks[0]
        logits = torch.nn.functional.interpolate(low, (HEIGHT, WIDTH), mode="bilinear", align_corners=False)
        likely = logits.sigmoid()
        dice = 1 - 2 * (likely * target).sum((1, 2, 3)) / (likely + target).sum((1, 2, 3))
        wrong = torch.nn.functional.binary_cross_entropy_with_logits(logits, target) + dice.mean()
        if points:
            wrong += torch.nn.functional.mse_loss(output.iou_scores[0], torch.tensor([0.0, 1.0, 0.0]).expand(6, 3))
        return wrong

    train(model, loss, steps)


SAM_PREPARATION = Preparation(SAM_SIDE, 1 / 255, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def prepared_by(kind: str, side: int, preparation: Preparation) -> dict[str, Any]:
    size, mean, std = {"height": side, "width": side}, list(preparation.mean), list(preparation.std)
    told = {"image_processor_type": kind, "size": size, "rescale_factor": preparation.factor, "resample": 2}
    return {**told, "image_mean": mean, "image_std": std}


def saved_segmenter(folder: Path, *, taught: bool, points: bool = False) -> Path:
    """A folder with SAM 2, which learned masks for boxes or for points, and the preparation of published folders."""
    model = sam2()
    if taught:
        teach_segmenter(model, points=points)
    model.save_pretrained(folder)
    told = prepared_by("Sam2ImageProcessorFast", SAM_SIDE, SAM_PREPARATION)
    (folder / "preprocessor_config.json").write_text(json.dumps({**told, "processor_class": "Sam2Processor"}))
    return folder


def train(model: Any, loss: Callable[[], torch.Tensor], steps: int, rate: float = 2e-3) -> None:
    optimiser = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.0, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, steps)
    model.train()
    for _ in range(steps):
        optimiser.zero_grad()
        loss().backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        optimiser.step()
        schedule.step()
    model.eval()


KINDS = tuple(DETECTORS)


def dino(kind: str, longest_text: int = 24, own_heads: bool = False) -> Any:
    """Of random weights, scores that differ, two stages of Swin, a level of features more, more places than boxes."""
    heads = {"decoder_bbox_embed_share": False, "decoder_cls_embed_share": False} if own_heads else {}
    model = grounding_dino(kind, "more places than boxes", max_text_len=longest_text, **heads)
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
    grounding_dino_processor(folder, 60, 100).save_pretrained(folder)
    dino(kind, own_heads=kind == "mm-grounding-dino").save_pretrained(folder)
    return folder


OWL_SIDES, PATCHES = {"owlvit": 96, "owlv2": 64}, {"owlvit": 6, "owlv2": 4}
FILLER, LENGTH = "!", 32
LETTERS = "abcdefghijklmnopqrstuvwxyz"
PHRASES = ("cat", "soup can", "dog")


def tokenizer() -> transformers.CLIPTokenizer:
    """CLIP's scheme with letters for words; as in published ones "!" is 0 and the end has the greatest number."""
    tokens = [FILLER, *LETTERS, *(f"{letter}</w>" for letter in LETTERS), "<|startoftext|>", "<|endoftext|>"]
    vocabulary = {token: n for n, token in enumerate(tokens)}
    return transformers.CLIPTokenizer(vocab=vocabulary, merges=[], pad_token=FILLER, model_max_length=LENGTH)


OWL_CLASSES = {
    "owlvit": (transformers.OwlViTForObjectDetection, transformers.OwlViTConfig),
    "owlv2": (transformers.Owlv2ForObjectDetection, transformers.Owlv2Config),
}


def owl(family: str, side: int = 0, length: int = LENGTH) -> Any:
    """A detector of random weights whose scores differ between phrases and boxes; of its family's side by default."""
    side = side or OWL_SIDES[family]
    words = {**CONFIGS["owl text"], "max_position_embeddings": length}
    pixels = {**CONFIGS["owl vision"], "image_size": side, "patch_size": side // PATCHES[family]}
    made, config = OWL_CLASSES[family]
    torch.manual_seed(0)
    model: Any = made(config(text_config=words, vision_config=pixels, projection_dim=32))
    with torch.no_grad():
        for name, value in model.named_parameters():
            if value.ndim > 1:  # weights as large as trained ones; as initialised all boxes score alike
                usual = 0.15 if value.ndim == 2 else 0.01
                value.normal_(0.0, 0.4 if "class_head" in name else 0.05 if "box_head" in name else usual)
    return model.eval()


def owl_processor(family: str, side: int = 0) -> Any:
    size = {"height": side or OWL_SIDES[family], "width": side or OWL_SIDES[family]}
    if family == "owlvit":
        images = transformers.OwlViTImageProcessorPil(size=size, crop_size=size)
        return transformers.OwlViTProcessor(images, tokenizer())
    return transformers.Owlv2Processor(transformers.Owlv2ImageProcessorPil(size=size), tokenizer())


def saved_owl(folder: Path, family: str) -> Path:
    owl(family).save_pretrained(folder)
    owl_processor(family).save_pretrained(folder)
    return folder


def published(folder: Path, model: Any, dynamic: bool = True) -> Path:
    """A folder with one graph for text and image, with the names that published ones have."""
    (folder / "onnx").mkdir(parents=True)
    family, side = model.config.model_type, model.config.vision_config.image_size
    processor, length = owl_processor(family, side), model.config.text_config.max_position_embeddings
    tokens = processor.tokenizer(["cat", "dog"], padding="max_length", max_length=length, return_tensors="pt")

    class Whole(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, input_ids: Any, pixel_values: Any, attention_mask: Any) -> Any:
            output = self.model(input_ids=input_ids, pixel_values=pixel_values, attention_mask=attention_mask)
            return output.logits, output.pred_boxes, output.text_embeds

    any_number = {0: torch.export.Dim("texts", min=1, max=256)} if dynamic else {}
    given = (tokens["input_ids"], torch.zeros(1, 3, side, side), tokens["attention_mask"])
    inputs, outputs = ["input_ids", "pixel_values", "attention_mask"], ["logits", "pred_boxes", "text_embeds"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            Whole(), given, folder / "onnx" / "model.onnx", input_names=inputs, output_names=outputs,
            dynamic_shapes=dict(zip(inputs, (any_number, {}, any_number), strict=True)),
            external_data=False, dynamo=True, verbose=False,
        )  # fmt: skip
    processor.tokenizer.save_pretrained(folder)
    model.config.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(processor.image_processor.to_json_string())
    return folder


def by_transformers(
    family: str, rgb: npt.NDArray[np.uint8], texts: list[str], threshold: float
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Boxes (K, 4), scores (K,) and number of the text (K,), as transformers' own classes find them."""
    model, processor = owl(family), owl_processor(family)
    text = {"padding": "max_length", "max_length": LENGTH}
    with torch.inference_mode():
        output = model(**processor(images=[rgb], text=[texts], return_tensors="pt", text_kwargs=text))
    found = processor.image_processor.post_process_object_detection(output, threshold, [rgb.shape[:2]])[0]
    return found["boxes"].double().numpy(), found["scores"].double().numpy(), found["labels"].numpy()


SAM3_SIDE = 56
SAM3_PREPARATION = Preparation(SAM3_SIDE, 1 / 255, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def sam3_config(words: int = 55) -> transformers.Sam3Config:
    """A configuration for squares of SAM3_SIDE pixels and the words of `tokenizer`."""
    text = {**CONFIGS["sam3"]["text_config"], "vocab_size": words}
    return transformers.Sam3Config(**{**CONFIGS["sam3"], "text_config": text})


def sam3(words: int = 55) -> transformers.Sam3Model:
    torch.manual_seed(0)
    return spread(transformers.Sam3Model(sam3_config(words)))


def sam3_video() -> transformers.Sam3VideoModel:
    torch.manual_seed(0)
    detector, tracker = sam3_config(), transformers.Sam3VideoConfig().tracker_config.to_dict()
    tracker["vision_config"] = detector.vision_config.to_dict()
    whole = transformers.Sam3VideoConfig(detector_config=detector.to_dict(), tracker_config=tracker)
    return spread(transformers.Sam3VideoModel(whole))


def spread(model: Any) -> Any:
    """A model, or a part of it, with weights as large as trained ones: as initialised, all objects are alike."""
    with torch.no_grad():
        for value in model.parameters():
            if value.ndim > 1:
                value.normal_(0.0, 0.3)
    return model.eval()


def saved_sam3(folder: Path, model: Any, side: int = SAM3_SIDE) -> Path:
    model.save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    told = {"image_processor": prepared_by("Sam3ImageProcessor", side, SAM3_PREPARATION)}
    (folder / "processor_config.json").write_text(json.dumps(told))
    return folder


def post_processing() -> Callable[..., Any]:
    """`post_process_instance_segmentation` of Sam3ImageProcessor's source, whose import needs torchvision."""
    found = importlib.util.find_spec("transformers.models.sam3")
    source = ast.parse((Path(found.origin).parent / "image_processing_sam3.py").read_text())
    wanted = ("_scale_boxes", "post_process_instance_segmentation")
    functions = [node for node in ast.walk(source) if isinstance(node, ast.FunctionDef) and node.name in wanted]
    for function in functions:
        function.decorator_list = []
        for argument in function.args.args:
            argument.annotation = None
        function.returns = None
    names: dict[str, Any] = {"torch": torch}
    exec(compile(ast.Module(functions, []), str(found.origin), "exec"), names)  # noqa: S102 - transformers' own
    return lambda *given, **named: names["post_process_instance_segmentation"](None, *given, **named)


def iou(mask: Mask | None, truth: Mask) -> float:
    return float((mask & truth).sum() / (mask | truth).sum())
