# SPDX-License-Identifier: Apache-2.0
"""An HTTP server that checks requests against the OpenAI API reference (chat completions), and answers as told."""

import base64
import contextlib
import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import cv2
import jsonschema
import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.perception.backends.server import ServerGrounder, load
from spatial_vlm_ros.types import NounPhrase, Rgb


def closed(*required: str, **properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": [*required], "additionalProperties": False}


def row(*items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "minItems": len(items), "maxItems": len(items), "prefixItems": [*items]}


def const(value: object) -> dict[str, Any]:
    return {"const": value}


TEXT = {"type": "string", "minLength": 1}
URL = {"type": "string", "pattern": "^data:image/(jpeg|png);base64,"}
DETAIL = {"enum": ["auto", "low", "high"]}
IMAGE_PART = closed("type", "image_url", type=const("image_url"), image_url=closed("url", url=URL, detail=DETAIL))
TEXT_PART = closed("type", "text", type=const("text"), text={"type": "string"})
SYSTEM_MESSAGE = closed("role", "content", role=const("system"), content=TEXT)
CONTENT = {"anyOf": [TEXT, row(IMAGE_PART, TEXT_PART)]}  # a string where there is no picture
USER_MESSAGE = closed("role", "content", role=const("user"), content=CONTENT)
NAME = {"type": "string", "pattern": "^[A-Za-z0-9_-]{1,64}$"}
ANSWER_FORM = closed("name", "strict", "schema", name=NAME, strict=const(True), schema={"type": "object"})
REQUEST_SCHEMA = closed(
    "model",
    "messages",
    model=TEXT,
    messages={"anyOf": [row(SYSTEM_MESSAGE, USER_MESSAGE), row(USER_MESSAGE)]},  # the latter: a family's own prompt
    temperature={"type": "number", "minimum": 0, "maximum": 2},
    frequency_penalty={"type": "number", "minimum": -2, "maximum": 2},
    max_tokens={"type": "integer", "minimum": 1},
    logprobs={"type": "boolean"},
    response_format=closed("type", "json_schema", type=const("json_schema"), json_schema=ANSWER_FORM),
)

Answer = Callable[["Handler"], None]


@dataclass
class Received:
    path: str
    headers: dict[str, str]
    body: dict[str, Any]
    image: npt.NDArray[np.uint8]

    @property
    def text(self) -> str:
        content = self.body["messages"][-1]["content"]
        return str(content if isinstance(content, str) else content[1]["text"])

    @property
    def answer_schema(self) -> dict[str, Any]:
        return dict(self.body["response_format"]["json_schema"]["schema"])


@dataclass
class Contract:
    port: int
    answers: Sequence[Answer]
    received: list[Received] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    requests: int = 0
    ended: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)
    scheme: str = "http"

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}/v1"


class Server(ThreadingHTTPServer):
    daemon_threads = True
    contract: Contract

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is what many of the tests are about."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_POST(self) -> None:
        contract = self.server.contract
        data = self.rfile.read(int(self.headers["Content-Length"]))
        with contract.lock:
            answer = contract.answers[min(contract.requests, len(contract.answers) - 1)]
            contract.requests += 1
            try:
                contract.received.append(checked(self.path, dict(self.headers), data))
            except (ValueError, jsonschema.ValidationError) as error:
                contract.violations.append(str(error)[:500])
        answer(self)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name is the base class's
        pass

    def reply(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)


def checked(path: str, headers: dict[str, str], data: bytes) -> Received:
    if not path.endswith("/chat/completions"):
        raise ValueError(f"path {path}")
    if headers.get("Content-Type") != "application/json" or "Host" not in headers:
        raise ValueError(f"headers {sorted(headers)}")
    body = json.loads(data)
    jsonschema.Draft202012Validator(REQUEST_SCHEMA).validate(body)
    if "response_format" in body:
        jsonschema.Draft202012Validator.check_schema(body["response_format"]["json_schema"]["schema"])
        strict(body["response_format"]["json_schema"]["schema"])
    if isinstance(body["messages"][-1]["content"], str):
        return Received(path, headers, body, np.zeros((0, 0, 3), np.uint8))
    kind, _, coded = body["messages"][-1]["content"][0]["image_url"]["url"].partition(";base64,")
    encoded = base64.b64decode(coded, validate=True)
    if encoded[:3] != (b"\xff\xd8\xff" if kind == "data:image/jpeg" else b"\x89PN"):
        raise ValueError(f"a picture that is no {kind}")
    image = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise ValueError("a picture that cannot be decoded")
    return Received(path, headers, body, cv2.cvtColor(image, cv2.COLOR_BGR2RGB).astype(np.uint8))


def strict(schema: dict[str, Any]) -> None:
    if schema.get("type") == "object":
        if schema.get("additionalProperties") is not False or set(schema["required"]) != set(schema["properties"]):
            raise ValueError("a schema that strict mode does not take")
        for inner in schema["properties"].values():
            strict(inner)
    elif schema.get("type") == "array":
        strict(schema["items"])


def completion(text: str | None, finish: str | None = "stop", **more: Any) -> bytes:
    """The body of an answer 200; `more` goes into the choice, `refusal` into the message."""
    message = {"role": "assistant", "content": text, "refusal": more.pop("refusal", None)}
    choice = {"index": 0, "message": message, "finish_reason": finish, "logprobs": None, **more}
    told = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "tiny", "choices": [choice]}
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
    return json.dumps({**told, "usage": usage}).encode()


def says(text: str | None, finish: str | None = "stop", **more: Any) -> Answer:
    return lambda handler: handler.reply(200, completion(text, finish, **more))


def finds(*objects: tuple[str, Sequence[float]], logprobs: Sequence[float] | None = None) -> Answer:
    text = json.dumps({"objects": [{"label": label, "bbox_2d": list(box)} for label, box in objects]})
    told = None if logprobs is None else {"content": [{"token": "t", "logprob": p, "bytes": None} for p in logprobs]}
    return says(text, logprobs=told)


def raw(body: bytes, status: int = 200, **headers: str) -> Answer:
    return lambda handler: handler.reply(status, body, **headers)


def fails(status: int, message: str = "", **headers: str) -> Answer:
    body = json.dumps({"error": {"message": message, "type": "error", "param": None, "code": None}}).encode()
    return raw(body, status, **headers)


def silent(handler: Handler) -> None:
    handler.server.contract.ended.wait()


def drips(handler: Handler) -> None:
    _drip(handler, b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n", b" ")


def drips_headers(handler: Handler) -> None:
    _drip(handler, b"HTTP/1.1 200 OK\r\nX-Slow: ", b"x")


def _drip(handler: Handler, start: bytes, piece: bytes) -> None:
    handler.wfile.write(start)
    with contextlib.suppress(OSError):
        while not handler.server.contract.ended.wait(0.02):
            handler.wfile.write(piece)


def endless(handler: Handler) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    chunk = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
    with contextlib.suppress(OSError):
        while not handler.server.contract.ended.is_set():
            handler.wfile.write(chunk)


def hangs_up(handler: Handler) -> None:
    handler.close_connection = True


def cut_short(handler: Handler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", "5000")
    handler.end_headers()
    handler.wfile.write(completion("{")[:50])
    handler.close_connection = True


def speaks_no_http(handler: Handler) -> None:
    handler.wfile.write(b"SSH-2.0-OpenSSH_9.6\r\n")
    handler.close_connection = True


@contextlib.contextmanager
def serving(*answers: Answer, certificate: Path | None = None) -> Iterator[Contract]:
    """Run a server until the block ends; it must then have received nothing that breaks the contract."""
    server = Server(("127.0.0.1", 0), Handler)
    server.contract = Contract(server.server_address[1], answers)
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        server.contract.scheme = "https"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield server.contract
    finally:
        server.contract.ended.set()
        server.shutdown()
        thread.join()
        server.server_close()
    assert server.contract.violations == []


WIDTH, HEIGHT = 640, 480
MUG, BOWL = NounPhrase("mug"), NounPhrase("salad bowl")
RIGHT = finds(("mug", (100, 200, 300, 400)))


def image() -> Rgb:
    """Left half red, right half blue, so that order of channels and sides can be told."""
    pixels = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    pixels[:, : WIDTH // 2] = (220, 30, 30)
    pixels[:, WIDTH // 2 :] = (30, 30, 220)
    return pixels


@contextlib.contextmanager
def unused_address() -> Iterator[str]:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{held.getsockname()[1]}/v1"


def box_seen(handler: Handler) -> tuple[float, float, float, float]:
    """Where the one shape is, all that is not grey in the image that was sent; fractions of its sides."""
    rgb = handler.server.contract.received[-1].image.astype(int)
    rows, columns = (np.flatnonzero((np.ptp(rgb, axis=2) > 60).any(axis=axis)) for axis in (1, 0))
    height, width = rgb.shape[:2]
    return columns[0] / width, rows[0] / height, (columns[-1] + 1) / width, (rows[-1] + 1) / height


def client(url: str, **options: str) -> ServerGrounder:
    given = {"model": "tiny", "url": url, "retries": "0", "connect_timeout": "2", "probe": "no", **options}
    if "family" not in given and given["model"] == "tiny":  # a name that tells nothing of a family
        given.setdefault("convention", "thousand")
    return load(**given)
