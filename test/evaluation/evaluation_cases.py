# SPDX-License-Identifier: Apache-2.0
"""Cases and answers made up for the tests of reports: right ones, wrong ones, and hostile words."""

from collections.abc import Mapping, Sequence

from spatial_vlm_lab.reports.report import evaluation_page
from spatial_vlm_lab.scoring.outcome import EvaluationOutcome, ModelOutcome, ModelRun
from spatial_vlm_ros import types
from spatial_vlm_ros.recording.cases import Case, Expectation
from spatial_vlm_ros.types import Candidate, ClauseState, GraspHint, NounPhrase, Pose, Resolution, Status, Target

HOSTILE = "<script>alert('x')</script><img src=x onerror=alert(1)>|`\u202e\x1b[2J\n# head"


def target(id_: str, label: str = "cup") -> Target:
    pose = Pose("camera", (0.1, 0.2, 0.7), (0.0, 0.0, 0.0, 1.0))
    return Target(id_, label, pose, (0.1, 0.2, 0.68), (0.08, 0.08, 0.1), (0.0,) * 36, False, GraspHint(None, 0.08))


def answer(
    instruction: str, status: Status, id_: str | None = None, confidence: float = 0.9, label: str = "cup",
    message: str = "said", relation: str = "behind",
) -> Resolution:  # fmt: skip
    """An answer that measured one clause for one candidate; a refusal by the words has neither."""
    clause = types.ClauseMeasurement(relation, ("c",), -0.012, ClauseState.UNCLEAR, 0.4)
    candidates = (Candidate(id_ or "a", label, confidence, (clause,)), Candidate("b", "mug", 0.01))
    beside = types.RelationClause(relation, (NounPhrase("can"),))
    query = types.SpatialQuery(instruction, "pick", NounPhrase(label, relations=(beside,)))
    understood = status is not Status.NOT_UNDERSTOOD
    return Resolution(
        instruction,
        status,
        message,
        target=target(id_ or "a", label) if status is Status.OK else None,
        candidates=candidates if understood else (),
        frame_of_reference=types.FrameOfReference.VIEWER if understood else None,
        question="Which one?" if status is Status.AMBIGUOUS else None,
        confidence=confidence if understood else 0.0,
        query=query if understood else None,
        frame="f1",
        ms=12.5,
    )


def case(instruction: str, status: Status, id_: str | None = None, *kind: str) -> Case:
    return Case("f1", instruction, Expectation(status, id_), kind)


def some_run() -> tuple[list[Case], list[Resolution]]:
    """Twelve right answers, then one wrong object, one needless refusal, and one failure in hostile words."""
    words = [f"the cup {n}" for n in range(12)]
    pairs = [(case(one, Status.OK, "a", "usual"), answer(one, Status.OK, "a", 0.9 + n / 200))
             for n, one in enumerate(words)]  # fmt: skip
    pairs += [
        (case("the mug", Status.OK, "b", "counter-heuristic"), answer("the mug", Status.OK, "a", 0.85)),
        (case("the can", Status.OK, "a", "counter_heuristic"), answer("the can", Status.AMBIGUOUS, "a", 0.5)),
        (case(HOSTILE, Status.NOT_FOUND, None, HOSTILE),
         answer(HOSTILE, Status.OK, HOSTILE, 0.99, HOSTILE, HOSTILE, HOSTILE)),
    ]  # fmt: skip
    return [c for c, _ in pairs], [a for _, a in pairs]


def page_of(
    outcome: ModelOutcome, answers: Sequence[Resolution], title: str, images: Mapping[int, bytes] | None = None
) -> str:
    run = ModelRun("", list(outcome.cases), dict(enumerate(answers)), images=dict(images or {}))
    return evaluation_page(EvaluationOutcome((outcome,)), [run], title)
