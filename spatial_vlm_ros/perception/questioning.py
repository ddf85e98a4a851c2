# SPDX-License-Identifier: Apache-2.0
"""Ask a loaded backend whether its model looks at images, before it starts. See docs/remedies_diagnostics.md."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from spatial_vlm_ros.errors import FileError, InputError, ModelError, SpatialVlmError
from spatial_vlm_ros.perception.backends import BACKENDS, load_backend, takes_option
from spatial_vlm_ros.perception.backends.loading import model_folder
from spatial_vlm_ros.perception.verdict_cache import Known, key_of, remember, remembered
from spatial_vlm_ros.vlm.diagnostics.examination import Examined, examine
from spatial_vlm_ros.vlm.diagnostics.item_set import AMOUNTS, draw_items
from spatial_vlm_ros.vlm.diagnostics.items import Answerer
from spatial_vlm_ros.vlm.diagnostics.report import Diagnosis, diagnose

if TYPE_CHECKING:  # needs torch
    from spatial_vlm_ros.vlm.diagnostics.candidates import CandidateScorer

ASKED = "small"
"""Name of the number of questions asked at a start."""
SCORING = "spatial_vlm_ros.perception.backends.scoring:load"
"""Loads the model of a folder that is named instead of a backend."""
_log = logging.getLogger(__name__)


class BlindnessError(ModelError):
    """A model ignores images or misuses them; `verdict` says so in words."""

    def __init__(self, model: str, verdict: str) -> None:
        self.verdict = verdict
        super().__init__(
            model,
            f"it was tested with drawn images: {verdict}",
            "see spatial-vlm probe --blindness for the numbers; use another model, or blindness=warn",
        )


def load_answerer(name: str, options: Mapping[str, str]) -> Answerer:
    """Load a model that answers questions: a backend by name, the user's own code, or the model of a folder."""
    if (Path(name).expanduser() / "config.json").is_file():
        return answerer_of(name, load_backend(SCORING, {"model": name, **options}))
    given = {**options, "probe": "no"} if takes_option(name, "probe") else options
    return answerer_of(name, load_backend(name, given))


def answerer_of(name: str, backend: Any) -> Answerer:
    """Return what asks a backend's model: its `scorer` if likelihoods are available, else the backend itself."""
    asked = getattr(backend, "scorer", backend)
    if not callable(getattr(asked, "answer", None)):
        expected = "qwen-vl, vlm, server, a folder of a model, or your own backend with answer(rgb, question, choices)"
        raise InputError(
            f"grounder {name!r}", "a backend that does not answer questions", expected, "choose another backend"
        )
    return cast("Answerer", asked)


def scorer_of(answerer: Answerer) -> CandidateScorer | None:
    """Return the answerer if it scores candidates by likelihood and can be inspected, else None.

    It can only be one if its module was loaded already; torch is not loaded to find out.
    """
    loaded = sys.modules.get("spatial_vlm_ros.vlm.diagnostics.candidates")
    if loaded is None or not isinstance(answerer, loaded.CandidateScorer):
        return None
    return cast("CandidateScorer", answerer)


def examine_model(
    name: str, answerer: Answerer, amount: str, progress: Callable[[int, int], None] | None = None
) -> list[Examined]:
    """Ask a model all questions of a given amount.

    Args:
        amount: a key of AMOUNTS.
        progress: as in `examine`.
    """
    try:
        return examine(answerer, draw_items(AMOUNTS[amount]), progress=progress)
    except SpatialVlmError:
        raise
    except Exception as error:  # errors of torch, or of the user's own code
        reason = f"it failed when it was asked: {type(error).__name__}: {error}"
        raise ModelError(name, reason, "if memory ran out, use device=cpu") from error


def check_blindness(name: str, backend: Any, options: Mapping[str, str], how: str) -> None:
    """Ask the small set of questions; refuse or warn of a model with a fault, and warn if undecided.

    Args:
        how: "warn" or "refuse"; it also applies to a model that fails.
    """
    answerer, key = answerer_of(name, backend), cache_key(name, options)
    known = None if key is None else remembered(key)
    if known is None:
        try:
            found = diagnose(name, examine_model(name, answerer, ASKED))
        except ModelError as error:
            if how == "refuse":
                raise
            _log.warning("whether it looks at images is not known: %s", error)
            return
        known = Known(found.outcome, found.verdict)
        if key is not None:
            remember(key, known)
    if known.outcome == "found" and how == "refuse":
        raise BlindnessError(name, known.verdict)
    if known.outcome != "not found":
        _log.warning("model %r, tested with drawn images: %s", name, known.verdict)


def keep_verdict(name: str, options: Mapping[str, str], found: Diagnosis) -> None:
    """Store a verdict, so that the next start of the backend skips the questions.

    Args:
        found: diagnosis from the answers to all questions of ASKED.
    """
    key = cache_key(name, options)
    if key is not None:
        remember(key, Known(found.outcome, found.verdict))


def cache_key(name: str, options: Mapping[str, str]) -> str | None:
    """Key under which the verdict on a loaded backend is stored; None if it must not be stored.

    Verdicts are stored for our own backends whose model files are on this machine. Behind the name of a server, or of
    the user's own code, the model can change unnoticed. A file that cannot be read is logged.
    """
    if name not in BACKENDS or name == "server" or not options.get("model"):
        return None
    try:
        return key_of(name, model_folder(options["model"], model=name), options)
    except FileError as error:
        _log.warning("the verdict on the model was not saved, so it will be tested again: %s", error)
        return None
