# SPDX-License-Identifier: Apache-2.0
"""Ask a model about the relations between the objects that measurement chose from, or about the whole phrase.

This module decides when the grounder's model is asked, and what happens if it fails. `spatial.clause_judge` and
`spatial.second_opinion` weigh the answers; `judging` asks the questions about relations.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

from spatial_vlm_ros.errors import CancelledError, InputError, ModelError, SpatialVlmError
from spatial_vlm_ros.parameters import ResolverConfig
from spatial_vlm_ros.perception.domain import check_domain
from spatial_vlm_ros.perception.grounder import Grounder
from spatial_vlm_ros.perception.referring import Referrer, named
from spatial_vlm_ros.spatial.decision import ResolvedChoice
from spatial_vlm_ros.spatial.phrase_scorer import PhraseScorer
from spatial_vlm_ros.types import JudgeReport, SpatialQuery

if TYPE_CHECKING:
    from spatial_vlm_ros.perception.judging import RelationJudge
    from spatial_vlm_ros.spatial.clause_judge import JudgeCalibrations
    from spatial_vlm_ros.spatial.second_opinion import Reliabilities

MOST_CANDIDATES = 4
"""Number of likeliest candidates whose relations are asked about."""
_log = logging.getLogger(__name__)


class RelationAsking:
    """Asks the grounder's model, if there is one; it is prepared once, on first use."""

    def __init__(self, config: ResolverConfig, grounder: Grounder | None) -> None:
        self._config, self._grounder = config, grounder
        self._calibrations: JudgeCalibrations | None = None
        self._judge: RelationJudge | None = None
        self._unmarked = False  # whether the grounder marks objects in its own way while other marks are wanted

    def who(self, *, given: bool) -> RelationJudge | None:
        """Choose the judge to ask; None = none."""
        config = self._config.judge
        by_itself = config.mode == "auto"
        if config.mode == "off" or (by_itself and given):
            return None
        from spatial_vlm_ros.perception.judging import CannotJudgeError, judge_of, with_marks

        judge = judge_of(self._grounder)
        if judge is None:
            if by_itself:
                return None
            raise CannotJudgeError("no grounder" if self._grounder is None else type(self._grounder).__name__)
        if self._judge is None and not self._unmarked:  # kept, because it may have probed the model
            try:
                self._judge = with_marks(judge, config.marks)
            except InputError as error:
                if not by_itself:
                    raise
                self._unmarked = True
                _log.warning("no model is asked about relations: %s", error)
        return self._judge

    def judged(
        self, choice: ResolvedChoice, scorer: PhraseScorer, queries: Sequence[SpatialQuery], judge: RelationJudge,
        candidates: int = MOST_CANDIDATES,
    ) -> ResolvedChoice:  # fmt: skip
        """Ask a model about relations of the candidates and update the choice. A failing model changes nothing."""
        from spatial_vlm_ros.perception import judging
        from spatial_vlm_ros.spatial.clause_judge import JudgeCalibrations, asked_of, load_calibrations, with_judgements

        config, gate = self._config.judge, self._config.domain_gate
        if config.mode == "auto" and not judging.tells_likelihoods(judge):  # for a worker it is known once it is loaded
            return choice
        if self._calibrations is None:
            self._calibrations = load_calibrations(config.calibration) if config.calibration else JudgeCalibrations()
        asked = asked_of(choice, scorer, tuple(judging.CHOICES), config.most_relations, candidates)
        if not asked.questions:
            return choice
        objects = scorer.layout.scene.objects
        questions = tuple(
            judging.RelationQuestion(relation, objects[target].detection.box_xyxy, objects[anchor].detection.box_xyxy)
            for relation, target, anchor in (one.key for one in asked.questions)
        )
        name, frame = str(getattr(judge, "name", type(judge).__name__)), scorer.layout.scene.frame
        try:
            check_domain(self._grounder, gate, frame.domain)
            told = judge.judge(frame.rgb, questions, config.budget_s)
            check_domain(self._grounder, gate, frame.domain)  # a worker has reported by now what it loaded
            said = judging.check_probabilities(told, len(questions), name)
        except (CancelledError, judging.CannotJudgeError):  # the last: a worker whose backend cannot be asked
            raise
        except Exception as error:  # as for a grounder, but here the geometry has answered
            words = str(error) if isinstance(error, SpatialVlmError) else f"{type(error).__name__}: {error}"
            _log.warning("relations are not judged by a model: %s", words)
            return dataclasses.replace(choice, judge=JudgeReport((), "reported", f"it failed: {words}"))
        return with_judgements(choice, scorer, queries, asked, said, self._calibrations)


class PhraseAsking:
    """Asks a model which object the whole phrase means."""

    def __init__(self, config: ResolverConfig) -> None:
        self._config = config.second_opinion
        self.reliabilities: Reliabilities | None = None  # read from `second_opinion.reliability` when it is first asked

    def cross_checked(self, choice: ResolvedChoice, scorer: PhraseScorer, referrer: Referrer) -> ResolvedChoice:
        """Update a choice with the answer of the model; its errors are raised."""
        from spatial_vlm_ros.spatial.second_opinion import Reliabilities, cross_check, load_reliabilities, words_for

        path = self._config.reliability
        if self.reliabilities is None:
            self.reliabilities = load_reliabilities(path) if path else Reliabilities()
        scene, name = scorer.layout.scene, type(referrer).__name__
        words = words_for(choice.query.target, scorer.default_frame)
        try:
            found = referrer.refer(scene.frame.rgb, words)
        except (ModelError, CancelledError, InputError):  # InputError: a worker whose backend cannot refer
            raise
        except Exception as error:  # as for a grounder: it costs one request
            raise ModelError(name, f"{type(error).__name__}: {error}", "see the backend's own log") from error
        row = named(found, [obj.detection for obj in scene.objects], self._config.overlap, name)
        return cross_check(choice, scorer, row, self.reliabilities)
