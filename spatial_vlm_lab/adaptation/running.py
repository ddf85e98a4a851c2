# SPDX-License-Identifier: Apache-2.0
"""Runs `spatial-vlm adapt`: frames, training, checkpoint, scores, model card. Each step continues where it stopped."""

from __future__ import annotations

import datetime
import gc
import importlib.util
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from rich.progress import Progress
from torch import nn

from spatial_vlm_lab.adaptation import models
from spatial_vlm_lab.adaptation.lessons import LocationWords, RelationLessons, learnt, located
from spatial_vlm_lab.adaptation.models import AdaptSettings
from spatial_vlm_lab.adaptation.regions import region_scores, region_teacher, seeded_model
from spatial_vlm_lab.adaptation.views import (
    Parts,
    card_text,
    group_path,
    judged,
    labelled_views,
    overlaps,
    read_store,
    scores_of,
    tally_of,
    write_group,
)
from spatial_vlm_lab.comparison.judge_calibration import judge_json
from spatial_vlm_lab.training.loop import STATE, TrainingLoop, check_identity, progress_bars
from spatial_vlm_ros import __version__
from spatial_vlm_ros.errors import DependencyError, FileError, InputError
from spatial_vlm_ros.extras import install
from spatial_vlm_ros.files.documents import LARGEST_JSON, read_json
from spatial_vlm_ros.files.reading import read_bytes
from spatial_vlm_ros.files.writing import put_folder, write_text
from spatial_vlm_ros.parameters import ResolverConfig
from spatial_vlm_ros.perception.backends import scoring
from spatial_vlm_ros.perception.backends.onboard import best_device
from spatial_vlm_ros.perception.judging import AskedJudge
from spatial_vlm_ros.vlm.diagnostics.candidates import CandidateScorer

Groups = tuple[Mapping[str, nn.Parameter], Mapping[str, nn.Parameter]]
"""Parameters trained at the first and at the second rate, by name."""
TOLD = "adaptation.json"
"""File in OUT with settings, data and scores; it marks a folder as output of `adapt`."""
SETTINGS_FILE = "settings.json"
"""File in the state folder with the settings that the run was started with."""
SIZE = (640, 480)
"""Size of rendered images, pixels."""
RENDERED = "rendered"
_CLIP = 1.0  # norm of the gradient
_CHANGING = ("rate", "micro", "checkpointing")  # may differ between the parts of one run
_ANEW = "start again with --force"
_LOCATION = "choose a writable location"


def adapt_loop(groups: Groups, settings: AdaptSettings, identity: Mapping[str, Any], folder: Path) -> TrainingLoop:
    """Make the loop of a run, which continues from the state of the same identity in a folder."""
    rates, trained = settings.rates, {name: value for group in groups for name, value in group.items()}
    highest = [rate for group, rate in zip(groups, settings.highest, strict=True) if group]
    kind = torch.optim.AdamW if rates.decay else torch.optim.Adam
    given = [{"params": list(group.values()), "lr": 0.0} for group in groups if group]
    optimizer = kind(given, betas=rates.betas, weight_decay=rates.decay)
    loop = TrainingLoop(
        optimizer, lambda step: [rate * settings.factor(step) for rate in highest], _CLIP, settings.steps
    )
    loop.keep(folder / STATE, trained, identity, _ANEW)
    done = loop.progress
    if not done.rates or done.rates[-1][1] != highest[0]:
        done.rates.append((done.step, highest[0]))
    return loop


@dataclass
class Adaptation:
    """One call of the command; the fields are its options."""

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
    settings: AdaptSettings
    bars: Progress = field(default_factory=progress_bars)

    def __post_init__(self) -> None:
        self.place = best_device(self.device)

    @property
    def work(self) -> Path:
        """Working folder beside OUT: frames, state and unfinished output."""
        return self.out.parent / f"{self.out.name}.adapting"

    @property
    def whole(self) -> Path:
        """Folder of the complete output before it is renamed to OUT."""
        return self.work / "whole"

    @cached_property
    def identity(self) -> dict[str, Any]:
        """What has to be the same for a run to continue, as JSON values."""
        data = {
            "folders": [str(folder) for folder in self.data],
            "rendered": self.rendered,
            "scored": self.scored,
            "views": self.views,
            "seed": self.settings.seed,
        }
        settings = {name: value for name, value in asdict(self.settings).items() if name not in _CHANGING}
        identity = {
            "base": models.fingerprint(self.base),
            "encoder": models.fingerprint(self.encoder) if self.encoder else "",
            "data": data,
            "settings": settings,
            "template": self.template,
            "lead": self.lead,
        }
        return dict(json.loads(json.dumps(identity)))

    def run(self) -> dict[str, Any] | None:
        """Do the remaining steps; returns the content of adaptation.json, or None if the time limit came first."""
        method = self.settings.method
        if method == "lora" and importlib.util.find_spec("peft") is None:
            raise DependencyError("peft", install("adapt"))
        if method != "cloc":
            self.settings.check_fits(models.base_kind(self.base))
        before = self._finished()
        if before is not None:
            return before
        new = self._begin()
        try:
            self.read_folders()
            with self.bars:
                found = self._encoder() if method == "cloc" else self._model()
                if found is None:
                    return None
                parts, trained = found
                if method != "cloc":
                    gc.collect()
                    trained |= self.scored_whole(parts)
        except InputError:
            if new and not list(self.work.glob("state*")):  # nothing was trained with invalid settings
                shutil.rmtree(self.work, ignore_errors=True)
            raise
        frames = sum(view.source != RENDERED for views in parts.values() for view in views)
        told = {
            "schema": 1,
            "name": self.out.name,
            "base": self.base.name,
            "encoder": self.encoder.name if self.encoder else None,
            "version": __version__,
            "date": _today(),
            "domain": "unknown" if frames else "simulated",
            "settings": asdict(self.settings),
            "data": {
                "rendered": self.rendered,
                "frames": frames,
                "views": {name: len(views) for name, views in parts.items()},
            },
            **trained,
            "identity": self.identity,
        }
        files = {}
        if "calibration" in told:
            files["calibration.json"] = json.dumps(told.pop("calibration"), indent=2) + "\n"
        files |= {"README.md": card_text(told), TOLD: json.dumps(told, indent=1, allow_nan=False) + "\n"}
        for name, text in files.items():
            write_text(self.whole / name, text, force=True)
        try:
            put_folder(self.whole, self.out, force=True)
            shutil.rmtree(self.work)
        except OSError as error:
            raise FileError(self.out, str(error), _LOCATION) from error
        return told

    def _finished(self) -> dict[str, Any] | None:
        """Result of an earlier run with the same settings in OUT; None if there is none or it will be replaced."""
        out = self.out
        if not out.exists() or (out.is_dir() and not any(out.iterdir())):
            return None
        if not (out / TOLD).is_file():
            repair = "choose a folder that does not exist; --force replaces only the output of an earlier `adapt`"
            raise InputError("--out", f"{out} contains other files", "a new folder", repair)
        if self.force:
            return None
        told = read_json(out / TOLD, "pass --force to replace the folder")
        if not isinstance(told, dict) or told.get("identity") != self.identity:
            got = f"{out} contains a model adapted with other settings"
            raise InputError("--out", got, "a new folder", "choose another folder, or pass --force to replace this one")
        return told

    def _begin(self) -> bool:
        """Make the working folder, new or, without --force, of the same settings; whether it is new."""
        work, place, identity = self.work, self.work / SETTINGS_FILE, json.dumps(self.identity, sort_keys=True)
        if work.exists() and any(work.iterdir()) and not place.exists():
            repair = "remove it, or choose another --out"
            raise InputError("--out", f"{work} contains other files", "a new folder", repair)
        new = not place.exists()
        if not new and not self.force:
            check_identity(read_bytes(place, _ANEW, LARGEST_JSON).decode(errors="replace"), identity, work, _ANEW)
        try:
            for folder in (work, self.whole) if self.force else (self.whole,):  # `whole`: of a run that was killed
                if folder.exists():
                    shutil.rmtree(folder)
            work.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise FileError(work, str(error), _LOCATION) from error
        write_text(place, identity, force=True)
        return new

    # ---------------------------------------------------------------------------------------- frames

    def read_folders(self) -> None:
        """Read each labelled folder into the store, once: each frame is a group."""
        for place, source in enumerate(self.data):
            folder, name = self.work / "frames", f"data_{place:03d}"
            done = folder / f"{name}.done"
            if not done.exists():
                shutil.rmtree(folder / name, ignore_errors=True)  # of a run that was ended while it read
                for number, view in enumerate(labelled_views(source, ResolverConfig())):
                    write_group(folder, name, f"{number:06d}", [view])
                done.touch()

    def _collected(self) -> Parts:
        """Render missing views; returns part → views, with at most `scored` views in each held-out part."""
        folder = self.work / "frames"
        missing = [n for n in range(self.rendered) if not group_path(folder, RENDERED, f"{n:06d}").exists()]
        if missing:
            from spatial_vlm_lab.sim.training_frames import adaptation_views

            for number in self.bars.track(missing, description="rendering"):
                write_group(folder, RENDERED, f"{number:06d}", adaptation_views(number, self.views, SIZE))
        parts, most = read_store(folder, self.settings.seed), self.scored
        for name, views in parts.items():
            if name != "training" and len(views) > most:  # evenly spread
                parts[name] = tuple(views[n] for n in sorted({number * len(views) // most for number in range(most)}))
        return parts

    # ---------------------------------------------------------------------------------------- training

    def _model(self) -> tuple[Parts, dict[str, Any]] | None:
        """Train a vision-language model and write its checkpoint; returns the views, and what the card says of it."""
        settings, dtype = self.settings, models.training_dtype(self.place)
        model, processor = models.load_base(self.base, self.place, dtype)
        encoder = None if self.encoder is None else models.load_encoder(self.encoder, self.place, dtype)
        made = models.prepare(model, processor, self.base, settings, encoder)
        scorer = CandidateScorer(made.model, made.processor, self.template, self.lead)
        words = LocationWords.of(made.parts)  # may refuse, so before rendering
        parts = self._collected()
        lessons = RelationLessons(parts["training"], settings.seed, settings.rates.places, words)

        def learn(step: int) -> float:
            return learnt(scorer, [lessons(step, row) for row in range(settings.batch)], settings.micro)

        report = self._trained(made.groups, learn)
        if report is None:
            return None
        made.save(self.whole)
        return parts, {"run": report}

    def _encoder(self) -> tuple[Parts, dict[str, Any]] | None:
        """As `_model`, for a vision encoder, which is trained by regions and captions; it is scored, too."""
        vision, images = models.load_encoder_of(self.base, self.encoder, self.place)
        model = seeded_model(vision, images, self.settings.seed).to(self.place)
        parts = self._collected()
        report = self._trained(model.groups(), region_teacher(model, images, parts["training"], self.settings))
        if report is None:
            return None
        model.requires_grad_(False)
        vision.save_pretrained(self.whole)
        images.save_pretrained(self.whole)
        return parts, {"run": report, "scores": region_scores(model, images, parts["test"])}

    def _trained(self, groups: Groups, learn: Callable[[int], float]) -> dict[str, Any] | None:
        """Train; returns what adaptation.json says of the run, None if the time limit came first."""
        loop = adapt_loop(groups, self.settings, self.identity, self.work)
        done = loop.progress
        task = self.bars.add_task("training", total=self.settings.steps, completed=done.step)

        def told(step: int, loss: float) -> None:
            self.bars.update(task, completed=step, description=f"training  loss {loss:.4f}")

        if not loop.train(learn, self.minutes, self.save_every, told):
            return None
        return {
            "steps": done.step,
            "seconds": round(done.seconds, 3),
            "memory": done.memory,
            "memory_of": "of the GPU" if self.place.type == "cuda" else "of the process",
            "device": str(self.place),
            "parameters": sum(value.numel() for value in loop.kept.values()),
            "losses": done.losses,
            "rates": done.rates,
        }

    # ---------------------------------------------------------------------------------------- scores

    def scored_whole(self, parts: Parts) -> dict[str, Any]:
        """Scores and calibration of the checkpoint as loaded from its folder, with the remedies of its marks."""
        scorer = self._loaded(self.whole)
        tally = tally_of(judged(self.bars.track(parts["calibration"], description="calibrating"), AskedJudge(scorer)))
        measured = {
            "date": _today(),
            "frames": len(parts["calibration"]),
            "failed": 0,
            "left_out": {},
            "no_opinion": dict(tally.none),
        }
        told = {"scores": self._scores(scorer, parts), "calibration": judge_json(self.out.name, tally, measured)}
        if self.compare:
            del scorer
            gc.collect()
            told["base_scores"] = self._scores(self._loaded(self.base), parts)
        return told

    def _loaded(self, folder: Path) -> CandidateScorer:
        return scoring.load(model=str(folder), device=self.device, template=self.template, lead=self.lead)

    def _scores(self, scorer: CandidateScorer, parts: Parts) -> dict[str, Any]:
        views = parts["test"]
        said = judged(self.bars.track(views, description="scoring relations"), AskedJudge(scorer))
        shown = self.bars.track(views, description="scoring places")
        return scores_of(len(views), said, overlaps(shown, lambda rgb, name: located(scorer, rgb, name)))


def _today() -> str:
    return datetime.datetime.now(datetime.timezone.utc).date().isoformat()
