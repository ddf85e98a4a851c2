# SPDX-License-Identifier: Apache-2.0
"""Real processes, really killed. Waiting is always for something that can be seen, with a deadline."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import worker_models
from live_process import Started
from tables import tables
from test_wire import OBJECT, answered, framed, grounded
from waiting import DEADLINE, until

from spatial_vlm_ros import errors
from spatial_vlm_ros.errors import CancelledError, InputError, ModelError, ModelTimeoutError, ShapeError
from spatial_vlm_ros.parameters import DomainGateConfig, config_from
from spatial_vlm_ros.perception.domain import check_domain
from spatial_vlm_ros.perception.grounder import Grounding
from spatial_vlm_ros.perception.judging import MarksError, RelationQuestion
from spatial_vlm_ros.perception.worker import WorkerGrounder
from spatial_vlm_ros.resolver import Resolver
from spatial_vlm_ros.sim.examples import chicks_and_cup_frame
from spatial_vlm_ros.types import (
    Detection,
    FrameOfReference,
    JudgeReport,
    NounPhrase,
    Ordinal,
    RelationClause,
    Resolution,
    Status,
)

TABLES = tables(__file__)

pytestmark = pytest.mark.live
HERE = Path(__file__).parent
IMAGE = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
CUP = NounPhrase("cup")


@pytest.fixture(scope="module")
def shared() -> Iterator[WorkerGrounder]:
    with WorkerGrounder("worker_models:Obedient") as grounder:
        yield grounder


@pytest.fixture
def obedient(shared: WorkerGrounder) -> WorkerGrounder:
    shared.timeout_s = 20.0
    shared.start()
    assert_works(shared)
    return shared


def order(noun: str, *arguments: object) -> list[NounPhrase]:
    return [NounPhrase(noun, tuple(str(argument) for argument in arguments))]


def assert_works(grounder: WorkerGrounder) -> None:
    assert_same(grounder.ground(IMAGE, [CUP]), worker_models.look(IMAGE, [CUP]))


def assert_same(one: Grounding, other: Grounding) -> None:
    def told(grounding: Grounding) -> tuple[object, ...]:
        seen = [(replace(d, mask=None), d.mask is not None and d.mask.tobytes()) for d in grounding.detections]
        return repr(seen), grounding.match.dtype, grounding.match.tolist(), grounding.unread

    assert told(one) == told(other)


class Asking(threading.Thread):
    def __init__(self, grounder: WorkerGrounder, phrases: list[NounPhrase]) -> None:
        super().__init__(daemon=True)
        self.grounder, self.phrases = grounder, phrases
        self.error: Exception | None = None
        self.start()

    def run(self) -> None:
        try:
            self.grounder.ground(IMAGE, self.phrases)
        except Exception as error:
            self.error = error

    def outcome(self) -> Exception | None:
        self.join(DEADLINE)
        assert not self.is_alive()
        return self.error


PHRASES = [
    NounPhrase(
        "soup can",
        ("red", "größte", ""),
        count=-1,
        superlative="leftmost",
        ordinal=Ordinal(2, "left"),
        relations=(
            RelationClause("between", (CUP, NounPhrase("plate", relations=(RelationClause("on", (CUP,)),))),
                           FrameOfReference.ROBOT, negated=True),
            RelationClause("behind", (NounPhrase("glass", count=3, ordinal=Ordinal(1, "near")),)),
        ),
        frame=FrameOfReference.VIEWER,
    ),
    CUP,
    NounPhrase("object", frame=FrameOfReference.SPEAKER),
]  # fmt: skip


def test_an_answer_is_the_same_as_without_a_process_and_threads_take_turns(obedient: WorkerGrounder) -> None:
    for shape in ((48, 64), (1080, 1920), (7, 5), (1, 1)):
        image = np.random.default_rng(1).integers(0, 256, (*shape, 3), np.uint8)
        for seen, phrases in ((image, PHRASES), (image[::-1, ::-1], PHRASES[1:]), (image, [CUP] * 2)):
            assert_same(obedient.ground(seen, phrases), worker_models.look(seen, phrases))
    with pytest.raises(ModelError, match="IndexError"):
        obedient.ground(IMAGE, [])
    asking = [Asking(obedient, [NounPhrase("cup", count=n)]) for n in range(8)]
    assert [one.outcome() for one in asking] == [None] * 8


def test_a_resolver_gives_the_same_answer_through_a_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "numpy.py").write_text("raise SystemExit('wrong numpy')")
    monkeypatch.chdir(tmp_path)  # what lies in the working directory is not imported
    frame, detections = chicks_and_cup_frame()
    with WorkerGrounder("worker_models:chicks") as grounder:
        for words in ("the chick behind the cup", "the chick", "the spoon"):
            assert Resolver(grounder=grounder).resolve(frame, words) == Resolver().resolve(frame, words, detections)


def test_a_model_that_prints_is_read_and_heard(obedient: WorkerGrounder, capfd: pytest.CaptureFixture[str]) -> None:
    assert_same(obedient.ground(IMAGE, order("print")), worker_models.look(IMAGE, order("print")))
    obedient.close()
    heard = capfd.readouterr()
    assert heard.out == ""
    assert heard.err.count("a model that talks") == 5000


def test_a_worker_killed_between_requests_costs_one_request_unless_it_is_started(obedient: WorkerGrounder) -> None:
    pid = obedient.pid
    assert obedient.alive
    assert os.getsid(pid) == pid  # of its own session, and deaf to Ctrl-C
    os.kill(pid, signal.SIGINT)
    assert_works(obedient)
    for number, name in ((signal.SIGKILL, "killed by SIGKILL"), (signal.SIGTERM, "SIGTERM")):
        os.kill(obedient.pid, number)
        with pytest.raises(ModelError, match=name) as failure:
            obedient.ground(IMAGE, [CUP])
        assert failure.value.status_name == "MODEL_ERROR"
        assert_works(obedient)
    last = obedient.pid
    assert last != pid
    obedient.start()  # leaves one that lives
    assert obedient.pid == last
    os.kill(last, signal.SIGKILL)
    until(lambda: not obedient.alive, "the worker is dead")
    obedient.start()
    assert_works(obedient)


def test_a_worker_killed_or_hanging_up_costs_that_request(obedient: WorkerGrounder, tmp_path: Path) -> None:
    asking = Asking(obedient, order("hang", tmp_path / "started"))
    until((tmp_path / "started").exists, "the model runs")
    os.kill(obedient.pid, signal.SIGKILL)
    error = asking.outcome()
    assert type(error) is ModelError
    assert "SIGKILL (out of memory?)" in str(error)
    assert_works(obedient)
    pid = obedient.pid
    with pytest.raises(ModelError, match="closed the connection"):
        obedient.ground(IMAGE, order("mute"))
    assert not Started.alive(pid)
    assert_works(obedient)


@pytest.mark.parametrize(("noun", "words"), [("crash", "SIGSEGV.*string_at"), ("exit", "exit code 7.*giving up")])
def test_a_model_that_ends_its_process_has_its_last_words(obedient: WorkerGrounder, noun: str, words: str) -> None:
    with pytest.raises(ModelError, match="(?s)" + words) as failure:
        obedient.ground(IMAGE, order(noun))
    assert len(str(failure.value)) < 8000
    assert_works(obedient)


@pytest.mark.parametrize("noun", ["hang", "hold", "spawn", "stopped"])
def test_a_model_that_hangs_ends_and_the_next_one_works(obedient: WorkerGrounder, tmp_path: Path, noun: str) -> None:
    pid, image = obedient.pid, IMAGE
    if noun == "stopped":  # before it takes all of the image
        os.kill(pid, signal.SIGSTOP)
        image = np.zeros((1080, 1920, 3), np.uint8)
    obedient.timeout_s = 0.5
    with pytest.raises(ModelTimeoutError, match=r"0\.5 s") as failure:
        obedient.ground(image, order(noun, tmp_path / "started"))
    assert failure.value.status_name == "TIMEOUT"
    assert not Started.alive(pid)
    if noun == "spawn":
        child = int((tmp_path / "started").read_text())
        until(lambda: not Started.alive(child), "the model's own child ends")
    obedient.timeout_s = 20.0
    assert_works(obedient)


def test_an_error_in_the_model_keeps_the_worker_until_the_third_in_a_row(obedient: WorkerGrounder) -> None:
    pid = obedient.pid
    with pytest.raises(ModelError, match=r"^model 'weights': no memory left\. Buy some\.$"):
        obedient.ground(IMAGE, order("raise", "model"))
    assert_works(obedient)
    with pytest.raises(ModelTimeoutError, match=r"^model 'weights': too slow\. Buy a faster one\.$"):
        obedient.ground(IMAGE, order("raise", "timeout"))
    assert_works(obedient)
    for _ in range(3):
        assert obedient.pid == pid
        with pytest.raises(ModelError, match="ValueError: no idea") as failure:
            obedient.ground(IMAGE, order("raise"))
        assert len(str(failure.value)) < 5000
    assert_works(obedient)
    assert obedient.pid != pid


SAID = {
    "text": b"Traceback (most recent call last)",
    "a length that is none": framed(b"", -2),
    "ready again": answered({"methods": ["ground"]}, number=0),
    "another request's number": answered(grounded((1, 0)), number=999),
    "an inverted box": answered(grounded((0, 0), b"", {**OBJECT, "box_xyxy": (5, 5, 1, 1)}), number=2),
}
"""More nonsense is in test_wire.py."""


@pytest.mark.parametrize("said", SAID.values(), ids=SAID)
def test_nonsense_from_the_worker_costs_one_request(said: bytes) -> None:
    with WorkerGrounder("worker_models:Obedient") as grounder:
        assert_works(grounder)
        with pytest.raises(ModelError, match="sent invalid data"):
            grounder.ground(IMAGE, order("say", said.hex()))
        assert not grounder.alive
        assert_works(grounder)


@pytest.mark.parametrize(("name", "options", "error", "words"), TABLES["a backend that cannot be loaded"])
def test_a_backend_that_cannot_load_fails_at_start(name: str, options: dict[str, str], error: str, words: str) -> None:
    grounder = WorkerGrounder(name, options)
    with pytest.raises(getattr(errors, error), match=words):
        grounder.start()
    assert not grounder.alive
    assert grounder.pid is None
    grounder.close()


def test_a_backend_that_loads_too_slowly_is_ended(tmp_path: Path) -> None:
    options = {"started": str(tmp_path / "started")}
    with pytest.raises(ModelTimeoutError, match=r"did not load within 0\.2 s"):
        WorkerGrounder("worker_models:slow", options, startup_timeout_s=0.2).start()
    for seconds in (0.0, -1.0, float("nan"), float("inf")):
        for limit in ("timeout_s", "startup_timeout_s"):
            with pytest.raises(InputError, match=limit):
                WorkerGrounder("x", **{limit: seconds})  # type: ignore[arg-type]


def test_loading_goes_on_after_a_cancellation(tmp_path: Path) -> None:
    options = {"started": str(tmp_path / "started"), "end": str(tmp_path / "end")}
    grounder = WorkerGrounder("worker_models:patient", options)
    asking = Asking(grounder, [CUP])
    until((tmp_path / "started").exists, "the backend loads")
    pid = grounder.pid
    assert grounder.cancel()
    assert isinstance(asking.outcome(), CancelledError)
    (tmp_path / "end").touch()
    assert_works(grounder)
    assert grounder.pid == pid
    grounder.close()


def test_what_is_no_image_or_no_phrase_never_reaches_the_worker() -> None:
    grounder = WorkerGrounder("x")
    for image in (IMAGE[..., 0], IMAGE.astype(float), None):
        with pytest.raises(ShapeError, match="rgb"):
            grounder.ground(image, [CUP])  # type: ignore[arg-type]
    for phrase in ("cup", NounPhrase("cup \ud800"), NounPhrase("cup", count=1 << 70)):
        with pytest.raises(InputError, match="phrases"):
            grounder.ground(IMAGE, [phrase])  # type: ignore[list-item]
    assert grounder.pid is None


def test_a_cancelled_request_ends_at_once_and_the_model_stays(obedient: WorkerGrounder, tmp_path: Path) -> None:
    assert not obedient.cancel()
    pid = obedient.pid
    asking = Asking(obedient, order("wait", tmp_path / "started", tmp_path / "end"))
    until((tmp_path / "started").exists, "the model runs")
    assert obedient.cancel()
    assert isinstance(asking.outcome(), CancelledError)  # while the model waits for a file that is not there
    following = Asking(obedient, [CUP])
    (tmp_path / "end").touch()
    assert following.outcome() is None
    assert_works(obedient)
    assert obedient.pid == pid


def test_a_request_after_a_cancelled_one_has_its_own_limit(obedient: WorkerGrounder, tmp_path: Path) -> None:
    asking = Asking(obedient, order("hang", tmp_path / "started"))
    until((tmp_path / "started").exists, "the model runs")
    obedient.cancel()
    assert isinstance(asking.outcome(), CancelledError)
    obedient.timeout_s = 0.2
    with pytest.raises(ModelTimeoutError):
        obedient.ground(IMAGE, [CUP])
    obedient.timeout_s = 20.0
    assert_works(obedient)


def test_closing_leaves_no_process_no_zombie_and_no_descriptor(tmp_path: Path) -> None:
    def descriptors() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    before = descriptors(), threading.active_count()
    grounder = WorkerGrounder("worker_models:Obedient")
    grounder.close()
    grounder.start()
    pid = grounder.pid
    asking = Asking(grounder, order("hang", tmp_path / "started"))
    until((tmp_path / "started").exists, "the model runs")
    grounder.close()
    grounder.close()
    assert isinstance(asking.outcome(), CancelledError)
    assert not Path(f"/proc/{pid}").exists()
    assert not grounder.alive
    assert grounder.pid is None
    with pytest.raises(ModelError, match="closed"):
        grounder.ground(IMAGE, [CUP])
    assert (descriptors(), threading.active_count()) == before


OWNER = """
import sys
import numpy as np
from spatial_vlm_ros.perception.worker import WorkerGrounder
from spatial_vlm_ros.types import NounPhrase
grounder = WorkerGrounder("worker_models:Obedient")
grounder.start()
print(grounder.pid, flush=True)
if sys.argv[1] != "idle":
    grounder.ground(np.zeros((4, 4, 3), np.uint8), [NounPhrase(sys.argv[1], (sys.argv[2],))])
sys.stdin.read()
"""


@pytest.mark.parametrize("doing", ["idle", "hang", "hold", "spawn"])
def test_a_worker_ends_when_its_owner_is_killed(tmp_path: Path, doing: str) -> None:
    started = tmp_path / "started"
    command = [sys.executable, "-c", OWNER, doing, str(started)]
    root = HERE.parents[1]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=root) as owner:
        pid = int(owner.stdout.readline())
        if doing != "idle":
            until(started.exists, "the model runs")
        assert Started.alive(pid)
        owner.kill()
    until(lambda: not Started.alive(pid), "the worker ends")
    if doing == "spawn":
        until(lambda: not Started.alive(int(started.read_text())), "the model's own child ends")


FRAME, DETECTIONS = chicks_and_cup_frame()
WORDS, FREE = "grab me the chick behind the cup", "grab what my niece would cuddle"
A, B = (10.0, 10.0, 60.0, 60.0), (100.0, 100.0, 160.0, 170.0)
ASK, FREE_FORM = {"second_opinion": {"ask": True}}, {"language": {"free_form": "ask_model"}}
Worker = Callable[..., WorkerGrounder]


def questions(*relations: str) -> list[RelationQuestion]:
    return [RelationQuestion(relation, A, B) for relation in relations]


def report_of(answer: Resolution) -> JudgeReport:
    return answer.judge


def test_the_whole_way_through_a_worker(worker: Worker) -> None:
    grounder = worker("worker_models:pointing")
    answer = Resolver(config_from(ASK), grounder).resolve(FRAME, WORDS)
    opinion = answer.second_opinion
    assert answer.status is Status.OK
    assert (opinion.named_id, opinion.effect, opinion.words) == ("bonnet", "reported", "the chick behind the cup")
    assert "refer" in answer.timings_ms
    free = Resolver(config_from(FREE_FORM), grounder).resolve(FRAME, FREE)
    here = Resolver(config_from(FREE_FORM), worker_models.pointing()).resolve(FRAME, FREE)
    assert (free.status, free.source, free.target) == (Status.OK, "model", here.target)
    assert grounder.masked(IMAGE, (DETECTIONS[0],)) == (DETECTIONS[0],)  # it has no model of masks
    with pytest.raises(errors.InputError, match=r"judge\.mode"):
        grounder.judge(IMAGE, questions("left of"), 5.0)


def test_a_backend_that_cannot_refer_is_said_so_and_lives_on(worker: Worker) -> None:
    grounder = worker("worker_models:Mute")
    with pytest.raises(errors.InputError, match=r"second_opinion\.ask.*Mute"):
        grounder.refer(IMAGE, "the cup")
    pid = grounder.pid
    answer = Resolver(config_from(ASK), grounder).resolve(FRAME, WORDS, DETECTIONS)
    assert answer.status is Status.INVALID_INPUT
    refused = Resolver(config_from(FREE_FORM), grounder).resolve(FRAME, FREE)
    assert refused.status is Status.NOT_UNDERSTOOD
    assert "cannot ground a whole phrase" in refused.message
    assert (grounder.ground(IMAGE, [CUP]).detections, grounder.pid) == ((), pid)


def test_masks_of_a_process_are_those_of_the_backend(worker: Worker) -> None:
    box = Detection("b", "thing", 1.0, (10.0, 10.0, 30.0, 30.0))
    point = Detection("p", "thing", 1.0, (19.0, 19.0, 21.0, 21.0), pointed=True)
    here = worker_models.cutting().masked(IMAGE, (box, point))
    there = worker("worker_models:cutting").masked(IMAGE, (box, point))
    for one, other in zip(here, there, strict=True):
        assert (one.id, one.box_xyxy, one.pointed) == (other.id, other.box_xyxy, other.pointed)
        np.testing.assert_array_equal(one.mask, other.mask)


def test_relations_are_judged_as_without_a_process(worker: Worker) -> None:
    grounder, asked = worker("worker_models:Judging"), questions("left of", "behind", "on")
    assert grounder.judge(IMAGE, asked, 5.0) == worker_models.Judging().judge(IMAGE, asked, 5.0)
    assert grounder.judge(IMAGE, [], 5.0) == ()
    with pytest.raises(errors.ShapeError):
        grounder.judge(IMAGE[0], asked, 5.0)
    with pytest.raises(errors.ModelError, match="it judged 1 relations"):
        grounder.judge(IMAGE, questions("under"), 5.0)
    with pytest.raises(errors.ModelError, match=r"judge\.marks: auto"):
        grounder.judge(IMAGE, asked, 5.0, "auto")
    assert grounder.judge(IMAGE, asked[:1], 5.0) == (0.25,)


def test_a_budget_leaves_time_for_the_answer(worker: Worker) -> None:
    grounder = worker("worker_models:Budgeted")
    assert grounder.judge(IMAGE, questions("behind", "behind"), 5.0) == (0.05, 0.05)
    assert grounder.judge(IMAGE, questions("behind"), 600.0) == (0.16,)  # 0.8 of its own limit of 20 s


def test_a_process_keeps_what_the_probe_of_marks_found_and_its_error_does_not_end_it(worker: Worker) -> None:
    grounder = worker("worker_models:Blind")
    grounder.start()
    process = grounder.pid
    for _ in range(4):  # of a failing model the process would be replaced after the third
        with pytest.raises(MarksError, match="8 of 16 drawn scenes each, but 13 are needed"):
            grounder.judge(FRAME.rgb, questions("left of"), 60.0, "auto")
    assert (grounder.judge(IMAGE, questions("behind"), 5.0), grounder.pid) == ((None,), process)


def test_from_the_first_request_a_simulated_judge_says_nothing_of_real_images(worker: Worker, tmp_path: Path) -> None:
    """What the model was trained on is known once it is loaded, which the first request does."""
    known = {"slope": 2.0, "error": 0.1, "offset": 0.0, "n": 4000, "positive": 2000}
    path = tmp_path / "judge.json"
    relations = {"behind, higher": known, "behind, lower": known}
    path.write_text(json.dumps({"schema": 1, "model": "test", "relations": relations}))
    alone = Resolver().resolve(FRAME, WORDS, DETECTIONS)
    real, simulated = (dataclasses.replace(FRAME, domain=one) for one in ("real", "simulated"))
    grounder = worker("worker_models:SimulatedJudge")
    resolver = Resolver(config_from({"judge": {"mode": "fuse", "calibration": str(path)}}), grounder)
    for _ in range(2):
        answer = resolver.resolve(real, WORDS, DETECTIONS)
        assert (answer.status, answer.target, answer.confidence) == (Status.OK, alone.target, alone.confidence)
        assert (report_of(answer).effect, report_of(answer).relations) == ("reported", ())
        assert report_of(answer).reason.startswith("it failed: ")
        assert "simulated" in report_of(answer).reason
    answer = resolver.resolve(simulated, WORDS, DETECTIONS)  # there the same words of the model do count
    assert answer.target is None
    assert report_of(answer).effect in ("doubted", "disagreed")


def test_by_default_a_process_is_asked_where_its_model_tells_likelihoods(worker: Worker) -> None:
    answer = Resolver(grounder=worker("worker_models:Scoring")).resolve(FRAME, WORDS)
    assert (answer.status, report_of(answer).effect) == (Status.OK, "reported")
    probability = 1 / (1 + np.exp(-2.0))
    assert [one.raw_p for one in report_of(answer).relations] == pytest.approx([probability] * 2, abs=1e-6)
    assert Resolver(grounder=worker("worker_models:Choosing")).resolve(FRAME, WORDS).judge is None


def test_the_domain_comes_from_the_process_and_stays_when_it_ends(worker: Worker) -> None:
    grounder = worker("worker_models:Simulated")
    assert grounder.domain == "unknown"
    answer = Resolver(grounder=grounder).resolve(dataclasses.replace(FRAME, domain="real"), WORDS)
    assert answer.status is Status.MODEL_ERROR  # loaded by the request, it is refused all the same
    assert "worker_models:Simulated" in answer.message
    assert "only on simulated images" in answer.message
    first, black = grounder.pid, np.zeros_like(IMAGE)
    for _ in range(4):  # an unfamiliar image costs no process
        with pytest.raises(errors.UnfamiliarImageError, match="unfamiliar=answer") as caught:
            grounder.ground(black, [CUP])
        assert (caught.value.model, caught.value.distance, caught.value.limit) == ("simulated", 3.25, 1.5)
    assert grounder.pid == first
    grounder.close()
    assert grounder.domain == "simulated"
    with pytest.raises(errors.DomainMismatchError):
        check_domain(grounder, DomainGateConfig(), "real")
