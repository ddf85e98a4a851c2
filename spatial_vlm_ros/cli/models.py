# SPDX-License-Identifier: Apache-2.0
"""`spatial-vlm models`: lists, downloads, verifies and exports models. Loaded when called."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from spatial_vlm_ros.cli.group import ANSWERED, REFUSED, json_option, print_json, say

if TYPE_CHECKING:
    from spatial_vlm_ros.perception.model_store import ModelEntry

mirror_option = click.option("--mirror", default="", metavar="URL", help="URL of a mirror. Default: HF_ENDPOINT, else "
              "the Hugging Face hub.")  # fmt: skip


@click.group()
def models() -> None:
    """Download, verify and export object detectors.

    Models come from Hugging Face or a mirror of it. They are kept below SPATIAL_VLM_MODELS, else spatial_vlm_ros in
    HF_HOME, else spatial_vlm_ros/models in XDG_CACHE_HOME or ~/.cache. A file server on that folder works as a mirror.
    No other command of this package downloads anything.

    \b
    Examples:
      spatial-vlm models list
      spatial-vlm models get grounding-dino-tiny
      spatial-vlm models get sam2.1-hiera-tiny --mirror http://fileserver:8000
      spatial-vlm models verify
      spatial-vlm models export ./owlv2-base-patch16 --out models/owlv2 --format int8
      spatial-vlm models export ./llmdet_tiny --out models/llmdet --image 1280x720
    """


@models.command("list")
@json_option
def list_models(as_json: bool) -> None:
    """List all models and whether they are downloaded."""
    from spatial_vlm_ros.output import terminal
    from spatial_vlm_ros.perception.model_store import known_models

    facts = [_facts(entry) for entry in known_models().values()]
    if as_json:
        print_json({"models": facts})
    else:
        terminal.models(facts)


@models.command()
@click.argument("name")
@mirror_option
@click.option("--accept-licence", default="", metavar="LICENCE", help="Accept this non-permissive licence, given by "
              "its name, without a prompt.")  # fmt: skip
@json_option
def get(name: str, mirror: str, accept_licence: str, as_json: bool) -> None:
    """Download or repair the model NAME."""
    from spatial_vlm_ros.output import terminal
    from spatial_vlm_ros.perception import model_store

    entry = model_store.known_model(name)
    wanted = model_store.missing(entry)
    if wanted:
        if not entry.permissive and accept_licence != entry.licence:
            say(f"{entry.name} is under {entry.licence}: {entry.terms}", err=True)
            if accept_licence or not sys.stdin.isatty() or not click.confirm("Do you accept it?", err=True):
                repair = f'to accept the licence, pass --accept-licence "{entry.licence}"'
                raise click.ClickException(f"not downloaded: {repair}")
        say(f"{entry.name}: {sum(wanted.values()) / 1e6:.1f} MB to download, licence {entry.licence} ({entry.terms})",
            err=True)  # fmt: skip
    with terminal.downloading() as progress:
        folder = model_store.get(entry, mirror, progress)
    if as_json:
        print_json({**_facts(entry), "folder": str(folder)})
        return
    say(f"{entry.name} is in {folder}")
    options = " ".join(f"{key}={value}" for key, value in entry.options.items())
    say(f'to use it: --grounder {entry.backend} --grounder-options "{options}"')


@models.command()
@click.argument("names", nargs=-1)
@json_option
def verify(names: tuple[str, ...], as_json: bool) -> None:
    """Verify the SHA-256 of NAMES, or of all downloaded models."""
    from spatial_vlm_ros.perception import model_store

    entries = [model_store.known_model(name) for name in names] or [
        entry for entry in model_store.known_models().values() if any(model_store.folder_of(entry).rglob("*"))
    ]
    found = {entry.name: model_store.faults(entry) for entry in entries}
    if as_json:
        print_json({"models": found})
    elif not found:
        say(f"there is no model in {model_store.store_folder()}")
    for name, faults in found.items() if not as_json else ():
        wrong = f"{len(faults)} files are wrong; to repair, run: spatial-vlm models get {name}"
        say(f"{name}: {wrong if faults else 'all files are correct'}")
        for path, fault in faults.items():
            say(f"  {path} {fault}")
    raise SystemExit(REFUSED if any(found.values()) else ANSWERED)


@models.command()
@click.argument("model")
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), metavar="DIR", help="Output folder; must not exist."
)
@click.option("--format", "number_format", type=click.Choice(["fp32", "fp16", "int8"]), default="fp32",
              show_default=True, help="Number format of the exported graphs.")  # fmt: skip
@click.option("--image", default="", metavar="WIDTHxHEIGHT", help="Grounding DINO: size of the camera images, to which "
              "the graph is fixed. Default: 640x480.")  # fmt: skip
@click.option("--longest-px", default=0, metavar="N", help="Grounding DINO: maximum length in pixels of the longer "
              "side of the model's input image. Default: that of the model, 1333.")  # fmt: skip
@json_option
def export(model: str, out: Path, number_format: str, image: str, longest_px: int, as_json: bool) -> None:
    """Export MODEL to ONNX for the backend `onnx`.

    MODEL is a detector with safetensors weights (OWL-ViT, OWLv2, Grounding DINO, MM-Grounding-DINO or LLMDet): a
    folder, or the id of a model in the hub's cache. The graphs are compared with transformers on random images; if
    they differ, nothing is kept. The export needs torch, onnx and onnxscript; running the graphs does not.
    """
    from spatial_vlm_ros.perception.backends.detector_inputs import image_size
    from spatial_vlm_ros.perception.model_export import export_model

    size = image_size(image) if image else None
    written = export_model(model, out, number_format, image=size, longest_px=longest_px)
    if as_json:
        print_json({"folder": str(written.folder), "format": number_format, "bytes": written.size,
                    "score_error": written.score_error, "box_error": written.box_error})  # fmt: skip
        return
    say(f"{written.folder}: {written.size / 1e6:.1f} MB in {number_format}; against transformers, on random images, "
        f"scores differ by {written.score_error:.1e} at most and boxes by {written.box_error:.1e}")  # fmt: skip
    if number_format == "int8":
        say("int8 changes scores. Its accuracy was not measured here; compare it with an fp32 export on your own "
            "frames (spatial-vlm evaluate)", err=True)  # fmt: skip
    say(f'to use it: --grounder onnx --grounder-options "model={written.folder}"')


def _facts(entry: ModelEntry) -> dict[str, Any]:
    from spatial_vlm_ros.perception import model_store

    left = model_store.missing(entry)
    here = "yes" if not left else "no" if sum(left.values()) == entry.size else "incomplete"
    return {"name": entry.name, "backend": entry.backend, "options": entry.options, "about": entry.about,
            "licence": entry.licence, "terms": entry.terms, "bytes": entry.size, "repository": entry.repository,
            "revision": entry.revision, "needs": entry.needs, "cost": entry.cost, "here": here}  # fmt: skip
