# SPDX-License-Identifier: Apache-2.0
"""Time, failures, redirects, secrets and the fallback of the model-server client, against a real HTTP server."""

import logging
import shutil
import socket
import subprocess
import time
from collections.abc import Callable
from email.utils import formatdate
from pathlib import Path
from unittest.mock import Mock

import contract_server as contract
import numpy as np
import pytest
from contract_server import MUG, RIGHT, client, fails, raw, says, serving
from tables import tables

from spatial_vlm_ros import errors
from spatial_vlm_ros.perception.backends import server_http
from spatial_vlm_ros.perception.backends.server import ServerGrounder, load
from spatial_vlm_ros.perception.backends.server_http import ServerDownError, ServerTimeoutError
from spatial_vlm_ros.perception.coordinates import NamedObject
from spatial_vlm_ros.perception.grounder import Grounding
from spatial_vlm_ros.types import Detection, NounPhrase, Rgb

TABLES = tables(__file__)

KEY = "sk-very-secret-0123456789"


class Other:
    def ground(self, rgb: Rgb, phrases: list[NounPhrase]) -> Grounding:  # noqa: ARG002 - the protocol's
        return Grounding((Detection("other", "mug", 0.5, (1.0, 2.0, 3.0, 4.0)),), np.ones((len(phrases), 1)))

    def refer(self, rgb: Rgb, words: str) -> tuple[NamedObject, ...]:  # noqa: ARG002 - the protocol's
        return (NamedObject(words, (1.0, 2.0, 3.0, 4.0), None, None),)


def failing(error: Exception) -> Callable[[], Mock]:
    return lambda: Mock(spec=["ground"], **{"ground.side_effect": error})


Broken = failing(errors.ModelError("broken", "out of memory", "buy more"))
Crashing = failing(RuntimeError("out of memory"))
Cancelled = failing(errors.CancelledError("withdrawn"))


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    made: list[float] = []
    monkeypatch.setattr(server_http.time, "sleep", made.append)
    return made


@pytest.mark.parametrize("slow", [contract.silent, contract.drips, contract.drips_headers])
def test_nothing_outlives_the_budget_and_the_next_request_works(rgb: Rgb, slow: contract.Answer) -> None:
    with serving(slow, RIGHT) as server:
        with pytest.raises(ServerTimeoutError, match=r"within 0\.4 s") as caught:
            client(server.url, budget="0.4").ground(rgb, [MUG])
        assert caught.value.status_name == "TIMEOUT"
        assert len(client(server.url).ground(rgb, [MUG]).detections) == 1


def test_silence_a_server_that_reads_nothing_and_a_host_that_takes_no_connection_end_in_time(rgb: Rgb) -> None:
    with serving(contract.silent) as server, pytest.raises(ServerTimeoutError, match=r"silent for 0\.2 s"):
        client(server.url, read_timeout="0.2", budget="60").ground(rgb, [MUG])
    noise = np.random.default_rng(0).integers(0, 256, (2000, 3000, 3), np.uint8)
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen()
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}/v1"
        grounder = client(url, budget="1", image="png", longest_side="3000")
        with pytest.raises(ServerTimeoutError, match="within 1 s"):
            grounder.ground(noise, [MUG])
    with socket.socket() as full, socket.socket() as first, socket.socket() as second:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for waiting in (first, second):  # the queue is full; further connections are not answered
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
        grounder = client(f"http://127.0.0.1:{full.getsockname()[1]}/v1", connect_timeout="0.3", read_timeout="10")
        with pytest.raises(ServerTimeoutError, match=r"did not connect within 0\.3 s"):
            grounder.ground(rgb, [MUG])


BUSY = [*(([fails(status)] * 2, [0.25, 0.5]) for status in (429, 502, 503, 504))]
BUSY += [
    ([fails(503, Retry_After=after)], [pause]) for after, pause in (("1", 1.0), ("soon", 0.25))
]  # or makes no sense


@pytest.mark.parametrize(("answers", "paused"), BUSY)
def test_a_busy_server_is_asked_again_after_the_pause_that_it_asks_for(
    rgb: Rgb, pauses: list[float], answers: list[contract.Answer], paused: list[float]
) -> None:
    with serving(*answers, RIGHT) as server:
        assert len(client(server.url, retries="2").ground(rgb, [MUG]).detections) == 1
    assert (server.requests, pauses) == (len(answers) + 1, paused)


def test_attempts_are_bounded(rgb: Rgb, away: str, pauses: list[float]) -> None:
    told = r"503 Service Unavailable: loading model \(attempt 3\)"
    with serving(fails(503, "loading model")) as server, pytest.raises(ServerDownError, match=told):
        client(server.url, retries="2").ground(rgb, [MUG])
    assert server.requests == 3
    pauses.clear()
    with pytest.raises(ServerDownError, match=r"no server listens there \(attempt 3\)\. Start the server"):
        client(away, retries="2").ground(rgb, [MUG])
    assert pauses == [0.25, 0.5]


@pytest.mark.parametrize("after", ["60", "9" * 400, "a date"])
def test_a_pause_beyond_the_budget_is_not_waited_for(rgb: Rgb, pauses: list[float], after: str) -> None:
    said = formatdate(time.time() + 600, usegmt=True) if after == "a date" else after
    busy = fails(429, "too many requests", Retry_After=said)
    with serving(busy) as server, pytest.raises(ServerDownError, match="429"):
        client(server.url, retries="3", budget="5").ground(rgb, [MUG])
    assert (server.requests, pauses) == (1, [])


@pytest.mark.parametrize(("status", "repair"), TABLES["refused"])
def test_a_refused_request_is_not_sent_again(rgb: Rgb, status: int, repair: str) -> None:
    message = "no \x1b[31msuch\nfield \u202e" + "x" * 5000
    with serving(fails(status, message)) as server, pytest.raises(errors.ModelError, match=repair) as caught:
        client(server.url, retries="3").ground(rgb, [MUG])
    assert server.requests == 1
    assert all(words in caught.value.reason for words in (f"answered {status}", "no [31msuch field xxx"))
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 600
    assert not isinstance(caught.value, ServerDownError)


def test_words_of_fastapi_and_plain_text_are_told_too(rgb: Rgb) -> None:
    with serving(raw(b'{"detail": [{"msg": "Unexpected fields"}]}', 422), raw(b"Bad gateway, sorry", 400)) as server:
        for words in ("Unexpected fields", "Bad gateway, sorry"):
            with pytest.raises(errors.ModelError, match=words):
                client(server.url).ground(rgb, [MUG])


def test_a_redirect_on_the_same_server_is_followed_but_not_in_a_circle(rgb: Rgb) -> None:
    with serving(raw(b"", 307, Location="/v2/chat/completions"), RIGHT) as server:
        assert len(client(server.url).ground(rgb, [MUG]).detections) == 1
    assert [request.path for request in server.received] == ["/v1/chat/completions", "/v2/chat/completions"]
    circle = raw(b"", 308, Location="/v1/chat/completions")
    with serving(circle) as server, pytest.raises(errors.ModelError, match="more than 3 times"):
        client(server.url).ground(rgb, [MUG])


@pytest.mark.parametrize(("status", "location"), TABLES["a redirect elsewhere is refused"])
def test_a_redirect_elsewhere_is_refused(rgb: Rgb, status: int, location: str) -> None:
    def elsewhere(handler: contract.Handler) -> None:
        raw(b"", status, Location=location.format(port=handler.server.contract.port))(handler)

    with serving(elsewhere) as server, pytest.raises(errors.ModelError, match=r"redirects to .*not followed"):
        client(server.url, retries="3").ground(rgb, [MUG])
    assert server.requests == 1


def test_the_key_is_sent_and_never_shown(
    rgb: Rgb, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, away: str
) -> None:
    monkeypatch.setenv("MY_KEY", KEY)
    caplog.set_level(logging.DEBUG)
    told: list[errors.SpatialVlmError] = []
    refused, asked = fails(401, f"Incorrect API key provided: {KEY}"), raw(f"who is {KEY}?".encode(), 500)
    answers = (refused, asked, raw(b"", 307, Location=f"http://127.0.0.2/{KEY}"))
    with serving(*answers) as server:
        grounder = client(server.url, key_env="MY_KEY", fallback=f"{__name__}:Broken")
        for asked in (*[grounder] * len(answers), client(away, key_env="MY_KEY")):
            with pytest.raises(errors.ModelError) as caught:
                asked.ground(rgb, [MUG])
            told.append(caught.value)
    assert {request.headers["Authorization"] for request in server.received} == {f"Bearer {KEY}"}
    assert "Check the API key in the environment variable MY_KEY" in str(told[0])
    shown = f"{caplog.text} {[*map(str, told)]} {told!r} {vars(grounder)!r} {vars(grounder._client)!r}"
    assert KEY not in shown
    assert "***" in shown


def test_a_missing_malformed_or_unprotected_key_is_refused_without_showing_it(monkeypatch: pytest.MonkeyPatch) -> None:
    remote = {"url": "http://10.0.0.7:8000/v1"}
    for key, given, words in (
        (None, {}, "'MY_KEY': nothing"),
        (f"{KEY}\r\nX-Evil: 1", {}, "characters that a key cannot have"),
        (KEY, remote, "Expected https"),  # in clear text across a network
    ):
        monkeypatch.delenv("MY_KEY", raising=False)
        if key is not None:
            monkeypatch.setenv("MY_KEY", key)
        with pytest.raises(errors.InputError, match=words) as caught:
            load("qwen3-vl", key_env="MY_KEY", **given)
        assert KEY not in str(caught.value)
    for url in ("https://10.0.0.7/v1", "http://localhost:8000/v1", "http://[::1]:8000/v1"):
        assert isinstance(load("qwen3-vl", url, key_env="MY_KEY", probe="no"), ServerGrounder)


def test_without_a_key_there_is_no_header_nor_a_proxy(rgb: Rgb, away: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(variable, away)
    with serving(RIGHT) as server:
        assert len(client(server.url).ground(rgb, [MUG]).detections) == 1
    assert "Authorization" not in server.received[0].headers


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("openssl") is None:
        pytest.skip("TLS to a model server: openssl is not installed")
    path = tmp_path_factory.mktemp("tls") / "server.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=model server",
         "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", path, "-out", path.with_suffix(".crt")],
        check=True, capture_output=True,
    )  # fmt: skip
    path.write_text(path.read_text() + path.with_suffix(".crt").read_text())
    return path


def test_https_needs_a_valid_certificate_and_a_server_of_it_in_the_budget(rgb: Rgb, certificate: Path) -> None:
    with serving(RIGHT, certificate=certificate) as server:
        with pytest.raises(errors.ModelError, match=r"certificate is not valid.*ca_file"):
            client(server.url).ground(rgb, [MUG])
        grounder = client(server.url, ca_file=str(certificate.with_suffix(".crt")))
        assert len(grounder.ground(rgb, [MUG]).detections) == 1
        with pytest.raises(errors.ModelError, match=r"closed the connection|not valid HTTP|cannot be reached"):
            client(server.url.replace("https", "http")).ground(rgb, [MUG])
    with serving(contract.drips, certificate=certificate) as server, pytest.raises(ServerTimeoutError, match="within"):
        client(server.url, ca_file=str(certificate.with_suffix(".crt")), budget="0.5").ground(rgb, [MUG])
    with serving(RIGHT) as server, pytest.raises(errors.ModelError, match=r"TLS failed|closed the|silent|connect"):
        client(server.url.replace("http", "https"), connect_timeout="0.5").ground(rgb, [MUG])


@pytest.mark.parametrize("answer", [fails(503), fails(500), contract.hangs_up, contract.silent])
def test_the_fallback_answers_instead(rgb: Rgb, answer: contract.Answer, caplog: pytest.LogCaptureFixture) -> None:
    with serving(answer) as server:
        grounder = client(server.url, fallback=f"{__name__}:Other", budget="0.5")
        assert grounder.ground(rgb, [MUG]).detections[0].id == "other"
    assert caplog.text.count(f"model server down, {__name__}:Other answers") == 1


def test_the_fallback_has_no_opinion_of_a_whole_phrase(rgb: Rgb, away: str) -> None:
    """Its answer would be weighed by the reliability that was measured of the server's model."""
    with pytest.raises(ServerDownError, match="no server listens there"):
        client(away, fallback=f"{__name__}:Other").refer(rgb, "the mug")


@pytest.mark.parametrize("answer", [fails(404, "no such model"), says("no list"), says("[]", "length"), raw(b"x")])
def test_the_fallback_does_not_cover_up_a_refusal_or_a_wrong_answer(rgb: Rgb, answer: contract.Answer) -> None:
    with serving(answer) as server, pytest.raises(errors.ModelError, match="tiny at"):
        client(server.url, fallback=f"{__name__}:Other").ground(rgb, [MUG])


def test_both_are_named_when_both_fail_and_two_that_are_too_slow_are_a_timeout(rgb: Rgb, away: str) -> None:
    for fallback, words in (("Broken", "model 'broken': out of memory"), ("Crashing", "RuntimeError: out of memory")):
        with pytest.raises(errors.ModelError, match=f"no server listens there; then: {words}") as caught:
            client(away, fallback=f"{__name__}:{fallback}").ground(rgb, [MUG])
        assert caught.value.model == f"tiny at {away.removesuffix('/v1')}, then {__name__}:{fallback}"
    with pytest.raises(errors.CancelledError):
        client(away, fallback=f"{__name__}:Cancelled").ground(rgb, [MUG])
    with pytest.raises(errors.UnknownNameError, match="nonsense"):
        load("qwen3-vl", fallback="nonsense")
    with serving(contract.silent) as server:
        options = f"model=second convention=thousand url={server.url} budget=0.2 probe=no"
        here = "spatial_vlm_ros.perception.backends.server:load"
        grounder = client(server.url, budget="0.2", fallback=here, fallback_options=options)
        with pytest.raises(errors.ModelTimeoutError, match="second at") as caught:
            grounder.ground(rgb, [MUG])
    assert caught.value.status_name == "TIMEOUT"
