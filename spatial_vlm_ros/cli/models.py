# SPDX-License-Identifier: Apache-2.0
"""`spatial-vlm models`: the models that people can get, and those that are here. Loaded when it is called."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from spatial_vlm_ros.cli.group import ANSWERED, REFUSED, json_option, print_json, say

if TYPE_CHECKING:
    from spatial_vlm_ros.perception.model_store.manifest import ModelEntry

mirror_option = click.option("--mirror", default="", metavar="URL", help="Address of a mirror. Default: HF_ENDPOINT, "
                             "else the hub.")  # fmt: skip


@click.group()
def models() -> None:
    """Get the models that find objects, and check those that are here.

    They come from Hugging Face or a mirror of it, and are kept below SPATIAL_VLM_MODELS, else spatial_vlm_ros in
    HF_HOME, else spatial_vlm_ros/models in XDG_CACHE_HOME or ~/.cache. A file server on that folder is a mirror.
    Nothing else of this package downloads anything.

    \b
    Examples:
      spatial-vlm models list
      spatial-vlm models get grounding-dino-tiny
      spatial-vlm models get sam2.1-hiera-tiny --mirror http://fileserver:8000
      spatial-vlm models verify
    """


@models.command("list")
@json_option
def list_models(as_json: bool) -> None:
    """Show all models, and which of them are here."""
    from spatial_vlm_ros.output import terminal_models
    from spatial_vlm_ros.perception.model_store.manifest import known_models

    facts = [_facts(entry) for entry in known_models().values()]
    if as_json:
        print_json({"models": facts})
    else:
        terminal_models.models(facts)


@models.command()
@click.argument("name")
@mirror_option
@click.option("--accept-licence", default="", metavar="LICENCE", help="Accept a licence that is not permissive, by its "
              "name, without being asked.")  # fmt: skip
@json_option
def get(name: str, mirror: str, accept_licence: str, as_json: bool) -> None:
    """Download the model NAME, or repair it."""
    from spatial_vlm_ros.output import terminal_models
    from spatial_vlm_ros.perception.model_store import store
    from spatial_vlm_ros.perception.model_store.manifest import known_model

    entry = known_model(name)
    wanted = store.missing(entry)
    if wanted:
        _consent(entry, accept_licence)
        say(f"{entry.name}: {sum(wanted.values()) / 1e6:.1f} MB to download, licence {entry.licence} ({entry.terms})",
            err=True)  # fmt: skip
    with terminal_models.downloading() as progress:
        folder = store.get(entry, mirror, progress)
    if as_json:
        print_json({**_facts(entry), "folder": str(folder)})
        return
    say(f"{entry.name} is in {folder}")
    options = " ".join(f"{key}={value}" for key, value in entry.options.items())
    say(f'use it: --grounder {entry.backend} --grounder-options "{options}"')


@models.command()
@click.argument("names", nargs=-1)
@json_option
def verify(names: tuple[str, ...], as_json: bool) -> None:
    """Check the SHA-256 of models: NAMES, or all that are here."""
    from spatial_vlm_ros.perception.model_store import store
    from spatial_vlm_ros.perception.model_store.manifest import known_model, known_models

    entries = [known_model(name) for name in names] or [
        entry for entry in known_models().values() if any(store.folder_of(entry).rglob("*"))
    ]
    found = {entry.name: store.faults(entry) for entry in entries}
    if as_json:
        print_json({"models": found})
    elif not found:
        say(f"no model is in {store.store_folder()}")
    for name, faults in found.items() if not as_json else ():
        say(f"{name}: " + (f"{len(faults)} files are wrong; repair: spatial-vlm models get {name}" if faults else
                           "all files are correct"))  # fmt: skip
        for path, fault in faults.items():
            say(f"  {path} {fault}")
    raise SystemExit(REFUSED if any(found.values()) else ANSWERED)


def _facts(entry: ModelEntry) -> dict[str, Any]:
    from spatial_vlm_ros.perception.model_store import store

    left = store.missing(entry)
    here = "yes" if not left else "no" if sum(left.values()) == entry.size else "incomplete"
    return {"name": entry.name, "backend": entry.backend, "options": entry.options, "about": entry.about,
            "licence": entry.licence, "terms": entry.terms, "bytes": entry.size, "repository": entry.repository,
            "revision": entry.revision, "needs": entry.needs, "cost": entry.cost, "here": here}  # fmt: skip


def _consent(entry: ModelEntry, accepted: str) -> None:
    """Have a licence that is not permissive accepted by a person."""
    if entry.permissive or accepted == entry.licence:
        return
    say(f"{entry.name} is under {entry.licence}: {entry.terms}", err=True)
    if accepted or not sys.stdin.isatty() or not click.confirm("Do you accept it?", err=True):
        raise click.ClickException(f'not downloaded: its licence is accepted with --accept-licence "{entry.licence}"')
