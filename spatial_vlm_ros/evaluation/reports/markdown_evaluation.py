# SPDX-License-Identifier: Apache-2.0
"""An evaluation as Markdown: models beside each other, then each of them as `markdown.markdown_summary` has it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from spatial_vlm_ros.evaluation.evaluation_outcome import UNKNOWN, EvaluationOutcome, ModelOutcome
from spatial_vlm_ros.evaluation.model_run import UnusableCases, by_reason
from spatial_vlm_ros.evaluation.reports.markdown import MOST_LISTED, escape, markdown_summary, percent, points, table
from spatial_vlm_ros.types.proportions import Share


def markdown_evaluation(
    evaluation: EvaluationOutcome, title: str, images: Mapping[str, Mapping[int, str]] | None = None
) -> str:
    """Everything that is said of an evaluation, as GitHub-flavoured Markdown.

    Args:
        images: name of a model → number of its judged case, from 0 → its drawn answer, relative to the document.
    """
    images = images or {}
    models = evaluation.models
    if len(models) == 1:
        parts = [markdown_summary(models[0].outcome, title, images.get(models[0].name)), *_whole(evaluation)]
        return "\n".join([parts[0].rstrip("\n"), "", *parts[1:]]).rstrip("\n") + "\n"
    lines = [f"# {escape(title)}", "", *_figures(models), *_whole(evaluation)]
    for model in models:
        summary = markdown_summary(model.outcome, model.name, images.get(model.name))
        lines.append(f"#{summary}".replace("\n## ", "\n### "))
    return "\n".join(lines).rstrip("\n") + "\n"


def _whole(evaluation: EvaluationOutcome) -> Iterator[str]:
    yield from _errors(evaluation.models)
    yield from _pairs(evaluation)
    for note in evaluation.notes:
        yield f"- {escape(note)}"
    if evaluation.notes:
        yield ""
    yield from _unusable(by_reason(case for model in evaluation.models for case in model.unusable))


def _figures(models: tuple[ModelOutcome, ...]) -> Iterator[str]:
    def told(share: Share) -> str:
        return f"{share.k} / {share.n}, {percent(share)}" if share.n else ""

    rows = (
        (escape(m.name), told(m.outcome.score.complete), told(m.outcome.score.right_instance),
         told(m.outcome.score.wrong_pose), told(m.outcome.score.pose_on_refusal), told(m.oracle))
        for m in models
    )  # fmt: skip
    heads = ("model", "as expected, place and all", "right instance", "wrong pose among answers",
             "pose where a refusal was expected", "the resolver alone")  # fmt: skip
    yield from table(heads, rows)


def _errors(models: tuple[ModelOutcome, ...]) -> Iterator[str]:
    names = list(dict.fromkeys(error for model in models for error in model.errors))
    if not names:
        return
    yield "What went wrong (to blame: the model / the resolver / not known):"
    yield ""
    rows = ((name, *(_blamed(model.errors.get(name, {})) for model in models)) for name in names)
    yield from table(("error", *(escape(model.name) for model in models)), rows)


def _blamed(counts: Mapping[str, int]) -> str:
    if not counts:
        return "0"
    return f"{sum(counts.values())} ({counts['model']} / {counts['resolver']} / {counts[UNKNOWN]})"


def _pairs(evaluation: EvaluationOutcome) -> Iterator[str]:
    rows = [
        (escape(one.first), escape(one.second), one.metric, f"{one.first_k} / {one.second_k} of {one.n}",
         f"{one.only_first} / {one.only_second}", points(one.difference), f"{one.p:.3g}", f"{one.p_holm:.3g}",
         one.verdict.value)
        for one in evaluation.pairs
    ]  # fmt: skip
    if rows:
        heads = ("first", "second", "figure", "k", "only first / second", "difference (95 %, over images)", "p",
                 "p (Holm)", "the first is")  # fmt: skip
        yield from table(heads, rows)


def _unusable(groups: list[UnusableCases]) -> Iterator[str]:
    if not groups:
        return
    yield f"## {sum(group.count for group in groups)} not judged"
    yield ""
    rows = ((escape(g.image), escape(g.first.instruction), escape(g.first.problem)) for g in groups[:MOST_LISTED])
    yield from table(("image", "instruction", "why"), rows)
