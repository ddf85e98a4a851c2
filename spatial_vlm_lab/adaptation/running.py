# SPDX-License-Identifier: Apache-2.0
"""Runs `spatial-vlm adapt`: frames, training, checkpoint, scores, model card. Each step continues where it stopped."""

from __future__ import annotations

import datetime
import gc
import importlib.util
import json
import math
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.progress import Progress
from torch import nn

from spatial_vlm_lab.adaptation import models
from spatial_vlm_lab.adaptation.lessons import LocationWords, RelationLessons, located, teacher
from spatial_vlm_lab.adaptation.regions import region_scores, region_teacher, seeded_model
from spatial_vlm_lab.adaptation.scores import card_text, judged, overlaps, scores_of, tally_of
from spatial_vlm_lab.adaptation.settings import AdaptSettings, check_fits
from spatial_vlm_lab.adaptation.views import (
    LabelledView,
    StoredView,
    group_path,
    labelled_views,
    read_store,
    write_group,
)
from spatial_vlm_lab.comparison.judge_calibration import judge_json
from spatial_vlm_lab.progress import progress_bars
from spatial_vlm_lab.training.loop import STATE, TrainingLoop, TrainingProgress
from spatial_vlm_ros import __version__
from spatial_vlm_ros.errors import DependencyError, FileError, InputError, ModelError, UnknownNameError
from spatial_vlm_ros.extras import install
from spatial_vlm_ros.files.documents import LARGEST_JSON, read_json
from spatial_vlm_ros.files.folders import put_folder
from spatial_vlm_ros.files.reading import read_bytes
from spatial_vlm_ros.files.writing import write_text
from spatial_vlm_ros.parameters import ResolverConfig
from spatial_vlm_ros.perception.backends import scoring
from spatial_vlm_ros.perception.backends.onboard import best_device
from spatial_vlm_ros.perception.judging import AskedJudge
from spatial_vlm_ros.vlm.diagnostics.candidates import CandidateScorer

Parts = Mapping[str, tuple[StoredView, ...]]
TOLD = "adaptation.json"
"""File in OUT with settings, data and scores; it marks a folder as output of `adapt`."""
SETTINGS_FILE = "settings.json"
"""File in the state folder with the settings that the run was started with."""
SIZE = (640, 480)
"""Size of rendered images, pixels."""
RENDERED = "rendered"
CLIPPED = 1.0
"""Largest norm of a gradient."""
_CHANGING = ("rate", "micro", "checkpointing")  # may differ between the parts of one run
_LOCATION = "choose a writable location"


@dataclass(frozen=True)
class AdaptRequest:
    """Options of the command.

    Args:
        scored: most views used for scoring, and most used for calibration.
        views: images per world.
        encoder: folder of an encoder that replaces the base model's.
        minutes: wall time, minutes.
        save_every: steps between states.
        settings: fields of AdaptSettings.
    """

    base: Path
    out: Path
    data: tuple[Path, ...]
    rendered: int
    views: int
    scored: int
    encoder: Path | None
    minutes: float
    save_every: int
    device: str
    template: str
    lead: str
    compare: bool
    force: bool
    settings: Mapping[str, Any]

    @property
    def work(self) -> Path:
        """Working folder beside OUT: frames, state and unfinished output."""
        return self.out.parent / f"{self.out.name}.adapting"

    @property
    def whole(self) -> Path:
        """Folder of the complete output before it is renamed to OUT."""
        return self.work / "whole"


class AdaptRun(TrainingLoop):
    """One training run.

    Args:
        groups: parameters trained at the first and at the second rate, by name.
        identity: JSON values that have to be the same for a run to continue.
        folder: folder for its state; the run continues from one that exists.
    """

    advice = "run the command again with a lower --rate, or on another --device"

    def __init__(
        self,
        groups: tuple[Mapping[str, nn.Parameter], Mapping[str, nn.Parameter]],
        settings: AdaptSettings,
        identity: Mapping[str, Any],
        folder: Path,
    ) -> None:
        self.trained = {name: value for group in groups for name, value in group.items()}
        rates = settings.rates
        highest = [rate for group, rate in zip(groups, settings.highest, strict=True) if group]
        kind = torch.optim.AdamW if rates.decay else torch.optim.Adam
        given = [{"params": list(group.values()), "lr": 0.0} for group in groups if group]
        optimizer = kind(given, betas=rates.betas, weight_decay=rates.decay)

        def rates_at(step: int) -> list[float]:
            return [rate * settings.factor(step) for rate in highest]

        super().__init__(list(self.trained.values()), optimizer, rates_at, CLIPPED, settings.steps)
        check = partial(check_identity, place=folder)
        self.keep(folder / STATE, self.trained, identity, check, "start again with --force")
        if not self.progress.rates or self.progress.rates[-1][1] != settings.highest[0]:
            self.progress.rates.append((self.progress.step, settings.highest[0]))

    def train(
        self,
        learn: Callable[[int], float],
        minutes: float = math.inf,
        every: int = 100,
        told: Callable[[TrainingProgress], None] = lambda _: None,
    ) -> bool:
        """Train until the steps or the minutes are used up.

        Args:
            learn: as for `TrainingLoop.make_step`.
            minutes: wall time, minutes.
            every: steps between states.
            told: called after each state.
        """
        done, since = self.progress, list[float]()

        def note() -> None:
            done.losses.append((done.step, sum(since) / len(since)))
            since.clear()
            self.save()
            told(done)

        def learned(step: int) -> float:
            try:
                return learn(step)
            except torch.OutOfMemoryError as error:
                self.save()
                reason = f"the GPU's memory ran out at step {step + 1}; the weights of step {step} are kept"
                raise ModelError("training", reason, "run the command again with --checkpointing --micro 1") from error

        for _ in self.left(minutes):
            since.append(self.make_step(learned))
            if done.step % every == 0 or not self.to_come:
                note()
        if since:
            note()
        return not self.to_come


def check_identity(found: str, wanted: str, place: Path) -> None:
    """Raise InputError, naming the differences between the settings of a state and those of the command."""
    if found == wanted:
        return
    try:
        before, now = json.loads(found), json.loads(wanted)
        names = sorted(name for name in {*before, *now} if before.get(name) != now.get(name))
        differs = ", ".join(f"{name} was {before.get(name)!r}, now {now.get(name)!r}" for name in names)
    except (ValueError, AttributeError):
        differs = "settings that cannot be read"
    repair = "pass the same options to continue, or --force to start again"
    raise InputError(str(place), f"a run with other settings: {differs}", "a run with the same settings", repair)


# ------------------------------------------------------------------------------------------------ the command


def run(request: AdaptRequest) -> dict[str, Any] | None:
    """Do the remaining steps of a run.

    Returns:
        Content of adaptation.json; None if the time limit came first.
    """
    device = best_device(request.device)
    settings = AdaptSettings(**request.settings)
    if settings.method == "lora" and importlib.util.find_spec("peft") is None:
        raise DependencyError("peft", install("adapt"))
    if settings.method != "cloc":
        check_fits(settings, models.base_kind(request.base))
    identity = {
        "base": models.fingerprint(request.base),
        "encoder": models.fingerprint(request.encoder) if request.encoder else "",
        "data": {
            "folders": [str(folder) for folder in request.data],
            "rendered": request.rendered,
            "scored": request.scored,
            "views": request.views,
            "seed": settings.seed,
        },
        "settings": {name: value for name, value in asdict(settings).items() if name not in _CHANGING},
        "template": request.template,
        "lead": request.lead,
    }
    before = _finished(request, identity)
    if before is not None:
        return before
    new = _begin(request, json.dumps(identity, sort_keys=True))
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
        "date": _today(),
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
    files = {}
    if "calibration" in told:
        files["calibration.json"] = json.dumps(told.pop("calibration"), indent=2) + "\n"
    files |= {"README.md": card_text(told), TOLD: json.dumps(told, indent=1, allow_nan=False) + "\n"}
    for name, text in files.items():
        write_text(request.whole / name, text, force=True)
    try:
        put_folder(request.whole, request.out, force=True)
        shutil.rmtree(request.work)
    except OSError as error:
        raise FileError(request.out, str(error), _LOCATION) from error
    return told


def _finished(request: AdaptRequest, identity: Mapping[str, Any]) -> dict[str, Any] | None:
    """Result of an earlier run with the same settings in OUT; None if there is none or it will be replaced."""
    out = request.out
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return None
    if not (out / TOLD).is_file():
        repair = "choose a folder that does not exist; --force replaces only the output of an earlier `adapt`"
        raise InputError("--out", f"{out} contains other files", "a new folder", repair)
    if request.force:
        return None
    repair = "pass --force to replace the folder"
    try:
        told: dict[str, Any] = read_json(out / TOLD, repair)
        same = told["identity"] == json.loads(json.dumps(identity))
    except FileError:
        raise
    except (ValueError, KeyError, TypeError) as error:
        raise FileError(out / TOLD, f"{type(error).__name__}: {error}", repair) from error
    if not same:
        got = f"{out} contains a model adapted with other settings"
        raise InputError("--out", got, "a new folder", "choose another folder, or pass --force to replace this one")
    return told


def _begin(request: AdaptRequest, identity: str) -> bool:
    """Make the working folder, whose state must be of the same settings; with --force, remove an earlier one.

    Returns:
        Whether it is new.
    """
    work, place = request.work, request.work / SETTINGS_FILE
    if work.exists() and any(work.iterdir()) and not place.exists():
        repair = "remove it, or choose another --out"
        raise InputError("--out", f"{work} contains other files", "a new folder", repair)
    try:
        new = not place.exists()
        if not new and not request.force:
            check_identity(read_bytes(place, "pass --force to start again", LARGEST_JSON).decode(), identity, work)
        if request.force and work.exists():
            shutil.rmtree(work)
        work.mkdir(parents=True, exist_ok=True)
        if request.whole.exists():  # from a run that was killed while writing
            shutil.rmtree(request.whole)
    except OSError as error:
        raise FileError(work, str(error), _LOCATION) from error
    write_text(place, identity, force=True)
    return new


def read_folders(request: AdaptRequest) -> None:
    """Read each labelled folder into the store, once: each frame is a group."""
    for place, source in enumerate(request.data):
        folder, name = request.work / "frames", f"data_{place:03d}"
        done = folder / f"{name}.done"
        if done.exists():
            continue
        for number, view in enumerate(labelled_views(source, ResolverConfig())):
            write_group(folder, name, f"{number:06d}", [view])
        done.touch()


def _collected(request: AdaptRequest, seed: int, bars: Progress) -> Parts:
    """Render missing views; returns part → views, with at most `scored` views in each held-out part, spread evenly."""
    folder = request.work / "frames"
    missing = [n for n in range(request.rendered) if not group_path(folder, RENDERED, f"{n:06d}").exists()]
    if missing:
        from spatial_vlm_lab.sim.relation_pairs import adaptation_views

        for number in bars.track(missing, description="rendering"):
            write_group(folder, RENDERED, f"{number:06d}", adaptation_views(number, request.views, SIZE))
    parts, most = read_store(folder, seed), request.scored
    for name, views in parts.items():
        if name != "training" and len(views) > most:
            parts[name] = tuple(views[n] for n in sorted({number * len(views) // most for number in range(most)}))
    return parts


def _model(
    request: AdaptRequest, settings: AdaptSettings, identity: Mapping[str, Any], device: torch.device, bars: Progress
) -> tuple[Parts, dict[str, Any]] | None:
    """Train a vision-language model, write its checkpoint, and score the checkpoint after loading it."""
    dtype = models.training_dtype(device)
    model, processor = models.load_base(request.base, device, dtype)
    encoder = None if request.encoder is None else models.load_encoder(request.encoder, device, dtype)
    made = models.prepare(model, processor, request.base, settings, encoder)
    scorer = CandidateScorer(made.model, made.processor, request.template, request.lead)
    words = LocationWords.of(made.parts)  # may refuse, so before rendering
    parts = _collected(request, settings.seed, bars)
    lessons = RelationLessons(parts["training"], settings.seed, settings.rates.places, words)
    running = AdaptRun((made.first, made.second), settings, identity, request.work)
    report = _trained(request, settings, running, teacher(scorer, lessons, settings), device, bars)
    if report is None:
        return None
    if settings.method == "pin":
        models.save_beside(made, request.base, request.whole)
    else:
        models.save_adapted(made, request.whole, dtype)
    del scorer, lessons, running, encoder, made, model, processor
    gc.collect()
    return parts, {"run": report, **_scored(request, parts, bars)}


def _encoder(
    request: AdaptRequest, settings: AdaptSettings, identity: Mapping[str, Any], device: torch.device, bars: Progress
) -> tuple[Parts, dict[str, Any]] | None:
    """Train a vision encoder by regions and captions, write its folder and score it."""
    vision, images = models.load_encoder_of(request.base, request.encoder, device, torch.float32)
    model = seeded_model(vision, images, settings.seed).to(device)
    parts = _collected(request, settings.seed, bars)
    running = AdaptRun(model.groups(), settings, identity, request.work)
    learn = region_teacher(model, images, parts["training"], settings)
    report = _trained(request, settings, running, learn, device, bars)
    if report is None:
        return None
    model.requires_grad_(False)
    vision.save_pretrained(request.whole)
    images.save_pretrained(request.whole)
    return parts, {"run": report, "scores": region_scores(model, images, parts["test"])}


def _trained(
    request: AdaptRequest, settings: AdaptSettings, running: AdaptRun, learn: Callable[[int], float],
    device: torch.device, bars: Progress,
) -> dict[str, Any] | None:  # fmt: skip
    """Train; returns what adaptation.json says of the run, None if the time limit came first."""
    done = running.progress
    task = bars.add_task("training", total=settings.steps, completed=done.step)

    def told(done: TrainingProgress) -> None:
        bars.update(task, completed=done.step, description=f"training  loss {done.losses[-1][1]:.4f}")

    if not running.train(learn, request.minutes, request.save_every, told):
        return None
    return {
        "steps": done.step,
        "seconds": round(done.seconds, 3),
        "memory": done.memory,
        "memory_of": "of the GPU" if device.type == "cuda" else "of the process",
        "device": str(device),
        "parameters": sum(value.numel() for value in running.trained.values()),
        "losses": done.losses,
        "rates": done.rates,
    }


# ------------------------------------------------------------------------------------------------ scores


def _scored(request: AdaptRequest, parts: Parts, bars: Progress) -> dict[str, Any]:
    """Scores and calibration of the checkpoint as loaded from its folder, with the remedies that it is marked with."""
    scorer = _loaded(request, request.whole)
    tally = tally_of(judged(_shown(parts["calibration"], "calibrating", bars), AskedJudge(scorer)))
    measured = {
        "date": _today(),
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
    return scoring.load(model=str(folder), device=request.device, template=request.template, lead=request.lead)


def _shown(views: tuple[StoredView, ...], doing: str, bars: Progress) -> Iterator[LabelledView]:
    return (view.load() for view in bars.track(views, description=doing))


def _scores(scorer: CandidateScorer, parts: Parts, bars: Progress) -> dict[str, Any]:
    """Scores on the test part."""
    said = judged(_shown(parts["test"], "scoring relations", bars), AskedJudge(scorer))
    shown = _shown(parts["test"], "scoring places", bars)
    found = overlaps(shown, lambda rgb, name: located(scorer, rgb, name))
    return asdict(scores_of(len(parts["test"]), said, found))


def _today() -> str:
    return datetime.datetime.now(datetime.timezone.utc).date().isoformat()
