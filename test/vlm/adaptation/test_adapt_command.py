# SPDX-License-Identifier: Apache-2.0
"""`spatial-vlm adapt` from frames to a folder that is loaded and scored; what a model learns from, and refusals."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_runs import run
from click.testing import Result
from tables import tables

pytest.importorskip("tiny_bases")
pytest.importorskip("peft")
import torch
from frame_files import case, write_cases
from safetensors.torch import load_file
from small_scorers import PALIGEMMA, PALIGEMMA_WARNS, small_scorer
from tiny_bases import base_folder, drawn_views, frames_folder, question_items

from spatial_vlm_lab.adaptation import lessons as teaching
from spatial_vlm_lab.adaptation.running import Adaptation
from spatial_vlm_lab.adaptation.views import read_store, split_groups, write_group
from spatial_vlm_lab.comparison.judge_calibration import JudgeTally, RelationLabel, ask_relations
from spatial_vlm_ros.errors import FileError, InputError, ModelError
from spatial_vlm_ros.parameters import ResolverConfig
from spatial_vlm_ros.perception import load_grounder
from spatial_vlm_ros.perception.backends import scoring
from spatial_vlm_ros.perception.domain import domain_of
from spatial_vlm_ros.perception.imported_detections import GivenDetections
from spatial_vlm_ros.perception.judging import CHOICES, QUESTION, AskedJudge, RelationQuestion, judge_of
from spatial_vlm_ros.recording.cases import load_cases
from spatial_vlm_ros.recording.frame_folder import load_frame
from spatial_vlm_ros.spatial.clause_judge import load_calibrations
from spatial_vlm_ros.types import Rgb
from spatial_vlm_ros.types.proportions import wilson
from spatial_vlm_ros.vlm.parts import parts_of

TABLES = tables(__file__)

RELATIONS = ("left of", "right of")


def adapt(base: Path, out: Path, *words: object, data: Path | None = None, steps: int = 4) -> Result:
    given = ["--out", out, "--batch", 2, "--steps", steps, "--device", "cpu", "--save-every", 1, *words]
    return run("adapt", base, *given, *(("--data", data) if data else ()))


def told(out: Path) -> dict[str, Any]:
    return dict(json.loads((out / "adaptation.json").read_text()))


def tally(model: Path, frames: Path, names: list[str]) -> JudgeTally:
    """What the model of a folder says of the cases of some frames, asked as `evaluate --judge-calibration` does."""
    found, cases = JudgeTally(), [one for one in load_cases(frames) if one.frame in names]
    judge = AskedJudge(scoring.load(model=str(model), device="cpu"))
    ask_relations(frames, cases, judge, ResolverConfig(), found, 1e9)
    return found


@pytest.fixture(scope="module")
def adapted(bases: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with another encoder, positions, norm and layers, long enough trained to have opinions."""
    out = tmp_path_factory.mktemp("adapted") / "model"
    words = ("--method", "lora", "--norm", "published", "--positions", "axial", "--features", "1,3", "--rate", 0.01)
    made = adapt(bases / "llava", out, "--encoder", bases / "siglip", *words, data=bases / "frames", steps=12)
    assert made.exit_code == 0, made.output
    return out


def test_the_numbers_of_the_card_are_those_of_the_evaluation(bases: Path, adapted: Path) -> None:
    groups = split_groups([f"{number:06d}" for number in range(8)], 0)
    scored = tally(adapted, bases / "frames", [f"f{int(name)}" for name in groups["test"]])
    found, card = told(adapted), (adapted / "README.md").read_text()
    assert found["data"]["views"] == {name: len(of) for name, of in groups.items()}
    assert any(scored.said.values()) or any(scored.none.values())
    for relation in RELATIONS:
        said = scored.said[relation]
        right = wilson(sum((p > 0.5) is holds for p, holds in said), len(said))
        one = found["scores"]["relations"][relation]
        assert one["right"] == {"k": right.k, "n": right.n, "share": right.share, "low": right.low, "high": right.high}
        held = [p > 0.5 for p, holds in said if holds]
        assert (one["held"]["k"], one["held"]["n"]) == (sum(held), len(held))
        assert one["none"] == scored.none[relation]
        assert one["right"]["n"] + one["none"] == 2  # one frame: a cup for which it holds, and the other one
        assert re.search(rf"\| {relation} \| {right.k} / {right.n} \|.*\| 1 / 2 \| {one['none']} \|", card)
    run = found["run"]
    assert f"| steps | {run['steps']} |" in card
    assert f"| trained | {run['parameters']:,} parameters |" in card
    (first, begun), (last, ended) = run["losses"][0], run["losses"][-1]
    assert f"| mean loss | {begun:.4f} up to step {first}, {ended:.4f} up to step {last} |" in card
    assert run["losses"][-1][1] < run["losses"][0][1]
    assert "| base | llava |" in card
    assert "| encoder | siglip |" in card
    assert "Not for" in card
    assert "Real images" not in card  # it was scored on labelled frames
    assert not (adapted.parent / "model.adapting").exists()


def test_the_calibration_is_of_frames_that_were_not_scored_on(bases: Path, adapted: Path) -> None:
    groups = split_groups([f"{number:06d}" for number in range(8)], 0)
    measured = tally(adapted, bases / "frames", [f"f{int(name)}" for name in groups["calibration"]])
    loaded = load_calibrations(adapted / "calibration.json")
    assert loaded.model == "model"
    assert loaded.by_relation == measured.calibrations()
    file = json.loads((adapted / "calibration.json").read_text())
    assert file["measured"]["no_opinion"] == dict(measured.none)
    assert not set(groups["calibration"]) & set(groups["test"])


def finding() -> GivenDetections:
    return GivenDetections([])


def test_the_folder_judges_relations_beside_any_detector(bases: Path, adapted: Path) -> None:
    options = {"grounder": "test_adapt_command:finding", "judge": str(adapted), "judge_options": "device=cpu"}
    frame, seen = load_frame(bases / "frames" / "f0")
    questions = [RelationQuestion(name, seen[0].box_xyxy, seen[1].box_xyxy) for name in CHOICES]
    composed = judge_of(load_grounder("composed", options))
    alone = AskedJudge(scoring.load(model=str(adapted), device="cpu"))
    assert composed.judge(frame.rgb, questions, 60.0) == alone.judge(frame.rgb, questions, 60.0)
    assert domain_of(composed) == "unknown"
    with pytest.raises(InputError, match="family"):
        load_grounder("composed", {**options, "judge_options": "family=llava"})
    with pytest.raises(InputError, match="judge_options"):
        load_grounder("composed", {"grounder": "test_adapt_command:finding", "judge_options": "device=cpu"})


def test_a_judge_of_rendered_frames_alone_is_for_simulated_images(adapted: Path, tmp_path: Path) -> None:
    rendered = shutil.copytree(adapted, tmp_path / "rendered")
    options = {"grounder": "test_adapt_command:finding", "judge": str(rendered), "judge_options": "device=cpu"}
    (rendered / "adaptation.json").write_text(json.dumps({**told(adapted), "domain": "simulated"}))
    assert domain_of(load_grounder("composed", options)) == "simulated"
    (rendered / "adaptation.json").write_text(json.dumps({**told(adapted), "domain": "nowhere"}))
    with pytest.raises(ModelError, match="nowhere"):
        load_grounder("composed", options)


def test_the_base_is_scored_on_the_same_frames(bases: Path, tmp_path: Path) -> None:
    made = adapt(bases / "llava", tmp_path / "out", "--method", "pin", "--compare", data=bases / "frames", steps=1)
    assert made.exit_code == 0, made.output
    found, card = told(tmp_path / "out"), (tmp_path / "out" / "README.md").read_text()
    _, _, behind = card.partition("## The base on the same views")
    groups = split_groups([f"{number:06d}" for number in range(8)], 0)
    scored = tally(bases / "llava", bases / "frames", [f"f{int(name)}" for name in groups["test"]])
    for relation in RELATIONS:
        one = found["base_scores"]["relations"][relation]
        assert (one["right"]["n"], one["none"]) == (len(scored.said[relation]), scored.none[relation])
        assert f"| {relation} | {one['right']['k']} / {one['right']['n']} |" in behind


def test_a_finished_run_is_replaced_by_force(bases: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base, frames, out = bases / "llava", bases / "frames", tmp_path / "out"
    assert adapt(base, out, "--method", "projector", data=frames, steps=1).exit_code == 0
    before = (out / "model.safetensors").read_bytes()
    with monkeypatch.context() as patched:
        patched.setattr(Adaptation, "read_folders", None)  # nothing is read or trained
        again = adapt(base, out, "--method", "projector", "--json", data=frames, steps=1)
    assert again.exit_code == 0
    assert json.loads(again.output.splitlines()[-1])["run"]["steps"] == 1
    other = adapt(base, out, "--method", "projector", data=frames, steps=2)
    assert other.exit_code == 3
    assert "adapted with other settings" in other.output
    assert (out / "model.safetensors").read_bytes() == before
    forced = adapt(base, out, "--method", "projector", "--force", data=frames, steps=2)
    assert forced.exit_code == 0, forced.output
    assert (out / "model.safetensors").read_bytes() != before
    assert told(out)["run"]["steps"] == 2


def test_runs_that_were_refused_or_interrupted_do_not_stand_in_the_way(bases: Path, tmp_path: Path) -> None:
    base, frames, out = bases / "llava", bases / "frames", tmp_path / "out"
    refused = adapt(base, out, "--method", "projector", "--features", "1,9", data=frames)
    assert refused.exit_code == 3
    assert not (tmp_path / "out.adapting").exists()
    assert adapt(base, out, "--method", "pin", "--minutes", 1e-9, data=frames).exit_code == 3
    for seed in (1, 2):
        anew = adapt(base, out, "--method", "pin", "--seed", seed, "--minutes", 1e-9, "--force", data=frames)
        assert anew.exit_code == 3, anew.output
    done = adapt(base, out, "--method", "pin", "--seed", 2, data=frames, steps=4)
    assert done.exit_code == 0, done.output
    assert told(out)["settings"]["seed"] == 2


def test_as_many_views_are_scored_as_was_asked_for(bases: Path, tmp_path: Path) -> None:
    frames = frames_folder(tmp_path / "frames", 14)
    done = adapt(bases / "llava", tmp_path / "out", "--method", "pin", "--scored", 1, data=frames, steps=1)
    assert done.exit_code == 0, done.output
    assert told(tmp_path / "out")["data"]["views"] == {"training": 10, "calibration": 1, "test": 1}
    assert told(tmp_path / "out")["scores"]["views"] == 1


def test_a_folder_of_something_else_is_never_replaced(bases: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("years of work")
    (tmp_path / "out.adapting").mkdir()
    (tmp_path / "out.adapting" / "notes.txt").write_text("mine")
    for force in ((), ("--force",)):
        done = adapt(bases / "llava", tmp_path / "thesis", "--method", "pin", *force, data=bases / "frames")
        assert done.exit_code == 3
        assert "contains other files" in done.output
    done = adapt(bases / "llava", tmp_path / "out", "--method", "pin", data=bases / "frames")
    assert "contains other files" in done.output
    assert (tmp_path / "thesis" / "chapter.txt").read_text() == "years of work"
    assert (tmp_path / "out.adapting" / "notes.txt").read_text() == "mine"


def test_an_interrupted_run_goes_on(bases: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its weights are those of an unbroken run: test_adapt_learning.py."""
    base, frames, words = bases / "llava", bases / "frames", ("--method", "pin")
    out = tmp_path / "out"
    first = adapt(base, out, *words, "--minutes", 1e-9, data=frames)
    assert first.exit_code == 3
    assert "run the same command again to continue" in first.output
    assert not out.exists()
    refused = adapt(base, out, *words, "--seed", 1, data=frames)
    assert refused.exit_code == 3
    assert "--force" in refused.output
    with monkeypatch.context() as patched:  # killed after the last step, while the checkpoint is written
        patched.setattr(Adaptation, "scored_whole", None)
        with pytest.raises(TypeError):
            adapt(base, out, *words, data=frames)
    assert not out.exists()
    assert (tmp_path / "out.adapting" / "whole" / "model.safetensors").is_file()
    assert adapt(base, out, *words, data=frames).exit_code == 0
    assert told(out)["run"]["steps"] == 4


def test_an_encoder_that_learnt_regions_is_put_into_a_model(bases: Path, tmp_path: Path) -> None:
    encoder, out = tmp_path / "encoder", tmp_path / "out"
    made = adapt(bases / "llava", encoder, "--method", "cloc", data=bases / "frames", steps=2)
    assert made.exit_code == 0, made.output
    card = (encoder / "README.md").read_text()
    scores = told(encoder)["scores"]
    assert f"Captions found: {scores['captions']['k']} of {scores['captions']['n']} (" in card
    assert scores["captions"]["n"] == 3  # "red cup", "green box", "blue cup"
    assert not (encoder / "calibration.json").exists()
    own, new = load_file(bases / "llava" / "model.safetensors"), load_file(encoder / "model.safetensors")
    key = next(name for name in new if name.endswith("patch_embedding.weight"))
    before = next(value for name, value in own.items() if name.endswith("patch_embedding.weight"))
    assert not torch.equal(new[key], before)
    words = ("--method", "projector", "--encoder", encoder)
    made = adapt(bases / "llava", out, *words, data=bases / "frames", steps=1)
    assert made.exit_code == 0, made.output
    vision = parts_of(scoring.load(model=str(out), device="cpu").model).vision
    assert torch.equal(vision.state_dict()["embeddings.patch_embedding.weight"], new[key])


@pytest.mark.filterwarnings(PALIGEMMA_WARNS)
def test_a_pin_goes_into_paligemma_with_a_template(bases: Path, tmp_path: Path) -> None:
    base, out = base_folder(tmp_path / "paligemma", "paligemma"), tmp_path / "out"
    without = adapt(base, out, "--method", "pin", data=bases / "frames", steps=1)
    assert without.exit_code == 3
    assert "chat template" in without.output
    made = adapt(base, out, "--method", "pin", "--template", PALIGEMMA, "--force", data=bases / "frames", steps=1)
    assert made.exit_code == 0, made.output
    assert (out / "model.safetensors").read_bytes() == (base / "model.safetensors").read_bytes()


def test_true_relations_of_rendered_views_hold_one_way_and_follow_from_the_seed() -> None:
    pytest.importorskip("mujoco")
    from spatial_vlm_lab.sim.training_frames import adaptation_views

    views = [view for world in (1, 2) for view in adaptation_views(world, 2, (160, 120))]
    for view in views:
        known = {(one.relation, one.target, one.anchor): one.holds for one in view.relations}
        held = [key for key, holds in known.items() if holds]
        assert {True, False} == set(known.values())
        assert not any(known.get((name, anchor, target)) for name, target, anchor in held if name != "beside")
        turned = {"on": "under", "under": "on"}
        assert all(known.get((turned[name], b, a), True) for name, a, b in held if name in turned)
    for one, again in zip(views, adaptation_views(1, 2, (160, 120)), strict=False):
        assert np.array_equal(one.rgb, again.rgb)
        assert (one.objects, one.relations) == (again.objects, again.relations)


def test_rendered_worlds_need_no_frames(bases: Path, tmp_path: Path) -> None:
    pytest.importorskip("mujoco")
    words = ("--method", "projector", "--rendered", 3, "--views", 1)
    made = adapt(bases / "llava", tmp_path / "out", *words, steps=1)
    assert made.exit_code == 0, made.output
    found, card = told(tmp_path / "out"), (tmp_path / "out" / "README.md").read_text()
    assert found["data"] == {"rendered": 3, "frames": 0, "views": {"training": 1, "calibration": 1, "test": 1}}
    assert set(found["scores"]["relations"]) >= {"left of", "right of", "behind", "in front of"}
    usual, counter = (found["scores"][name] for name in ("usual", "counter"))
    depth = [found["scores"]["relations"][name] for name in ("behind", "in front of")]
    asked, split = (sum(one["right"]["n"] + one["none"] for one in some) for some in (depth, (usual, counter)))
    assert asked == split
    assert "Real images" in card
    assert found["domain"] == "simulated"


def test_data_without_truth_and_frames_that_cannot_be_read_are_refused(bases: Path, tmp_path: Path) -> None:
    frames = shutil.copytree(bases / "frames", tmp_path / "frames")

    def refused(*words: str) -> None:
        done = adapt(bases / "llava", tmp_path / "out", "--method", "projector", data=frames)
        assert done.exit_code == 3
        assert all(word in done.output for word in words)

    (frames / "f3" / "rgb.png").write_bytes(b"")
    refused("f3")
    write_cases(frames, [case("f0", "the box", "d1"), case("f1", "the cup on the roof", status="NOT_FOUND")])
    refused("docs/evaluation.md")
    (frames / "cases.jsonl").unlink()
    refused("cases.jsonl")


@pytest.mark.parametrize(("base", "words", "code", "said"), TABLES["options and bases that cannot be"])
def test_options_and_bases_that_cannot_be_are_told(
    bases: Path, tmp_path: Path, base: str, words: tuple[object, ...], code: int, said: str
) -> None:
    done = adapt(bases / base, tmp_path / "out", "--rendered", 3, *words)
    assert done.exit_code == code, done.output
    assert said in done.output
    assert not list(tmp_path.iterdir())


VIEW = next(iter(drawn_views(1)))
LEFT, RIGHT = VIEW.objects[0].box_xyxy, VIEW.objects[2].box_xyxy


class Noting:
    def __init__(self) -> None:
        self.asked: list[tuple[Rgb, str, tuple[str, ...]]] = []

    def answer(self, rgb: Rgb, question: str, choices: list[str]) -> str:
        self.asked.append((rgb, question, tuple(choices)))
        mirrored = len(self.asked) == 3
        return sorted(choices)[mirrored]


@pytest.mark.filterwarnings(PALIGEMMA_WARNS)
@pytest.mark.parametrize("kind", ["llava", "paligemma", "qwen2_vl", "qwen2_5_vl", "qwen3_vl"])
def test_the_loss_of_a_batch_is_that_of_each_answer_as_the_scorer_has_it(kind: str) -> None:
    scorer = small_scorer(kind, question_items())
    scorer.model.double()
    lessons = [
        teaching.AdaptLesson(VIEW.rgb, QUESTION, CHOICES["on"][0], "on top"),
        teaching.AdaptLesson(VIEW.rgb[::-1].copy(), QUESTION, CHOICES["left of"][0], "right"),
        teaching.AdaptLesson(VIEW.rgb, f"{QUESTION} {QUESTION}", CHOICES["behind"][0], "in front"),
    ]
    with torch.no_grad():
        losses = teaching.answer_losses(scorer.model, *teaching.lesson_batch(scorer, lessons)).tolist()
    wanted = [-scorer.scores(one.rgb, one.question, [one.answer])[0] for one in lessons]
    with_choices = []
    for one in lessons:
        scores = scorer.scores(one.rgb, one.question, one.choices)
        with_choices.append(-scores[one.choices.index(one.answer)])
    assert losses == pytest.approx(with_choices, rel=1e-5)
    assert wanted != pytest.approx(with_choices, rel=1e-5)  # the choices are part of the prompt


@pytest.mark.parametrize("relation", ["left of", "behind", "on"])
def test_lessons_ask_what_the_judge_asks(relation: str) -> None:
    model = Noting()
    AskedJudge(model).judge(VIEW.rgb, [RelationQuestion(relation, LEFT, RIGHT)], 60.0)
    label = RelationLabel(relation, LEFT, RIGHT, holds=True)
    lessons = [teaching.relation_lesson(VIEW, label, swapped, mirrored) for swapped, mirrored in
               ((False, False), (True, False), (False, True))][: len(model.asked)]  # fmt: skip
    for lesson, (rgb, question, choices) in zip(lessons, model.asked, strict=True):
        assert np.array_equal(lesson.rgb, rgb)
        assert (lesson.question, lesson.choices) == (question, choices)
    answers = [lesson.answer for lesson in lessons]
    assert answers == [CHOICES[relation][1]] * 2 + (["right"] if relation == "left of" else [])
    label = RelationLabel("beside", LEFT, RIGHT, holds=True)
    beside = teaching.relation_lesson(VIEW, label, swapped=True, mirrored=True)
    assert (beside.answer, beside.choices) == ("beside", CHOICES["on"][0][::-1])  # no contact holds


def test_places_are_written_in_whole_patches_and_read_again() -> None:
    words = teaching.LocationWords(224, 14)
    assert words.words((0.0, 30.0, 320.0, 480.0), 640, 480) == "[0,14,112,224]"
    assert words.words((1.0, 1.0, 2.0, 2.0), 640, 480) == "[0,0,14,14]"
    assert words.words((639.0, 479.0, 640.0, 480.0), 640, 480) == "[210,210,224,224]"
    assert words.box("It is at [0, 14, 112, 224].", 640, 480) == (0.0, 30.0, 320.0, 480.0)
    assert words.box("nowhere", 640, 480) is None
    assert words.box("[20,20,10,30]", 640, 480) is None
    lesson = teaching.location_lesson(VIEW, VIEW.objects[0], teaching.LocationWords(32, 8))
    assert VIEW.objects[0].name in lesson.question
    assert lesson.choices == ()


def store(folder: Path, views: int) -> Path:
    for number, view in enumerate(drawn_views(views)):
        write_group(folder, "drawn", f"{number:03d}", [view])
    return folder


def test_lessons_depend_on_step_and_row_alone_and_take_relations_in_turn(tmp_path: Path) -> None:
    views = read_store(store(tmp_path, 8), 0)["training"]
    lessons, again = (teaching.RelationLessons(views, 3, 0.25, teaching.LocationWords(32, 8)) for _ in range(2))
    drawn = [lessons(step, row) for step in range(60) for row in range(2)]
    for number in (0, 7, 119):
        other = again(number // 2, number % 2)
        assert (other.answer, other.choices) == (drawn[number].answer, drawn[number].choices)
        assert np.array_equal(other.rgb, drawn[number].rgb)
    answers = {lesson.answer for lesson in drawn if lesson.choices}
    assert {"left", "right", "beside"} <= answers
    share = sum(not lesson.choices for lesson in drawn) / len(drawn)
    assert 0.1 < share < 0.45
    sides = [lesson.answer for lesson in drawn if "left" in lesson.choices]
    assert 0.25 < sides.count("left") / len(sides) < 0.75


def test_views_come_back_from_the_disk_as_they_were_and_groups_are_in_one_part_each(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        write_group(tmp_path, "drawn", name, [VIEW])
    parts = read_store(tmp_path, 0)
    assert {name: len(views) for name, views in parts.items()} == {"training": 1, "calibration": 1, "test": 1}
    stored = parts["test"][0]
    assert np.array_equal(stored.rgb, VIEW.rgb)
    assert (stored.objects, stored.relations) == (VIEW.objects, VIEW.relations)
    stored.path.write_bytes(b"no image")
    with pytest.raises(FileError, match="--force"):
        _ = stored.rgb
    (tmp_path / "drawn" / "a.json").write_text("[{}]")
    with pytest.raises(FileError, match="drawn"):
        read_store(tmp_path, 0)
    names = [str(number) for number in range(40)]
    groups = split_groups(names, 0)
    assert sorted(name for some in groups.values() for name in some) == sorted(names)
    assert {part: len(of) for part, of in groups.items()} == {"training": 28, "calibration": 6, "test": 6}
    assert split_groups(names, 0) == split_groups(names[::-1], 0) != split_groups(names, 1)


def test_too_few_views_and_answers_without_tokens_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="at least 3 scenes"):
        read_store(store(tmp_path / "two", 2), 0)
    with pytest.raises(InputError, match="some of both"):
        teaching.RelationLessons([], 0, 0.25, teaching.LocationWords(32, 8))
    views = read_store(store(tmp_path / "three", 3), 0)["training"]
    assert teaching.RelationLessons(views, 0, 1.0, teaching.LocationWords(32, 8))(0, 0).choices == ()
    scorer = small_scorer("llava", question_items())
    with pytest.raises(InputError, match="token"):
        teaching.lesson_batch(scorer, [teaching.AdaptLesson(VIEW.rgb, QUESTION, ("left",), "")])
