# SPDX-License-Identifier: Apache-2.0
"""The truth of the rendered scenes, on objects made for the test; and the sources, where a checkout is named."""

import ast
import json
import os
import subprocess
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from research import rendered
from research.rendered import recipes, recipes_places
from research.rendered.checkout import checked_out
from research.rendered.frames import Flags, FrameWriter, Recipe, draw_frame
from research.rendered.items import Item, PlacedItem, Room, Source, flat_top
from research.rendered.judge import Judge, _distance
from research.rendered.kits import Kit, Planner
from research.rendered.making import make
from research.rendered.meshes import Z_UP, box, cylinder, read_gltf, read_obj
from research.rendered.noise import stereo
from research.rendered.sentences import SentenceMaker
from research.rendered.sources import SOURCES, open_box
from research.rendered.stage import Looks, Stage, View

pytestmark = pytest.mark.usefixtures("_mujoco")

CUBE = box((-0.03, -0.03, 0), (0.03, 0.03, 0.06))
BLOCK = Item("block", ("block",), CUBE, ("red", "green", "blue"), rooms={"main": flat_top(CUBE, 0.5)})
CAN = Item("can", ("can",), cylinder(0.035, 0.1), ("red", "blue", "white"))
CRATE = open_box("crate", ("crate",), (0.24, 0.18, 0.08), colour="brown")
LOOKS = Looks((0.6, 0.5, 0.4), (0.4, 0.4, 0.4), 0.7, 0.9)
FROM_FRONT = View((0.0, 0.0, 0.0), 40, 1.2, 0, 52)


def judged(*objects: PlacedItem, view: View = FROM_FRONT) -> Judge:
    stage = Stage(objects, LOOKS)
    stage.settle()
    return Judge(stage, view, stage.look(view))


def test_rows_run_to_the_viewers_right_and_away_from_the_viewer() -> None:
    three = [PlacedItem(n, BLOCK, at) for n, at in (("a", (0.2, 0.0)), ("b", (-0.2, 0.1)), ("c", (0.0, -0.15)))]
    judge = judged(*three)
    assert judge.row(("a", "b", "c"), 0) == ["b", "c", "a"]
    assert judge.row(("a", "b", "c"), 1) == ["c", "a", "b"]
    from_the_right = judged(*three, view=replace(FROM_FRONT, azimuth=90))
    assert from_the_right.row(("a", "b", "c"), 0) == ["c", "a", "b"]
    assert from_the_right.row(("a", "b", "c"), 1) == ["a", "c", "b"]


def test_things_too_close_to_tell_are_in_no_row() -> None:
    judge = judged(
        PlacedItem("a", BLOCK, (0.0, 0.1)), PlacedItem("b", BLOCK, (0.05, -0.1)), PlacedItem("c", BLOCK, (0.2, -0.03))
    )
    assert judge.row(("a", "b"), 0) is None
    assert judge.row(("b", "c"), 1) is None


def test_next_to_wants_the_other_one_three_times_as_far() -> None:
    there = [
        PlacedItem("box", CAN, (0.0, 0.0)),
        PlacedItem("near", BLOCK, (0.1, 0.0)),
        PlacedItem("far", BLOCK, (-0.3, 0.0)),
    ]
    judge = judged(*there)
    assert judge.gap("near", "box") == pytest.approx(0.035, abs=0.002)
    assert judge.next_to("near", "box", ("far",))
    assert not judge.next_to("far", "box", ("near",))
    assert not judged(*there[:2], PlacedItem("far", BLOCK, (-0.17, 0.0))).next_to("near", "box", ("far",))


def test_what_lies_in_a_crate_is_held_by_it_and_what_stands_beside_is_not() -> None:
    judge = judged(
        PlacedItem("crate", CRATE, (0.0, 0.0), free=False),
        PlacedItem("in", BLOCK, (0.03, 0.0), on=("crate", "main")),
        PlacedItem("out", BLOCK, (0.3, 0.0)),
    )
    assert judge.holds("in", "crate", "main")
    assert not judge.on_table("in")
    assert not judge.holds("out", "crate", "main")
    assert judge.on_table("out")
    assert not judge.empty("crate", "main")
    assert judge.far_apart(("out",), "crate") is (judge.gap("out", "crate") > 0.2)


def test_a_spot_beside_a_thing_is_on_the_viewers_side_of_it_and_free() -> None:
    there = (PlacedItem("can", CAN, (0.1, 0.0)), PlacedItem("moved", BLOCK, (-0.3, -0.1)))
    judge = judged(*there, view=replace(FROM_FRONT, azimuth=10))
    place = judge.beside("right of", "can", ("moved",))
    assert place is not None
    way = place.middle[:2] - np.array([0.1, 0.0])
    assert way / np.linalg.norm(way) == pytest.approx(judge.right, abs=0.02)
    assert np.linalg.norm(way) >= 0.035 + 0.1 - 0.002
    blocked = judged(*there, PlacedItem("there", BLOCK, tuple(place.middle[:2])), view=replace(FROM_FRONT, azimuth=10))
    assert blocked.beside("right of", "can", ("moved",)) is None
    assert judge.beside("behind", "can", ("moved",)) is not None
    assert judged(PlacedItem("can", CAN, (0.1, 0.35))).beside("behind", "can") is None, "there the table ends"


def test_the_room_of_a_turned_holder_is_a_rectangle_within_it() -> None:
    place = judged(PlacedItem("crate", CRATE, (0.1, 0.1), turn=8, free=False)).room("crate", "main")
    room = CRATE.rooms["main"]
    turn = np.radians(8)
    to_crate = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    corners = place.middle[:2] + np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * place.half[:2] - 0.1
    assert (np.abs(corners @ to_crate.T) <= np.array([room.hx, room.hy]) + 1e-9).all()
    assert place.middle[2] - place.half[2] == pytest.approx(room.floor)


def test_hidden_things_are_no_targets() -> None:
    hidden = replace(BLOCK, mesh=CUBE.scaled(0.6))
    low = replace(FROM_FRONT, pitch=20)
    judge = judged(PlacedItem("wall", BLOCK, (0.0, -0.1)), PlacedItem("behind", hidden, (0.0, -0.04)), view=low)
    assert judge.well_seen("wall")
    assert judge.seen("behind")[1] < 0.42
    assert not judge.well_seen("behind")


def test_distances_between_outlines() -> None:
    square = np.array([[0.0, 0], [1, 0], [1, 1], [0, 1]])
    assert _distance(square, square + np.array([3, 0])) == pytest.approx(2)
    assert _distance(square, square + np.array([2, 2])) == pytest.approx(np.sqrt(2))
    assert _distance(square, square + 0.5) == 0
    assert _distance(square, np.array([[0.5, 0.5]])) == 0
    assert _distance(square, np.array([[0.5, -0.25]])) == pytest.approx(0.25)
    cross = np.array([[-1.0, 0.4], [2, 0.4], [2, 0.6], [-1, 0.6]])
    assert _distance(square, cross) == 0, "no corner of either lies in the other"


def test_meshes_are_read_with_polygons_textures_and_z_up(tmp_path: Path) -> None:
    (tmp_path / "quad.obj").write_text(
        "v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\nvt 0 0\nvt 1 1\nf 1/1 2/1 3/2 4/2\nf -4/1 -3/1 -2/2\n"
    )
    mesh = read_obj(tmp_path / "quad.obj")
    assert mesh.faces.shape == (3, 3)
    assert mesh.uv is not None
    points = np.array([[0, 0, 0], [1, 0, 0], [0, 2, 0]], np.float32)
    (tmp_path / "t.bin").write_bytes(points.tobytes() + np.array([0, 1, 2], np.uint16).tobytes())
    views = [{"buffer": 0, "byteLength": 36}, {"buffer": 0, "byteOffset": 36, "byteLength": 6}]
    accessors = [{"bufferView": 0, "componentType": 5126, "count": 3, "type": "VEC3"},
                 {"bufferView": 1, "componentType": 5123, "count": 3, "type": "SCALAR"}]  # fmt: skip
    nodes = [{"name": "n", "mesh": 0, "translation": [0, 1, 0]}]
    meshes = [{"primitives": [{"attributes": {"POSITION": 0}, "indices": 1}]}]
    content = {
        "buffers": [{"uri": "t.bin"}],
        "bufferViews": views,
        "accessors": accessors,
        "nodes": nodes,
        "meshes": meshes,
    }
    (tmp_path / "t.gltf").write_text(json.dumps(content))
    found = read_gltf(tmp_path / "t.gltf")["n"]
    assert found.vertices == pytest.approx((points + np.array([0, 1, 0])) @ Z_UP.T)
    assert found.vertices[:, 2].max() == pytest.approx(3), "up is z"


def test_noise_grows_with_range_and_blinds_one_side_of_what_is_near() -> None:
    depth = np.full((120, 200), 1.2)
    depth[40:80, 80:120] = 0.8
    noisy = stereo(depth, 500.0, np.random.default_rng(3))
    seen = noisy > 0
    far, near = noisy[:30][seen[:30]] - 1.2, noisy[45:75, 85:115][seen[45:75, 85:115]] - 0.8
    assert far.std() / near.std() == pytest.approx((1.2 / 0.8) ** 2, rel=0.2)
    strip = round(500 * 0.05 * (1 / 0.8 - 1 / 1.2))
    assert seen[45:75, 121 : 118 + strip].mean() < 0.05, "hidden from the second eye"
    assert seen[45:75, 60:78].mean() > 0.9
    assert seen[45:75, 82:118].mean() > 0.9, "what is near is seen"


@pytest.fixture(scope="module")
def kit() -> Kit:
    ring = Item("ball", ("ball",), cylinder(0.03, 0.03), ("red", "green"))
    plate = Item(
        "plate", ("plate",), cylinder(0.09, 0.012), ("white", "blue"), rooms={"main": Room("on", 0.05, 0.05, 0.012)}
    )
    tall = Item("bottle", ("bottle",), cylinder(0.03, 0.16), ("green",))
    items = {"can": CAN, "block": BLOCK, "crate": CRATE, "ball": ring, "plate": plate, "bottle": tall}
    tray = {"tray": open_box("tray", ("tray",), (0.34, 0.22, 0.03), colours=("gray",))}
    return Kit(items | tray, ("can", "block"), ("block", "ball"), ("crate",), ("plate",), ("crate",), ("bottle", "can"),
               ("can",), ("can",), "tray", ("crate",))  # fmt: skip


EXACT, NOISY = Flags(False, True, True, True, False), Flags(True, False, False, False, True)


@pytest.mark.parametrize(("recipe", "flags"), [(recipes.across, EXACT), (recipes_places.around, NOISY)])
def test_frames_say_the_same_in_all_their_files(tmp_path: Path, kit: Kit, recipe: Recipe, flags: Flags) -> None:
    rng = np.random.default_rng(4)
    writer = FrameWriter(tmp_path)
    writer.write(draw_frame("r", recipe, kit, (), flags, rng), rng)
    here = tmp_path / "f000"
    truth = json.loads((here / "truth.json").read_text())
    found = {d["id"]: d for d in json.loads((here / "detections.json").read_text())["detections"]}
    depth = cv2.imread(str(here / "depth.png"), cv2.IMREAD_UNCHANGED)
    k = np.array(json.loads((here / "camera_info.json").read_text())["k"]).reshape(3, 3)
    camera = np.linalg.inv(np.array(truth["base_T_camera"]["matrix"]))
    assert (here / "base_T_camera.json").exists() is flags.has_tf
    assert found.keys() == truth["objects"].keys()

    def pixel(point: list[float]) -> tuple[int, int, float]:
        p = camera[:3, :3] @ np.asarray(point) + camera[:3, 3]
        u, v = (k @ p)[:2] / p[2]
        return int(u), int(v), float(p[2])

    for i, d in found.items():
        if d["label"] != "table":
            u, v, z = pixel(truth["objects"][i]["center"])
            assert d["box"][0] <= u < d["box"][2]
            assert d["box"][1] <= v < d["box"][3]
            assert depth[v, u] == 0 or abs(depth[v, u] / 1000 - z) < max(truth["objects"][i]["size"])
        assert ("mask" in d) is flags.has_masks
        if flags.has_masks:
            rows, columns = np.nonzero(cv2.imread(str(here / d["mask"]), cv2.IMREAD_GRAYSCALE))
            assert d["box"] == [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
            assert len(rows) == truth["objects"][i]["px"]
    cases = [json.loads(line) for line in (tmp_path / "cases.jsonl").read_text().splitlines()]
    assert {c["expect"]["status"] for c in cases} > {"OK"}
    for case in cases:
        expect = case["expect"]
        assert (expect["status"] == "OK") is (expect.get("id") in found)
        if "place" in expect:
            assert expect["place"]["anchor_id"] in found
            u, v, _ = pixel(expect["place"]["region_center"])
            assert 0 <= u < 640
            assert 0 <= v < 480


def test_cases_that_lack_their_margin_are_left_out() -> None:
    close = judged(PlacedItem("a", BLOCK, (0.0, 0.1)), PlacedItem("b", BLOCK, (0.02, -0.1)))
    sentences = SentenceMaker(close, np.random.default_rng(0))
    sentences.beside("a", "the block", "behind", "b")
    sentences.take("a", "the left block", "1 left", when=close.row(("a", "b"), 0) is not None)
    sentences.put("a", "the block", "in the crate", None, "5 in crate")
    assert [c.place.anchor for c in sentences.cases if c.place] == ["b"] or not sentences.cases
    assert all("1 left" not in c.kinds for c in sentences.cases)


def test_things_of_one_word_are_not_put_together(kit: Kit) -> None:
    planner = Planner(kit, np.random.default_rng(0))
    planner.add("first", "can", (0, 0))
    assert all(planner.pick(("can", "ball")) == "ball" for _ in range(20))
    with pytest.raises(LookupError):
        planner.pick(("can",))


def test_the_pinned_commit_is_taken_from_a_git_directory_or_url(tmp_path: Path) -> None:
    work = tmp_path / "work"
    (work / "meshes").mkdir(parents=True)

    def git(*words: str) -> str:
        who = ["-c", "user.name=n", "-c", "user.email=n@example.org"]
        return subprocess.run(["git", "-C", str(work), *who, *words], check=True, capture_output=True, text=True).stdout

    git("init", "-q")
    for name, text in (("LICENSE", "free"), ("meshes/a.obj", "v 0 0 0"), ("meshes/broken.obj", "x"), ("code.py", "x")):
        (work / name).write_text(text)
    git("add", "-A")
    git("commit", "-qm", "first")
    commit = git("rev-parse", "HEAD").strip()
    (work / "meshes/a.obj").write_text("later")
    git("commit", "-qam", "second")
    some = Source(
        "s", "", commit, "free", ("LICENSE",), lambda _: {}, ("meshes",), (), frozenset({"meshes/broken.obj"})
    )
    for n, place in enumerate((str(work / ".git"), f"file://{work}")):
        scratch = tmp_path / f"scratch{n}"
        scratch.mkdir()
        with checked_out(some, place, scratch) as root:
            assert sorted(str(p.relative_to(root)) for p in root.rglob("*.*")) == ["meshes/a.obj"]
            assert (root / "meshes/a.obj").read_text() == "v 0 0 0"
            assert (root / "LICENSE").exists()
    with checked_out(some, str(work), tmp_path / "unused") as root:
        assert root == work


def test_the_judge_shares_nothing_with_what_it_judges() -> None:
    used = {
        name
        for file in Path(rendered.__file__).parent.glob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in ([node.module or ""] if isinstance(node, ast.ImportFrom) else [a.name for a in node.names])
    }
    assert {name for name in used if name.startswith("spatial_vlm_ros")} == {"spatial_vlm_ros.sim.physics"}


@pytest.mark.parametrize("name", sorted(SOURCES))
def test_a_source_gives_frames(tmp_path: Path, name: str) -> None:
    root = Path(os.environ.get("SPATIAL_VLM_RENDER_SOURCES", "../shared/data/sources")) / name
    if not root.is_dir():
        pytest.skip(f"no checkout of {SOURCES[name].url} at {root}: set SPATIAL_VLM_RENDER_SOURCES to a folder with it")
    words = make(SOURCES[name], root, tmp_path / "out", count=1)
    assert words.startswith(f"{name}: 1 frames")
    with pytest.raises(FileExistsError):
        make(SOURCES[name], root, tmp_path / "out", count=1)
