# SPDX-License-Identifier: Apache-2.0
"""Claim: AdaptVis costs little more than a plain answer if only one row runs again; two prefills cost about twice.

The model is of the LLaVA class with random weights: 24 x 24 image tokens among 64 words, float32 on the CPU, greedy
answers of eight tokens. Its decoder has 0.3 billion parameters with embeddings and head, so that the prefill is most of
the work, as in published models. Its vision tower is small. A larger one would run once for the plain answer and for
one row, and twice for two prefills. Random weights cannot show whether answers improve.

    python -m benchmarks.adaptvis                        about two minutes on two cores
    python -m benchmarks.adaptvis --layers 2 --rounds 2  a look; the results are not of the size claimed
"""

from __future__ import annotations

import sys
from functools import partial
from typing import Any

import torch
from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

from benchmarks.harness import Claim, alternate, finish, option, table
from spatial_vlm_ros.vlm.parts import Parts, parts_of
from spatial_vlm_ros.vlm.remedies.attention_scaling import AdaptVis, generate

LAYERS, HIDDEN, WORDS, GRID, TEXT = 16, 1024, 48_000, 24, 64
PARAMETERS = 300_000_000
"""Least parameters of the decoder, with embeddings and head."""
STEPS = 8
ROUNDS, WARM_UP = 5, 1
IMAGE = WORDS - 1
MOST = 1.15
"""Largest time relative to a plain answer."""


def model_of(layers: int) -> Any:
    """Make a model with random weights."""
    torch.manual_seed(0)
    vision = CLIPVisionConfig(
        hidden_size=256, intermediate_size=512, num_hidden_layers=2, num_attention_heads=4, image_size=336,
        patch_size=336 // GRID,
    )  # fmt: skip
    text = LlamaConfig(
        vocab_size=WORDS, hidden_size=HIDDEN, intermediate_size=11 * HIDDEN // 4, num_hidden_layers=layers,
        num_attention_heads=16, num_key_value_heads=16, eos_token_id=None, bos_token_id=None, pad_token_id=None,
    )  # fmt: skip
    config = LlavaConfig(vision_config=vision, text_config=text, image_token_id=IMAGE, vision_feature_layer=-1)
    return LlavaForConditionalGeneration(config).eval()


def inputs_of() -> dict[str, torch.Tensor]:
    """Make an image of noise, with the same number of words before and after it."""
    rng = torch.Generator().manual_seed(0)
    words = torch.randint(0, IMAGE, (1, TEXT), generator=rng)
    image = torch.full((1, GRID * GRID), IMAGE)
    ids = torch.cat([words[:, : TEXT // 2], image, words[:, TEXT // 2 :]], dim=1)
    pixels = torch.randn(1, 3, 336, 336, generator=rng)
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "pixel_values": pixels}


def checked(parts: Parts, inputs: dict[str, torch.Tensor], settings: AdaptVis) -> dict[str, Any]:
    """Answers of both forms, which must be equal."""
    one, two = (generate(parts, inputs, settings, STEPS, two_prefills=form) for form in (False, True))
    assert one.tokens.tolist() == two.tokens.tolist()
    assert len(one.tokens) == STEPS
    difference = float((one.scaled - two.scaled).abs().max())
    return {"alpha": one.alpha, "confidence": round(one.confidence, 6), "largest_difference": difference}


def main() -> int:
    """Measure, print and write benchmarks/results/adaptvis.json; with fewer layers nothing is written."""
    layers, rounds = int(option("layers", LAYERS)), int(option("rounds", ROUNDS))
    torch.set_num_threads(2)
    model, inputs = model_of(layers), inputs_of()
    parts = parts_of(model)
    in_layers = sum(p.numel() for p in parts.layers.parameters())
    parameters = in_layers + parts.embeddings.weight.numel() + model.lm_head.weight.numel()
    assert parameters >= PARAMETERS or layers < LAYERS, f"{parameters} parameters"
    assert int(parts.image_columns(inputs["input_ids"]).sum()) == GRID * GRID
    settings = AdaptVis(0.5, 1.5, 1.0)
    same = checked(parts, inputs, settings)
    plain = partial(model.generate, **inputs, max_new_tokens=STEPS, do_sample=False)
    times = alternate(
        {
            "plain answer": plain,
            "AdaptVis, one row": partial(generate, parts, inputs, settings, STEPS),
            "AdaptVis, two prefills": partial(generate, parts, inputs, settings, STEPS, two_prefills=True),
        },
        rounds,
        WARM_UP,
    )
    base = times["plain answer"].median_ms
    found = {name: {**time.summary(), "ratio": round(time.median_ms / base, 3)} for name, time in times.items()}
    table(
        f"adaptvis: {parameters / 1e6:.0f} M parameters in {layers} layers, {inputs['input_ids'].shape[1]} tokens",
        ("route", "median ms", "p95 ms", "time / plain", "n"),
        [(name, r["median_ms"], r["p95_ms"], r["ratio"], r["n"]) for name, r in found.items()],
    )
    if layers != LAYERS:
        print("not the size claimed: nothing is kept")
        return 0
    setting = {
        **{
            "decoder_parameters": parameters,
            "of_them_in_layers": in_layers,
            "layers": layers,
            "image_tokens": GRID * GRID,
            "words": TEXT,
        },
        **{"new_tokens": STEPS, "dtype": "float32", "threads": torch.get_num_threads(), "torch": torch.__version__},
        "two_prefills": "the second by the attention function of the reference form",
    }
    claims = [Claim("one row / plain answer", found["AdaptVis, one row"]["ratio"], MOST, "x")]
    return finish("adaptvis", {"setting": setting, "same_answer": same, "times": found}, claims)


if __name__ == "__main__":
    sys.exit(main())
