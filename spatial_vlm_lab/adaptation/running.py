# SPDX-License-Identifier: Apache-2.0
"""Runs `spatial-vlm adapt`: frames, training, checkpoint, scores, model card. Each step continues where it stopped."""

from __future__ import annotations

import datetime
import gc
import importlib
import importlib.util
import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spatial_vlm_lab.adaptation.frames import RENDERED, collected, progress_bars, read_folders
from spatial_vlm_lab.adaptation.request import AdaptRequest, begin, finished, put_in_place, write_told
from spatial_vlm_ros import __version__
from spatial_vlm_ros.errors import DependencyError, FileError, InputError, UnknownNameError
from spatial_vlm_ros.extras import install
from spatial_vlm_ros.files.documents import LARGEST_JSON
from spatial_vlm_ros.files.reading import read_bytes
from spatial_vlm_ros.files.writing import write_text
from spatial_vlm_ros.perception.backends.devices import best_device

if TYPE_CHECKING:
    from rich.progress import Progress

    from spatial_vlm_lab.adaptation.frame_store import StoredView
    from spatial_vlm_lab.adaptation.labelled_view import LabelledView
    from spatial_vlm_lab.adaptation.loop import AdaptLimits, AdaptRun
    from spatial_vlm_lab.adaptation.settings import AdaptSettings
    from spatial_vlm_ros.vlm.diagnostics.candidates import CandidateScorer

Parts = Mapping[str, "tuple[StoredView, ...]"]
SETTINGS_FILE = "settings.json"
"""File in the state folder with the settings that the run was started with."""
_CHANGING = ("rate", "micro", "checkpointing")  # may differ between the parts of one run


def run(request: AdaptRequest) -> dict[str, Any] | None:
    """Do the remaining steps of a run.

    Returns:
        Content of adaptation.json; None if the time limit came first.
    """
    _need("torch", "transformers", "safetensors")
    device = best_device(request.device)
    settings = _settings(request)
    identity = _identity(request, settings)
    before = finished(request, identity)
    if before is not None:
        return before
    new = _begin(request, identity)
    try:
        read_folders(request)
        with progress_bars() as bars:
            done = (_encoder if settings.method == "cloc" else _model)(request, settings, identity, device, bars)
    except (InputError, UnknownNameError):
        if new and not list(request.work.glob("state*")):  # nothing was trained with invalid settings
            shutil.rmtree(request.work, ignore_errors=True)
        raise
    if done is None:
        return None
    parts, trained = done
    frames = sum(view.source != RENDERED for views in parts.values() for view in views)
    told = {
        "schema": 1,
        "name": request.out.name,
        "base": request.base.name,
        "encoder": request.encoder.name if request.encoder else None,
        "version": __version__,
        "date": datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
        "domain": "unknown" if frames else "simulated",
        "settings": asdict(settings),
        "data": {
            "rendered": request.rendered,
            "frames": frames,
            "views": {name: len(views) for name, views in parts.items()},
        },
        **trained,
        "identity": json.loads(json.dumps(identity)),
    }
    from spatial_vlm_lab.adaptation.adaptation_card import card_text

    calibration = told.pop("calibration", None)
    files = {"README.md": card_text(told)}
    if calibration is not None:
        files["calibration.json"] = json.dumps(calibration, indent=2) + "\n"
    write_told(request.whole, told, files)
    put_in_place(request)
    return told


def _settings(request: AdaptRequest) -> AdaptSettings:
    """Training settings, checked as far as possible before anything is loaded."""
    from spatial_vlm_lab.adaptation.bases import base_kind
    from spatial_vlm_lab.adaptation.settings import AdaptSettings, check_fits

    settings = AdaptSettings(**request.training)
    if settings.method == "lora":
        _need("peft")
    if settings.method != "cloc":
        check_fits(settings, base_kind(request.base))
    return settings


def _need(*packages: str) -> None:
    for package in packages:
        if importlib.util.find_spec(package) is None:
            raise DependencyError(package, install("adapt"))


def _identity(request: AdaptRequest, settings: AdaptSettings) -> dict[str, Any]:
    from spatial_vlm_lab.adaptation.bases import fingerprint

    return {
        "base": fingerprint(request.base),
        "encoder": fingerprint(request.encoder) if request.encoder else "",
        "data": request.data_told(),
        "settings": {name: value for name, value in asdict(settings).items() if name not in _CHANGING},
        "template": request.template,
        "lead": request.lead,
    }


def _begin(request: AdaptRequest, identity: Mapping[str, Any]) -> bool:
    """Refuse a state with other settings before changing it; store those of a new state; returns whether it is new."""
    from spatial_vlm_lab.adaptation.loop import check_identity

    place, wanted = request.work / SETTINGS_FILE, json.dumps(identity, sort_keys=True)
    if request.work.exists() and any(request.work.iterdir()) and not place.exists():
        repair = "remove it, or choose another --out"
        raise InputError("--out", f"{request.work} contains other files", "a new folder", repair)
    try:
        if place.exists() and not request.force:
            check_identity(
                read_bytes(place, "pass --force to start again", LARGEST_JSON).decode(), wanted, request.work
            )
        new = not place.exists()
        begin(request)
        write_text(place, wanted, force=True)
        return new
    except OSError as error:
        raise FileError(place, str(error), "choose a writable location") from error


def _model(
    request: AdaptRequest, settings: AdaptSettings, identity: Mapping[str, Any], device: Any, bars: Progress
) -> tuple[Parts, dict[str, Any]] | None:
    """Train a vision-language model, write its checkpoint, and score the checkpoint after loading it."""
    from spatial_vlm_lab.adaptation.bases import load_base, load_encoder, training_dtype
    from spatial_vlm_lab.adaptation.lessons import LocationWords
    from spatial_vlm_lab.adaptation.loop import AdaptRun
    from spatial_vlm_lab.adaptation.preparing import NewEncoder, prepare
    from spatial_vlm_lab.adaptation.relation_lessons import RelationLessons
    from spatial_vlm_lab.adaptation.saving import save_adapted, save_beside
    from spatial_vlm_lab.adaptation.teaching import teacher
    from spatial_vlm_ros.vlm.diagnostics.candidates import CandidateScorer

    dtype = training_dtype(device)
    model, processor = load_base(request.base, device, dtype)
    encoder = None if request.encoder is None else NewEncoder(*load_encoder(request.encoder, device, dtype))
    made = prepare(model, processor, request.base, settings, encoder)
    scorer = CandidateScorer(made.model, made.processor, request.template, request.lead)
    words, parts = LocationWords.of(made.parts), collected(request, bars)  # may refuse, so before rendering
    lessons = RelationLessons(parts["training"], settings.seed, settings.rates.places, words)
    running = AdaptRun((made.first, made.second), settings, identity, request.work)
    if not running.train(teacher(scorer, lessons, settings), _limits(request, running, bars)):
        return None
    report = _run_told(running, sum(value.numel() for value in made.trained.values()), device)
    if settings.method == "pin":
        save_beside(made, request.base, request.whole)
    else:
        save_adapted(made, request.whole, dtype)
    del scorer, lessons, running, encoder, made, model, processor
    gc.collect()
    return parts, {"run": report, **_scored(request, parts, bars)}


def _encoder(
    request: AdaptRequest, settings: AdaptSettings, identity: Mapping[str, Any], device: Any, bars: Progress
) -> tuple[Parts, dict[str, Any]] | None:
    """Train a vision encoder by regions and captions, write its folder and score it."""
    from spatial_vlm_lab.adaptation.bases import load_encoder_of
    from spatial_vlm_lab.adaptation.loop import AdaptRun
    from spatial_vlm_lab.adaptation.region_lessons import region_teacher
    from spatial_vlm_lab.adaptation.region_scores import region_scores
    from spatial_vlm_lab.adaptation.region_text import seeded_model

    torch: Any = importlib.import_module("torch")
    vision, images = load_encoder_of(request.base, request.encoder, device, torch.float32)
    model = seeded_model(vision, images, settings.seed).to(device)
    parts = collected(request, bars)
    running = AdaptRun(model.groups(), settings, identity, request.work)
    learn = region_teacher(model, images, parts["training"], settings)
    if not running.train(learn, _limits(request, running, bars)):
        return None
    report = _run_told(running, sum(value.numel() for value in model.parameters()), device)
    model.requires_grad_(False)
    vision.save_pretrained(request.whole)
    images.save_pretrained(request.whole)
    return parts, {"run": report, "scores": region_scores(model, images, parts["test"])}


def _limits(request: AdaptRequest, running: AdaptRun, bars: Progress) -> AdaptLimits:
    from spatial_vlm_lab.adaptation.loop import AdaptLimits, AdaptProgress

    task = bars.add_task("training", total=running.settings.steps, completed=running.progress.step)

    def told(done: AdaptProgress) -> None:
        bars.update(task, completed=done.step, description=f"training  loss {done.losses[-1][1]:.4f}")

    return AdaptLimits(request.minutes, request.every, told)


def _run_told(running: AdaptRun, parameters: int, device: Any) -> dict[str, Any]:
    done = running.progress
    return {
        "steps": done.step,
        "seconds": round(done.seconds, 3),
        "memory": done.memory,
        "memory_of": "of the GPU" if device.type == "cuda" else "of the process",
        "device": str(device),
        "parameters": parameters,
        "losses": done.losses,
        "rates": done.rates,
    }


def _scored(request: AdaptRequest, parts: Parts, bars: Progress) -> dict[str, Any]:
    """Scores and calibration of the checkpoint as loaded from its folder, with the remedies that it is marked with."""
    from spatial_vlm_lab.adaptation.adaptation_scores import judged, tally_of
    from spatial_vlm_lab.comparison.judge_calibration import judge_json
    from spatial_vlm_ros.perception.judging import AskedJudge

    scorer = _loaded(request, request.whole)
    tally = tally_of(judged(_shown(parts["calibration"], "calibrating", bars), AskedJudge(scorer)))
    measured = {
        "date": datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
        "frames": len(parts["calibration"]),
        "failed": 0,
        "left_out": {},
        "no_opinion": dict(tally.none),
    }
    told = {"scores": _scores(scorer, parts, bars), "calibration": judge_json(request.out.name, tally, measured)}
    if request.compare:
        del scorer
        gc.collect()
        told["base_scores"] = _scores(_loaded(request, request.base), parts, bars)
    return told


def _loaded(request: AdaptRequest, folder: Path) -> CandidateScorer:
    from spatial_vlm_ros.perception.backends import scoring

    return scoring.load(model=str(folder), device=request.device, template=request.template, lead=request.lead)


def _shown(views: tuple[StoredView, ...], doing: str, bars: Progress) -> Iterator[LabelledView]:
    return (view.load() for view in bars.track(views, description=doing))


def _scores(scorer: CandidateScorer, parts: Parts, bars: Progress) -> dict[str, Any]:
    """Scores on the test part."""
    from spatial_vlm_lab.adaptation.adaptation_scores import judged, overlaps, scores_of
    from spatial_vlm_lab.adaptation.lessons import located
    from spatial_vlm_ros.perception.judging import AskedJudge

    said = judged(_shown(parts["test"], "scoring relations", bars), AskedJudge(scorer))
    shown = _shown(parts["test"], "scoring places", bars)
    found = overlaps(shown, lambda rgb, name: located(scorer, rgb, name))
    return scores_of(len(parts["test"]), said, found).as_json()
