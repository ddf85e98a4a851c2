# SPDX-License-Identifier: Apache-2.0
"""Relations of other packages: installed as pip leaves them, said, measured, shown, placed; broken ones and clashes."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import Mock

import numpy as np
import pytest
from relation_scenes import Ground, Object

from spatial_vlm_ros.errors import FrameUndefinedError, InputError, PlugInError
from spatial_vlm_ros.spatial.relations import Pairs
from spatial_vlm_ros.spatial.relations.table import of_pairs, of_two
from spatial_vlm_ros.types import FrameOfReference, Relation

ROOT = Path(__file__).resolve().parents[2]
ASK = Path(__file__).with_name("ask_with_packages.py")

LEVEL = """
import numpy as np
from spatial_vlm_ros.types import Relation

def level(pairs):
    return 0.02 - np.abs(pairs.difference(pairs.layout.top, pairs.layout.top)), pairs.noise_up

RELATION = Relation("coplanar with", level, surfaces=("of a height with",), verbs=("rises|rise as far as",))
"""
EQUIDISTANT = """
import numpy as np
from spatial_vlm_ros.spatial.relations import Pairs
from spatial_vlm_ros.types import Relation

def equidistant(layout, view, targets, first, second):
    one, other = Pairs(layout, view, targets, first), Pairs(layout, view, targets, second)
    apart = np.abs(one.distance[:, :, None] - other.distance[:, None, :])
    return 0.02 - apart, np.hypot(one.noise[:, :, None], other.noise[:, None, :])

RELATION = Relation("equidistant from", equidistant, anchors=2, placeable=True)
"""
BARE = "from spatial_vlm_ros.types import Relation\nRELATION = Relation({!r}, len, {!r})\n"


def install(site: Path, package: str, module: str, name: str, metadata: str = "dist-info") -> None:
    info = site / f"{package}-1.0.{metadata}"
    info.mkdir(parents=True)
    (info / ("METADATA" if metadata == "dist-info" else "PKG-INFO")).write_text(
        f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n"
    )
    entry = f"[spatial_vlm_ros.relations]\n{name.replace(' ', '-')} = {package}:RELATION\n"
    (info / "entry_points.txt").write_text(entry)
    (site / f"{package}.py").write_text(module)


def run(site: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    paths = os.pathsep.join((str(ROOT), str(site), os.environ.get("PYTHONPATH", "")))
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, check=True, cwd=site.parent,
        env={**os.environ, "PYTHONPATH": paths},
    )  # fmt: skip


class Told(NamedTuple):
    answer: dict[str, Any]
    words: str
    reads_again: bool

    @property
    def id(self) -> str:
        return self.answer["target"]["id"]

    def clause(self, id_: str) -> dict[str, Any]:
        (candidate,) = (each for each in self.answer["candidates"] if each["id"] == id_)
        return dict(candidate["clauses"][0])


def ask(site: Path, *sentences: str) -> tuple[dict[str, str], list[Told]]:
    """Errors of plug-ins by name; for each sentence its answer as JSON, its words, and whether they read the same."""
    found = json.loads(run(site, str(ASK), *sentences).stdout)
    return found["errors"], [Told(**each) for each in found["answers"]]


@pytest.fixture
def site(tmp_path: Path) -> Path:
    folder = tmp_path / "site"
    folder.mkdir()
    return folder


@pytest.fixture(scope="module")
def documented(tmp_path_factory: pytest.TempPathFactory) -> Path:
    text = (ROOT / "docs" / "relations.md").read_text().split("## Relations of other packages")[1]
    (project,) = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    (module,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len((project + module).splitlines()) <= 30
    folder = tmp_path_factory.mktemp("documented")
    (folder / "source").mkdir()
    (folder / "source" / "pyproject.toml").write_text(project)
    (folder / "source" / "relations_in_line.py").write_text(module)
    options = ("--no-build-isolation", "--no-deps", "--no-index", "--disable-pip-version-check")
    command = (sys.executable, "-m", "pip", "install", *options, "--target", str(folder / "site"), "./source")
    subprocess.run(command, check=True, capture_output=True, cwd=folder)
    return folder / "site"


@pytest.mark.live
def test_the_documented_package_is_said_measured_placed_and_shown_in_two_frames_of_reference(documented: Path) -> None:
    errors, (viewer, robot, denied, placed, far) = ask(
        documented,
        "grab the mug in line with the cup",
        "grab the mug lined up with the cup from your perspective",
        "grab the mug that is not on one line with the cup",
        "put the box in line with the cup",
        "put the box 10 cm in line with the cup",
    )
    assert errors == {}
    for told, frame, id_ in ((viewer, "viewer", "far"), (robot, "robot", "side")):
        assert (told.answer["status"], told.id, told.answer["frame_of_reference"]) == ("OK", id_, frame)
        clause = told.clause(id_)
        assert (clause["relation"], clause["anchor_ids"], clause["state"]) == ("in line with", ["cup"], "holds")
        assert clause["margin_m"] == pytest.approx(0.03, abs=0.01)
        assert told.reads_again
    assert viewer.words == "pick up the mug in line with the cup"
    assert robot.words == "pick up the mug in line with (from your perspective) the cup"
    assert denied.id == "side"
    assert denied.clause("side")["margin_m"] == pytest.approx(0.23, abs=0.02)
    assert (placed.answer["status"], placed.answer["place"]["anchor_id"]) == ("OK", "cup")
    assert placed.answer["place"]["pose"]["position"][0] == pytest.approx(0.6, abs=0.03)
    assert far.answer["status"] == "NOT_UNDERSTOOD"
    assert "distance" in far.answer["message"]


@pytest.mark.live
def test_the_command_line_shows_it(documented: Path) -> None:
    said = "grab the mug aligned with the cup from my perspective"
    shown = run(documented, "-m", "spatial_vlm_ros.cli", "parse", said).stdout
    assert "the mug in line with (from my perspective) the cup" in shown
    assert "in line with  [speaker frame]" in shown


SENTENCES = {
    "verb": "the box that does not rise as far as the cup",
    "several": "the mugs of a height with the cup",
    "not placeable": "put the box coplanar with the cup",
    "both": "grab the mug equidistant from the cup and the box",
    "one": "grab the mug equidistant from the cup",
    "many": "grab the mug equidistant from the cups",
    "two": "grab the box equidistant from the two mugs",
    "placed": "put the green mug equidistant from the cup and the box",
    "tilted": "grab the mug tilted towards the cup",
    "put": "put the box tilted towards the cup",
    "own": "grab the mug behind the cup",
    "other": "grab the box that is not coplanar with the cup",
    "failing": "grab the mug as deep as the cup",
}
FAILING = LEVEL.replace("pairs.noise_up", "pairs.noise_sideways").split('"coplanar')[0] + '"as deep as", level)\n'
BROKEN = {
    "tilted towards": ("tilted", "import no_such_module\n", "it cannot be loaded: ModuleNotFoundError: No module named "
                       "'no_such_module'"),
    "leaving": ("leaving", "import sys\nsys.exit(3)\n", "it cannot be loaded: SystemExit: 3"),
    "over there by": ("words", "RELATION = 'above'\n", "its entry point is a str, not a Relation"),
    "as high as that": ("renamed", LEVEL.replace("coplanar with", "even with"), "its entry point is named "
                        "'as-high-as-that', and the relation 'even with'"),
}  # fmt: skip


Mixed = tuple[Path, dict[str, str], dict[str, Told]]


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Mixed:
    site = tmp_path_factory.mktemp("mixed") / "site"
    install(site, "levels", LEVEL, "coplanar with")
    install(site, "middles", EQUIDISTANT, "equidistant from")
    install(site, "failing", FAILING, "as deep as")
    for name, (package, module, _) in BROKEN.items():
        install(site, package, module, name)
    errors, told = ask(site, *SENTENCES.values())
    return site, errors, dict(zip(SENTENCES, told, strict=True))


@pytest.mark.live
def test_a_verb_a_relation_that_nothing_is_put_in_and_one_to_two_anchors(mixed: Mixed) -> None:
    told = mixed[2]
    assert told["verb"].answer["query"]["target"]["relations"][0]["negated"]
    assert told["verb"].clause("box")["relation"] == "not coplanar with"
    assert [target["id"] for target in told["several"].answer["targets"]] == ["side", "far"]
    assert told["not placeable"].answer["status"] == "NOT_UNDERSTOOD"
    assert "cannot be placed 'coplanar with'" in told["not placeable"].answer["message"]
    assert told["both"].id == "far"
    clause = told["both"].clause("far")
    assert sorted(clause["anchor_ids"]) == ["box", "cup"]
    assert clause["margin_m"] == pytest.approx(0.02, abs=0.01)
    assert told["both"].words == "pick up the mug equidistant from the cup and the box"
    assert told["both"].reads_again
    for few in ("one", "many"):
        assert told[few].answer["status"] == "NOT_UNDERSTOOD"
        assert "needs two objects" in told[few].answer["message"]
    assert sorted(told["two"].clause("box")["anchor_ids"]) == ["far", "side"]
    place = np.array(told["placed"].answer["place"]["pose"]["position"][:2])
    assert abs(np.linalg.norm(place - (0.6, 0.0)) - np.linalg.norm(place - (0.8, 0.2))) < 0.02


@pytest.mark.live
def test_a_broken_package_costs_its_own_relation_alone(mixed: Mixed) -> None:
    site, errors, told = mixed
    assert errors == {
        name: f"relation {name!r} of {package} 1.0 ({package}:RELATION): {reason}. Fix the package, or uninstall it."
        for name, (package, _, reason) in BROKEN.items()
    }
    for sentence in ("tilted", "put"):
        answer = told[sentence].answer
        assert (answer["status"], answer["message"]) == ("MODEL_ERROR", errors["tilted towards"])
    assert (told["own"].id, told["other"].id) == ("far", "box")
    warned = run(site, "-m", "spatial_vlm_ros.cli", "parse", "the mug behind the cup").stderr
    assert all(error in warned for error in errors.values())
    failed = told["failing"].answer
    assert failed["status"] == "MODEL_ERROR"
    assert "relation 'as deep as' of failing 1.0" in failed["message"]
    assert "its measure failed: AttributeError: 'Pairs' object has no attribute" in failed["message"]


@pytest.mark.live
def test_words_that_mean_something_already_are_refused_and_keep_their_meaning(site: Path) -> None:
    takes = {
        "leaning against": "'leaning against' is already said for the relation 'against'",
        "behind": "'behind' is already said for the relation 'behind'",
        "with": "'with' is already said for the relation 'with'",
        "taken out of": "'taken out of' is already said for a relation",
        "red": "'red' is already a word of the grammar",
    }
    for number, name in enumerate(takes):
        install(site, f"taking_{number}", BARE.format(name, ()), name)
    install(site, "free", LEVEL.replace('"of a height with"', '"next to"'), "coplanar with")
    errors, (against, behind, red, coplanar) = ask(
        site, "grab the mug leaning against the cup", "grab the mug behind the cup", "grab the red mug",
        "grab the mug coplanar with the cup",
    )  # fmt: skip
    for number, (name, reason) in enumerate(takes.items()):
        source = f"taking_{number} 1.0 (taking_{number}:RELATION)"
        assert errors[name] == f"relation {name!r} of {source}: {reason}. Use other words in the package."
    assert against.answer["query"]["target"]["relations"][0]["relation"] == "against"
    assert against.answer["status"] == "RELATION_UNSATISFIED"
    assert behind.id == red.id == "far"
    assert coplanar.answer["status"] == "MODEL_ERROR"
    assert "'next to' is already said for the relation 'next to'" in coplanar.answer["message"]


@pytest.mark.live
def test_of_two_packages_with_the_same_words_neither_is_taken(site: Path) -> None:
    install(site, "first", LEVEL, "coplanar with")
    second = LEVEL.replace("coplanar with", "level as").replace("rises|rise", "goes|go")
    install(site, "second", second, "level as")
    install(site, "third", BARE.format("in line with", ("in file with",)), "in line with")
    install(site, "fourth", BARE.format("lined up with", ("lined up as",)), "lined up with")
    install(site, "fifth", BARE.format("next to", ("strung along",)), "next to")
    install(site, "sixth", BARE.format("threaded with", ("strung along",)), "threaded with")
    errors, told = ask(site, "grab the mug of a height with the cup", "grab the mug level as the cup")
    assert set(errors) == {"coplanar with", "level as", "in line with", "lined up with", "next to"}
    assert "'lined up with' is also said for relation 'lined up with' of fourth" in errors["in line with"]
    assert "'next to' is already said for the relation 'next to'" in errors["next to"]
    said = "'of a height with' is also said for relation"
    assert f"{said} 'level as' of second 1.0 (second:RELATION). Uninstall one" in errors["coplanar with"]
    assert f"{said} 'coplanar with' of first 1.0 (first:RELATION). Uninstall one" in errors["level as"]
    assert [each.answer["status"] for each in told] == ["MODEL_ERROR", "MODEL_ERROR"]


@pytest.mark.live
def test_damaged_metadata_of_a_package_leaves_the_own_relations(site: Path) -> None:
    install(site, "damaged", LEVEL, "coplanar with")
    with (site / "damaged-1.0.dist-info" / "entry_points.txt").open("a") as file:
        file.write("no equals sign\n")
    errors, (own,) = ask(site, "grab the mug behind the cup")
    assert own.id == "far"
    assert "the entry points cannot be read" in errors[""]


@pytest.fixture
def pairs(ground: Ground) -> Pairs:
    layout = ground.layout((Object(0.5, 0.0), Object(0.7, 0.0), Object(0.6, 0.2)))
    return Pairs(layout, layout.viewpoint(FrameOfReference.VIEWER), np.array([0, 1]), np.array([0, 1, 2]))


def measured(pairs: Pairs, margin: object, sigma: object) -> tuple[Any, Any]:
    return of_pairs(Relation("so", lambda _: (margin, sigma)), "lines 1.0", pairs)


def test_not_measured_pairs_need_no_deviation(pairs: Pairs) -> None:
    margin = np.full((2, 3), np.nan)
    margin[0, 1] = 0.1
    found = measured(pairs, margin, np.where(np.isnan(margin), np.nan, 0.01))
    np.testing.assert_array_equal(found[0], margin)


@pytest.mark.parametrize(
    ("margin", "sigma", "reason"),
    [
        (np.zeros((3, 2)), np.ones((3, 2)), r"arrays of shape \(3, 2\) and \(3, 2\), not \(2, 3\)"),
        (np.zeros((2, 3)), 0.01, r"arrays of shape \(2, 3\) and \(\), not"),
        (np.full((2, 3), np.inf), np.ones((2, 3)), "infinite"),
        (np.zeros((2, 3)), np.full((2, 3), np.nan), "negative or not a number"),
        (np.zeros((2, 3)), np.full((2, 3), -0.01), "negative or not a number"),
        (None, np.ones((2, 3)), "arrays of shape|its measure failed"),
        ("text", np.ones((2, 3)), "its measure failed: ValueError"),
    ],
)
def test_what_is_no_measurement_is_refused(pairs: Pairs, margin: object, sigma: object, reason: str) -> None:
    with pytest.raises(PlugInError, match=rf"relation 'so' of lines 1.0: .*({reason})"):
        measured(pairs, margin, sigma)


def test_an_undefined_frame_stays_one_and_two_anchors_are_checked_too(pairs: Pairs) -> None:
    undefined = Mock(side_effect=FrameUndefinedError("viewer", "no ahead", "say left"))
    with pytest.raises(FrameUndefinedError):
        of_pairs(Relation("so", undefined), "lines 1.0", pairs)
    two = Relation("so", lambda *_: (np.zeros((2, 3)), np.ones((2, 3))), anchors=2)
    with pytest.raises(PlugInError, match=r"not \(2, 3, 1\)"):
        of_two(two, "lines 1.0", pairs.layout, pairs.view, pairs.targets, pairs.anchors, pairs.anchors[:1])


FORMS: Mapping[str, tuple[object, ...]] = {
    "name": ("In line", "", "in  line", None),
    "measure": (None,),
    "surfaces": ("in line", ("in? line?",), ("a?|b",), ("a||b c",), ("",), (" ".join(["a|b"] * 12),)),
    "verbs": ((3,),),
    "anchors": (3,),
    "several": ("few",),
}


@pytest.mark.parametrize(("field", "value"), [(field, value) for field, values in FORMS.items() for value in values])
def test_a_relation_of_another_form_is_refused(field: str, value: object) -> None:
    form: dict[str, Any] = {"name": "in line with", "measure": len}
    Relation(**form)
    with pytest.raises(InputError, match=f"{field} of a relation: .*Expected"):
        Relation(**{**form, field: value})


PARSED = "from spatial_vlm_ros.language import parse; print(parse('the mug coplanar with the cup')[0].target.relations)"
READ = """
from benchmarks.parsing import sentences
from spatial_vlm_ros.errors import SpatialVlmError
from spatial_vlm_ros.language import parse
for text in sentences(200):
    try: print(parse(text))
    except SpatialVlmError as error: print(error)
"""


@pytest.mark.live
def test_packages_are_found_where_setuptools_leaves_them_and_in_an_archive(site: Path) -> None:
    install(site, "levels", LEVEL, "coplanar with", "egg-info")
    assert "relation='coplanar with'" in run(site, "-c", PARSED).stdout
    archive = site.parent / "levels.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for path in site.rglob("*"):
            file.write(path, path.relative_to(site))
    assert "relation='coplanar with'" in run(archive, "-c", PARSED).stdout


@pytest.mark.live
def test_without_such_packages_no_metadata_is_read_and_with_them_other_sentences_are_read_as_before(site: Path) -> None:
    unread = "import importlib.metadata as m; m.entry_points = None; " + PARSED
    assert "relation='with'" in run(site, "-c", unread).stdout
    without = run(site, "-c", READ).stdout
    install(site, "levels", LEVEL, "coplanar with")
    install(site, "middles", EQUIDISTANT, "equidistant from")
    assert run(site, "-c", READ).stdout == without
    assert len(without.splitlines()) == 200
