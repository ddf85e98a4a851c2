# SPDX-License-Identifier: Apache-2.0
"""Model card of an adapted model: the README.md of its folder, built from adaptation.json."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

_GIB = 2**30
_RELATIONS = (
    "| relation | right, of those with an opinion | 95 % (Wilson) | where it holds | holds, of all | no opinion |",
    "|---|---|---|---|---|---|",
)


def card_text(told: Mapping[str, Any]) -> str:
    """Build the card as Markdown."""
    return "\n".join(_lines(told)) + "\n"


def _lines(told: Mapping[str, Any]) -> Iterator[str]:
    data, run, settings = told["data"], told["run"], told["settings"]
    method = settings["method"]
    kind = "vision encoder" if method == "cloc" else "vision-language model"
    yield from (f"# {told['name']}", "", f"A {kind} adapted with `spatial-vlm adapt --method {method}`.", "")
    yield from ("| | |", "|---|---|")
    yield f"| base | {told['base']} |"
    yield f"| encoder | {told['encoder'] or 'of the base'} |"
    yield f"| data | {data['rendered']} rendered worlds, {data['frames']} labelled frames |"
    views = data["views"]
    counts = f"{views['training']} for training, {views['calibration']} for calibration, {views['test']} for the scores"
    yield f"| views | {counts} |"
    for name in ("positions", "norm", "features", "batch", "seed"):
        yield f"| {name} | {_shown(settings[name])} |"
    if method == "lora":
        yield f"| LoRA | rank {settings['rank']}, alpha {2 * settings['rank']}, merged into the weights |"
    yield f"| steps | {run['steps']} |"
    yield f"| highest rate | {'; '.join(f'{rate:g} from step {step}' for step, rate in run['rates'])} |"
    yield f"| trained | {run['parameters']:,} parameters |"
    first, last = (f"{loss:.4f} up to step {step}" for step, loss in (run["losses"][0], run["losses"][-1]))
    yield f"| mean loss | {first if first == last else f'{first}, {last}'} |"
    yield f"| time | {run['seconds']:.0f} s of training on {run['device']} |"
    yield f"| memory | {run['memory'] / _GIB:.2f} GiB at most ({run['memory_of']}) |"
    yield f"| version | spatial_vlm_ros {told['version']} |"
    yield ""
    yield from _regions(told["scores"]) if method == "cloc" else _relations(told["scores"])
    if "base_scores" in told:
        yield from ("## The base on the same views", "", *list(_tables(told["base_scores"])))
    yield from _uses(told)


def _relations(scores: Mapping[str, Any]) -> Iterator[str]:
    yield from ("## Scores on held-out views", "")
    yield f"{scores['views']} views of groups that were not used for training or calibration."
    yield "Each pair is asked as by the judge: with the choices in both orders, and for left and right also in the"
    yield "mirrored image. Pairs of one view are not independent, so the intervals are too narrow."
    yield ""
    yield from _tables(scores)


def _tables(scores: Mapping[str, Any]) -> Iterator[str]:
    yield from _RELATIONS
    for name, one in scores["relations"].items():
        yield _row(name, one)
    yield from ("", '"Higher in the image is farther", for behind and in front of:', "", *_RELATIONS)
    yield _row("pairs that follow the rule", scores["usual"])
    yield _row("pairs that contradict it", scores["counter"])
    difference = scores["difference"]
    if difference is not None:
        low, high = 100 * difference["low"], 100 * difference["high"]
        yield from ("", f"Difference: {100 * difference['value']:.1f} points ({low:.1f} to {high:.1f}, Newcombe).")
    places = scores["places"]
    if places["n"]:
        yield ""
        yield f"Places: {_share(places)} boxes overlap the true one by half or more."
        yield f"Mean overlap: {scores['overlap']:.3f}."
    yield ""


def _regions(scores: Mapping[str, Any]) -> Iterator[str]:
    yield from ("## Scores on held-out views", "")
    yield f"{scores['views']} views of groups that were not used for training. The encoder has to find the caption of a"
    yield "region among the captions of its image, and the box of a caption."
    yield ""
    yield f"- Captions found: {_share(scores['captions'])}; by chance {100 * scores['chance']:.1f} %."
    yield f"- Boxes found (overlap of half or more): {_share(scores['boxes'])}; mean overlap {scores['overlap']:.3f}."
    yield ""


def _row(name: str, one: Mapping[str, Any]) -> str:
    right, n = one["right"], one["right"]["n"] + one["none"]
    interval = f"{100 * right['low']:.1f} to {100 * right['high']:.1f} %" if right["n"] else "-"
    held = f"{one['held']['k']} / {one['held']['n']}"
    return f"| {name} | {right['k']} / {right['n']} | {interval} | {held} | {one['positive']} / {n} | {one['none']} |"


def _uses(told: Mapping[str, Any]) -> Iterator[str]:
    if told["settings"]["method"] == "cloc":
        yield from (
            "## Use",
            "",
            "As `--encoder` of a further `spatial-vlm adapt`. A projector has to be trained for it.",
        )
        yield "It does not judge relations by itself, so it has no reliability file."
        yield "docs/adapt.md says what differs from the paper."
    else:
        yield from (
            "## Use",
            "",
            "`calibration.json` in this folder is the file for `judge.calibration`. It was fitted",
        )
        yield f"on {told['data']['views']['calibration']} views that were not used for the scores."
        settings = told["settings"]
        if settings["method"] == "pin" or settings["norm"] != "none" or settings["positions"] or settings["features"]:
            yield "This package applies the remedies that `config.json` names when it loads the folder. Other programs"
            yield "load the weights without them, and get other answers."
    yield from ("", "## Not for", "")
    if not told["data"]["frames"]:
        yield "- Real images: it was trained and scored only on rendered tables."
    yield "- Deciding where a robot moves. Its answers are a second opinion; the measurement decides."
    yield "- Objects, cameras and places unlike those of its data; the scores above do not cover them."
    yield "- Languages other than English, and questions other than those of the judge and of places."


def _share(one: Mapping[str, Any]) -> str:
    return f"{one['k']} of {one['n']} ({100 * one['low']:.1f} to {100 * one['high']:.1f} %, Wilson)"


def _shown(value: object) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "as the base"
    return "as the base" if value is None else str(value)
