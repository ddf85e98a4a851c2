# SPDX-License-Identifier: Apache-2.0
"""Time, failures, redirects, secrets and the fallback of the model-server client, against a real HTTP server."""

from __future__ import annotations

import logging
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path

import contract_server as contract
import numpy as np
import pytest
from contract_server import fails, raw, says, serving
from server_cases import MUG, RIGHT, client, image, unused_address

from spatial_vlm_ros.errors import (
    CancelledError,
    InputError,
    ModelError,
    ModelTimeoutError,
    SpatialVlmError,
    UnknownNameError,
)
from spatial_vlm_ros.perception.backends.server import ServerGrounder, load
from spatial_vlm_ros.perception.backends.server_http import ServerDownError, ServerTimeoutError
from spatial_vlm_ros.perception.grounder import Grounding
from spatial_vlm_ros.perception.replies import NamedObject
from spatial_vlm_ros.types import Detection, NounPhrase, Rgb

KEY = "sk-very-secret-0123456789"
PROMPT_S = 5.0  # far more than an answer on this machine takes, far less than the time that some answers would take


@pytest.fixture(scope="module")
def rgb() -> Rgb:
    return image()


@pytest.fixture
def away() -> Iterator[str]:
    with unused_address() as url:
        yield url


class Other:
    """A fallback that finds one mug."""

    def ground(self, rgb: Rgb, phrases: list[NounPhrase]) -> Grounding:  # noqa: ARG002 - the protocol's
        return Grounding((Detection("other", "mug", 0.5, (1.0, 2.0, 3.0, 4.0)),), np.ones((len(phrases), 1)))

    def refer(self, rgb: Rgb, words: str) -> tuple[NamedObject, ...]:  # noqa: ARG002 - the protocol's
        return (NamedObject(words, (1.0, 2.0, 3.0, 4.0), None, None),)


class Broken:
    """A fallback that fails."""

    def ground(self, rgb: Rgb, phrases: list[NounPhrase]) -> Grounding:  # noqa: ARG002 - the protocol's
        raise ModelError("broken", "out of memory", "buy more")


class Crashing:
    def ground(self, rgb: Rgb, phrases: list[NounPhrase]) -> Grounding:  # noqa: ARG002 - the protocol's
        raise RuntimeError("out of memory")


class Cancelled:
    def ground(self, rgb: Rgb, phrases: list[NounPhrase]) -> Grounding:  # noqa: ARG002 - the protocol's
        raise CancelledError("withdrawn")


# ------------------------------------------------------------------------------------------------ time


@pytest.mark.parametrize("slow", [contract.silent, contract.drips, contract.drips_headers])
def test_nothing_outlives_the_budget(rgb: Rgb, slow: contract.Answer) -> None:
    with serving(slow, RIGHT) as server:
        grounder = client(server.url, budget="0.4")
        start = time.monotonic()
        with pytest.raises(ServerTimeoutError, match=r"within 0\.4 s") as caught:
            grounder.ground(rgb, [MUG])
        assert 0.4 <= time.monotonic() - start < PROMPT_S
        assert caught.value.status_name == "TIMEOUT"
        assert len(client(server.url).ground(rgb, [MUG]).detections) == 1


def test_silence_ends_before_the_budget(rgb: Rgb) -> None:
    with serving(contract.silent) as server:
        start = time.monotonic()
        with pytest.raises(ServerTimeoutError, match=r"silent for 0\.2 s"):
            client(server.url, read_timeout="0.2", budget="20").ground(rgb, [MUG])
    assert time.monotonic() - start < PROMPT_S


def test_a_server_that_reads_nothing_cannot_hold_a_large_request() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (2000, 3000, 3), np.uint8)
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen()
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}/v1"
        grounder = client(url, budget="1", image="png", longest_side="3000")
        with pytest.raises(ServerTimeoutError, match="within 1 s"):
            grounder.ground(noise, [MUG])


def test_a_host_that_takes_no_connection_ends_with_the_connect_timeout(rgb: Rgb) -> None:
    with socket.socket() as full, socket.socket() as first, socket.socket() as second:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for waiting in (first, second):  # the queue is full; further connections are not answered
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
        grounder = client(f"http://127.0.0.1:{full.getsockname()[1]}/v1", connect_timeout="0.3", read_timeout="10")
        with pytest.raises(ServerTimeoutError, match=r"did not connect within 0\.3 s"):
            grounder.ground(rgb, [MUG])


# ------------------------------------------------------------------------------------------------ another attempt


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_a_busy_server_is_asked_again(rgb: Rgb, status: int) -> None:
    with serving(fails(status), fails(status), RIGHT) as server:
        assert len(client(server.url, retries="2").ground(rgb, [MUG]).detections) == 1
    assert server.requests == 3


def test_attempts_are_bounded(rgb: Rgb) -> None:
    with (
        serving(fails(503, "loading model")) as server,
        pytest.raises(ServerDownError, match=r"503 Service Unavailable: loading model \(attempt 3\)"),
    ):
        client(server.url, retries="2").ground(rgb, [MUG])
    assert server.requests == 3


def test_the_pause_is_the_one_that_the_server_asks_for(rgb: Rgb) -> None:
    with serving(fails(503, Retry_After="1"), RIGHT) as server:
        start = time.monotonic()
        client(server.url, retries="1").ground(rgb, [MUG])
    assert time.monotonic() - start >= 1.0


@pytest.mark.parametrize("after", ["60", "9" * 400, "a date"])
def test_a_pause_beyond_the_budget_is_not_waited_for(rgb: Rgb, after: str) -> None:
    said = formatdate(time.time() + 600, usegmt=True) if after == "a date" else after
    with serving(fails(429, "too many requests", Retry_After=said)) as server:
        start = time.monotonic()
        with pytest.raises(ServerDownError, match="429"):
            client(server.url, retries="3", budget="5").ground(rgb, [MUG])
    assert time.monotonic() - start < PROMPT_S
    assert server.requests == 1


def test_a_retry_after_that_makes_no_sense_is_ignored(rgb: Rgb) -> None:
    with serving(fails(503, Retry_After="soon"), RIGHT) as server:
        assert len(client(server.url, retries="1").ground(rgb, [MUG]).detections) == 1


def test_a_refused_connection_is_tried_again_and_then_said(rgb: Rgb, away: str) -> None:
    start = time.monotonic()
    with pytest.raises(ServerDownError, match=r"no server listens there \(attempt 3\)\. Start the server"):
        client(away, retries="2").ground(rgb, [MUG])
    assert 0.25 + 0.5 <= time.monotonic() - start < 5.0


@pytest.mark.parametrize(
    ("status", "repair"),
    [(400, "Check model"), (401, "key_env"), (404, "/models"), (422, "schema=none"), (413, "longest_side")],
)
def test_a_refused_request_is_not_sent_again(rgb: Rgb, status: int, repair: str) -> None:
    message = "no \x1b[31msuch\nfield \u202e" + "x" * 5000
    with serving(fails(status, message)) as server, pytest.raises(ModelError, match=repair) as caught:
        client(server.url, retries="3").ground(rgb, [MUG])
    assert server.requests == 1
    assert f"answered {status}" in caught.value.reason
    assert "no [31msuch field xxx" in caught.value.reason
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 600
    assert not isinstance(caught.value, ServerDownError)


def test_words_of_fastapi_and_plain_text_are_told_too(rgb: Rgb) -> None:
    with serving(raw(b'{"detail": [{"msg": "Unexpected fields"}]}', 422), raw(b"Bad gateway, sorry", 400)) as server:
        with pytest.raises(ModelError, match="Unexpected fields"):
            client(server.url).ground(rgb, [MUG])
        with pytest.raises(ModelError, match="Bad gateway, sorry"):
            client(server.url).ground(rgb, [MUG])


# ------------------------------------------------------------------------------------------------ redirects


def test_a_redirect_on_the_same_server_is_followed(rgb: Rgb) -> None:
    with serving(raw(b"", 307, Location="/v2/chat/completions"), RIGHT) as server:
        assert len(client(server.url).ground(rgb, [MUG]).detections) == 1
    assert [request.path for request in server.received] == ["/v1/chat/completions", "/v2/chat/completions"]


@pytest.mark.parametrize(
    ("status", "location"),
    [
        (307, "http://127.0.0.2:{port}/v1/chat/completions"),
        (308, "https://127.0.0.1:{port}/v1/chat/completions"),
        (307, "//evil.example/v1/chat/completions"),
        (307, "http://127.0.0.1:{port}@evil.example/v1/chat/completions"),
        (302, "/v2/chat/completions"),
        (307, ""),
    ],
)
def test_a_redirect_elsewhere_is_refused(rgb: Rgb, status: int, location: str) -> None:
    with (
        serving(lambda h: raw(b"", status, Location=location.format(port=h.server.contract.port))(h)) as server,
        pytest.raises(ModelError, match=r"redirects to .*which is not followed"),
    ):
        client(server.url, retries="3").ground(rgb, [MUG])
    assert server.requests == 1


def test_redirects_in_a_circle_end(rgb: Rgb) -> None:
    circle = raw(b"", 308, Location="/v1/chat/completions")
    with serving(circle) as server, pytest.raises(ModelError, match="more than 3 times"):
        client(server.url).ground(rgb, [MUG])


# ------------------------------------------------------------------------------------------------ the key


def test_the_key_is_sent_and_never_shown(
    rgb: Rgb, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, away: str
) -> None:
    monkeypatch.setenv("MY_KEY", KEY)
    caplog.set_level(logging.DEBUG)
    told: list[SpatialVlmError] = []
    answers = (
        fails(401, f"Incorrect API key provided: {KEY}"),
        raw(f"who is {KEY}?".encode(), 500),
        raw(b"", 307, Location=f"http://127.0.0.2/{KEY}"),
    )
    with serving(*answers) as server:
        grounder = client(server.url, key_env="MY_KEY", fallback=f"{__name__}:Broken")
        for _ in answers:
            with pytest.raises(ModelError) as caught:
                grounder.ground(rgb, [MUG])
            told.append(caught.value)
    with pytest.raises(ModelError) as caught:
        client(away, key_env="MY_KEY").ground(rgb, [MUG])
    told.append(caught.value)
    assert {request.headers["Authorization"] for request in server.received} == {f"Bearer {KEY}"}
    assert "Check the API key in the environment variable MY_KEY" in str(told[0])
    shown = " ".join(
        (caplog.text, *map(str, told), *map(repr, told), repr(vars(grounder)), repr(vars(grounder._client)))
    )
    assert KEY not in shown
    assert "***" in shown


def test_a_missing_or_malformed_key_is_said_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MY_KEY", raising=False)
    with pytest.raises(InputError, match="'MY_KEY': nothing"):
        load("qwen3-vl", key_env="MY_KEY")
    monkeypatch.setenv("MY_KEY", f"{KEY}\r\nX-Evil: 1")
    with pytest.raises(InputError, match="characters that a key cannot have") as caught:
        load("qwen3-vl", key_env="MY_KEY")
    assert KEY not in str(caught.value)


def test_a_key_does_not_cross_a_network_in_clear_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", KEY)
    with pytest.raises(InputError, match="Expected https"):
        load("qwen3-vl", "http://10.0.0.7:8000/v1", key_env="MY_KEY")
    for url in ("https://10.0.0.7/v1", "http://localhost:8000/v1", "http://[::1]:8000/v1"):
        assert isinstance(load("qwen3-vl", url, key_env="MY_KEY", probe="no"), ServerGrounder)


def test_no_key_no_header(rgb: Rgb) -> None:
    with serving(RIGHT) as server:
        client(server.url).ground(rgb, [MUG])
    assert "Authorization" not in server.received[0].headers


def test_proxies_of_the_environment_are_not_used(rgb: Rgb, away: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(variable, away)
    with serving(RIGHT) as server:
        assert len(client(server.url).ground(rgb, [MUG]).detections) == 1


# ------------------------------------------------------------------------------------------------ TLS


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


def test_https_needs_a_certificate_that_holds(rgb: Rgb, certificate: Path) -> None:
    with serving(RIGHT, certificate=certificate) as server:
        with pytest.raises(ModelError, match=r"certificate is not valid.*ca_file"):
            client(server.url).ground(rgb, [MUG])
        grounder = client(server.url, ca_file=str(certificate.with_suffix(".crt")))
        assert len(grounder.ground(rgb, [MUG]).detections) == 1
        with pytest.raises(ModelError, match=r"closed the connection|not valid HTTP|cannot be reached"):
            client(server.url.replace("https", "http")).ground(rgb, [MUG])


def test_a_drip_through_tls_does_not_outlive_the_budget_either(rgb: Rgb, certificate: Path) -> None:
    with serving(contract.drips, certificate=certificate) as server:
        grounder = client(server.url, ca_file=str(certificate.with_suffix(".crt")), budget="0.5")
        start = time.monotonic()
        with pytest.raises(ServerTimeoutError):
            grounder.ground(rgb, [MUG])
        assert time.monotonic() - start < PROMPT_S


def test_https_to_a_server_without_tls_is_said(rgb: Rgb) -> None:
    with serving(RIGHT) as server, pytest.raises(ModelError, match=r"TLS failed|closed the connection|silent|connect"):
        client(server.url.replace("http", "https"), connect_timeout="0.5").ground(rgb, [MUG])


# ------------------------------------------------------------------------------------------------ the fallback


@pytest.mark.parametrize("answer", [fails(503), fails(500), contract.hangs_up, contract.silent])
def test_the_fallback_answers_where_the_server_is_down(
    rgb: Rgb, answer: contract.Answer, caplog: pytest.LogCaptureFixture
) -> None:
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
    with serving(answer) as server, pytest.raises(ModelError, match="tiny at"):
        client(server.url, fallback=f"{__name__}:Other").ground(rgb, [MUG])


def test_both_are_named_when_both_fail(rgb: Rgb, away: str) -> None:
    grounder = client(away, fallback=f"{__name__}:Broken")
    with pytest.raises(ModelError, match=r"no server listens there; then: model 'broken': out of memory") as caught:
        grounder.ground(rgb, [MUG])
    assert caught.value.model == f"tiny at {away.removesuffix('/v1')}, then {__name__}:Broken"


def test_a_fallback_that_crashes_is_named_and_a_cancellation_stays_one(rgb: Rgb, away: str) -> None:
    with pytest.raises(ModelError, match="no server listens there; then: RuntimeError: out of memory"):
        client(away, fallback=f"{__name__}:Crashing").ground(rgb, [MUG])
    with pytest.raises(CancelledError):
        client(away, fallback=f"{__name__}:Cancelled").ground(rgb, [MUG])


def test_two_servers_that_are_too_slow_are_a_timeout(rgb: Rgb) -> None:
    with serving(contract.silent) as server:
        options = f"model=second convention=thousand url={server.url} budget=0.2 probe=no"
        here = "spatial_vlm_ros.perception.backends.server:load"
        grounder = client(server.url, budget="0.2", fallback=here, fallback_options=options)
        with pytest.raises(ModelTimeoutError, match="second at") as caught:
            grounder.ground(rgb, [MUG])
    assert caught.value.status_name == "TIMEOUT"


def test_a_fallback_that_does_not_exist_is_said_at_once() -> None:
    with pytest.raises(UnknownNameError, match="nonsense"):
        load("qwen3-vl", fallback="nonsense")
