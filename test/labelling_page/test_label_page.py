# SPDX-License-Identifier: Apache-2.0
"""The labelling page over real HTTP, and `spatial-vlm label` as a process that serves it."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from cli_runs import run
from tables import rows
from waiting import DEADLINE

from spatial_vlm_lab.scoring.sources import load_truth

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")

from approval_visitor import Reply, Visitor

BEHIND = "the chick behind the cup"
TRUTH = {"expect": {"status": "OK", "id": "bonnet"}, "words": BEHIND}


class Labeller(Visitor):
    def enter(self, url: str) -> Labeller:
        assert self.get(f"/?token={url.partition('token=')[2]}").status == 303
        self.form_token = self.get().text.partition('data-form-token="')[2].partition('"')[0]
        return self

    def tell(self, path: str, value: Any, **headers: str | None) -> Reply:
        given = {"Content_Type": "application/json", "X_Form_Token": self.form_token, **headers}
        return self.send("POST", path, json.dumps(value).encode(), **given)


@pytest.fixture
def desk(served: Callable[..., Any]) -> Any:
    return served(BEHIND)


@pytest.fixture
def labeller(desk: Any) -> Labeller:
    return Labeller(desk.page.host, desk.page.port).enter(desk.page.url)


def test_nothing_is_shown_without_the_token_or_beyond_this_machine(desk: Any, labeller: Labeller) -> None:
    stranger = Visitor(desk.page.host, desk.page.port)
    for path in ("/", "/cases", "/case/0", "/image/0"):
        reply = stranger.get(path)
        assert (reply.status, BEHIND in reply.text) == (401, False)
    assert stranger.get("/?token=" + "x" * 40).status == 403
    assert stranger.post("/sign-in", {"token": "y" * 40}).status == 403
    assert stranger.post("/case/0", {}).status == 401
    assert desk.page.host == "127.0.0.1"
    assert desk.page.address.startswith("http://127.0.0.1:")
    assert labeller.get("/cases", Host="evil.example").status == 400


def test_cases_and_images_are_answered(labeller: Labeller) -> None:
    overview = json.loads(labeller.get("/cases").text)
    assert [one["words"] for one in overview["cases"]] == [BEHIND]
    assert json.loads(labeller.get("/case/0").text)["proposal"]["id"] == "bonnet"
    image = labeller.get("/image/0")
    assert image.headers["content-type"] == "image/jpeg"
    assert image.body[:3] == b"\xff\xd8\xff"
    assert labeller.get("/image/9").status == 404
    assert labeller.get("/case/9").status == 400
    assert labeller.get("/static/label.js").headers["content-type"].startswith("text/javascript")
    for path in ("/static/../label_web.py", "/static/label_web", "/static/label.html", "/nothing"):
        assert labeller.get(path).status == 404


def test_everything_comes_from_the_page_itself(labeller: Labeller) -> None:
    page = labeller.get()
    assert page.headers["content-security-policy"].startswith("default-src 'none'; script-src 'self'")
    scripts = ("label.js", "label_draft.js", "label_fields.js", "label_image.js", "label_talk.js", "label_top.js")
    for name in ("", *(f"static/{one}" for one in (*scripts, "label.css", "base.css"))):
        text = labeller.get(f"/{name}").text.replace("http://www.w3.org/2000/svg", "")
        assert not any(elsewhere in text for elsewhere in ("http:", "https:", "//cdn"))


def test_a_decision_is_in_the_file_at_once_and_is_not_overwritten_unseen(labeller: Labeller, desk: Any) -> None:
    seen = json.loads(labeller.get("/case/0").text)["seen"]
    assert json.loads(labeller.tell("/case/0", {**TRUTH, "kind": ["behind"], "seen": seen}).text)["saved"]
    assert desk.expect() == {"status": "OK", "id": "bonnet"}
    late = labeller.tell("/case/0", {**TRUTH, "expect": {"status": "AMBIGUOUS"}, "seen": seen})
    assert (late.status, "another tab" in late.text) == (409, True)
    assert labeller.tell("/case/0", {**TRUTH, "seen": 3}).status == 400
    added = json.loads(labeller.tell("/add", {"frame": 0, "words": "the cup"}).text)["case"]
    reply = labeller.tell(f"/case/{added}", TRUTH)  # of a page that was loaded before the sentence was added
    assert (reply.status, "ook at the case again" in reply.text) == (409, True)
    assert [line.get("expect") for line in desk.lines()] == [{"status": "OK", "id": "bonnet"}, None]


def test_only_requests_of_the_page_write(labeller: Labeller, desk: Any) -> None:
    for headers in ({"Origin": "http://evil.example"}, {"Origin": None}, {"X_Form_Token": "x" * 40},
                    {"X_Form_Token": None}):  # fmt: skip
        for path in ("/case/0", "/add", "/undo", "/save"):
            assert labeller.tell(path, TRUTH, **headers).status == 403
    assert labeller.send("POST", "/case/0", b"{}", X_Form_Token=labeller.form_token).status == 400  # a plain form
    assert labeller.get("/undo").status == 405
    assert not desk.path.exists()


def test_what_is_no_truth_is_refused_in_words(labeller: Labeller, desk: Any) -> None:
    for body in (b"", b"[]", b"{", b'{"expect": 3}', b"\xff", b'{"expect": {"status": "OK", "id": "nobody"}}',
                 b'{"expect": ' + b"[" * 5000 + b"]" * 5000 + b"}", b" " * 70_000,
                 b'{"expect": {"status": NaN}}'):  # fmt: skip
        headers = {"Content_Type": "application/json", "X_Form_Token": labeller.form_token}
        reply = labeller.send("POST", "/case/0", body, **headers)
        assert reply.status == 400, body[:30]
        assert json.loads(reply.text)["error"]
        assert not desk.path.exists()


def test_words_from_files_are_text_on_the_page(served: Callable[..., Any]) -> None:
    desk = served("<script>alert(1)</script>")
    visitor = Labeller(desk.page.host, desk.page.port).enter(desk.page.url)
    assert "<script>alert" not in visitor.get().text
    assert visitor.get("/cases").headers["content-type"] == "application/json"


@pytest.fixture
def frames(recorded: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(recorded, tmp_path / "frames"))


@pytest.fixture
def started() -> Iterator[Callable[..., tuple[Any, str]]]:
    with ExitStack() as stack:

        def start(*words: str | Path) -> tuple[Any, str]:
            process = stack.enter_context(subprocess.Popen(
                [sys.executable, "-m", "spatial_vlm_ros.cli", "label", *map(str, words)],
                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            ))  # fmt: skip
            stack.callback(process.kill)
            line = process.stdout.readline()
            assert line.startswith("label at http://127.0.0.1:"), line + process.stderr.read()  # type: ignore[union-attr]
            return process, line.split()[-1]

        yield start


def visitor(link: str) -> Labeller:
    port = int(link.split(":")[2].partition("/")[0])
    return Labeller("127.0.0.1", port).enter(link)


def ended(process: Any, how: int = signal.SIGINT) -> tuple[int, str]:
    process.send_signal(how)
    _, said = process.communicate(timeout=4 * DEADLINE)
    return process.returncode, said


@pytest.mark.parametrize("how", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_decisions_are_filed_and_the_page_ends_when_told(frames: Path, tmp_path: Path, started: Any, how: int) -> None:
    (tmp_path / "words.txt").write_text(f"{BEHIND}\n\nthe cup\n")
    process, link = started("--frames", frames, "--instructions", tmp_path / "words.txt")
    labeller = visitor(link)
    assert len(json.loads(labeller.get("/cases").text)["cases"]) == 4
    shown = json.loads(labeller.get("/case/0").text)
    assert labeller.tell("/case/0", {"expect": shown["proposal"], "words": BEHIND}).status == 200
    second = run("label", "--frames", frames)
    assert (second.exit_code, "another labelling page (process" in second.output) == (3, True)
    assert ended(process, how)[0] == 0
    (line,) = (frames / "cases.jsonl").read_text().splitlines()
    assert json.loads(line)["by"] == "accepted"
    assert [one.name for one in frames.iterdir() if one.name.startswith(".")] == []


@pytest.mark.parametrize(
    "single", [pytest.param(False, id="folder", marks=pytest.mark.slow), pytest.param(True, id="file")]
)
def test_frames_of_a_bag_are_labelled_by_stamps(tmp_path: Path, started: Callable[..., Any], single: bool) -> None:
    pytest.importorskip("rosbags")
    from bag_builder import FIXED, BagBuilder, scene, seconds

    with BagBuilder(tmp_path / "run1") as builder:
        builder.stands(FIXED, seconds(0.0))
        for n in range(4):
            builder.frame(scene(), seconds(0.1 + n))
    bag = next((tmp_path / "run1").glob("*.mcap")) if single else tmp_path / "run1"
    (tmp_path / "words.txt").write_text(BEHIND)
    told = ("--instructions", tmp_path / "words.txt", "--apart", "2", "--base-frame", "base_link")
    process, link = started("--bag", bag, *told)
    labeller = visitor(link)
    overview = json.loads(labeller.get("/cases").text)
    assert len(overview["frames"]) == 2
    shown = json.loads(labeller.get("/case/1").text)
    assert shown["ground"]["frame_id"] == "base_link"
    assert json.loads(labeller.tell("/case/1", {"expect": shown["proposal"], "words": BEHIND}).text)["saved"]
    assert ended(process)[0] == 0
    (case,) = load_truth(bag.with_name(f"{bag.stem}.truth.jsonl"))
    assert (case.stamp_ns, case.bag) == (seconds(2.1), bag.name)
    assert case.expect.id == shown["proposal"]["id"]


@pytest.mark.parametrize("nowhere", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_what_cannot_be_saved_is_kept_beside_or_shown(frames: Path, started: Callable[..., Any], nowhere: bool) -> None:
    process, link = started("--frames", frames, "--blind")
    labeller, beside = visitor(link), frames / "cases.jsonl.unsaved.jsonl"
    (frames / "cases.jsonl").write_text("theirs\n")
    if nowhere:
        beside.mkdir()
    labeller.tell("/add", {"frame": 0, "words": BEHIND})
    code, said = ended(process)
    assert code == 1
    assert (frames / "cases.jsonl").read_text() == "theirs\n"
    assert ("copy these lines into the truth file" if nowhere else "another program has changed it") in said
    line = said.splitlines()[-1] if nowhere else beside.read_text()
    assert json.loads(line) == {"frame": "f1", "instruction": BEHIND}


def test_lines_that_evaluate_refuses_are_named_at_the_start(frames: Path, started: Callable[..., Any]) -> None:
    good = json.dumps({"frame": "f1", "instruction": BEHIND})
    wrong = json.dumps({"frame": "f1", "instruction": "the cup", "expect": {"status": "GREAT"}})
    (frames / "cases.jsonl").write_text(f"{good}\n# by hand\n\n{wrong}\n")
    process, link = started("--frames", frames)
    visitor(link)
    code, said = ended(process)
    assert code == 0
    for words in ("line 2 is not a valid case", "line 4 is not a valid case", "GREAT",
                  "`evaluate` refuses the file until they are corrected"):  # fmt: skip
        assert words in said
    assert "line 1" not in said


@pytest.mark.parametrize(("words", "says"), rows(__file__, "label_refused"))
def test_what_is_refused_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], says: str) -> None:
    monkeypatch.chdir(tmp_path)
    done = run("label", *words)
    assert done.exit_code != 0
    assert says in done.output
    assert "Traceback" not in done.output


def test_a_missing_extra_is_said_before_anything_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "uvicorn" else object())
    done = run("label", "--bag", tmp_path / "no_such_bag")
    assert done.exit_code == 1
    assert "pip install starlette uvicorn Jinja2" in done.output
