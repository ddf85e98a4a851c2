# SPDX-License-Identifier: Apache-2.0
"""Read sentences outside the grammar with a language model behind an OpenAI-compatible server.

Limits, secrets and certificates are those of the backend "server": see docs/model_server.md.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import MappingProxyType

from spatial_vlm_ros.errors import InputError
from spatial_vlm_ros.parameters.bounds import check_names
from spatial_vlm_ros.perception import parse_options
from spatial_vlm_ros.perception.backends import server_chat as chat
from spatial_vlm_ros.perception.backends.server_http import DEFAULT_URL, Client, number, server_client
from spatial_vlm_ros.perception.reader import ModelReading
from spatial_vlm_ros.perception.sentence_reading import model_reading, reading_request

MOST_TOKENS = 32768
_OPTIONS: Mapping[str, str] = MappingProxyType(
    {
        **{"model": "", "url": DEFAULT_URL, "key_env": "", "ca_file": "", "max_tokens": "2048"},
        **{"connect_timeout": "3", "read_timeout": "10", "budget": "12", "retries": "1"},
    }
)
"""Option → its default."""


class ServerReader:
    """Asks a model server to rewrite a sentence as one plain command; a SentenceReader. Threads may share it.

    Args:
        max_tokens: most tokens of an answer.
    """

    def __init__(self, client: Client, model: str, max_tokens: int) -> None:
        self.name = client.name
        self._client, self._model, self._max_tokens = client, model, max_tokens

    def read(self, instruction: str) -> ModelReading:
        """See SentenceReader.read."""
        request = reading_request(chat.quoted(instruction), self._model, self._max_tokens)
        answer = self._client.post("/chat/completions", json.dumps(request).encode("ascii"))
        return model_reading(instruction, chat.said(answer, self.name).text, self.name)


def load_reader(options: str) -> ServerReader:
    """Make the reader of a model server from one text of options, without contacting the server.

    Args:
        options: "model=NAME url=http://… name=value", see docs/model_server.md.
    """
    stated = parse_options(options)
    check_names("option of language.model", stated, list(_OPTIONS))
    if "model" not in stated:
        raise InputError("language.model", repr(options), "model=NAME url=…", "name the model and its server")
    given = {**_OPTIONS, **stated}
    model, most = given["model"], number("max_tokens", given.pop("max_tokens"), int)
    if not model.strip() or not 1 <= most <= MOST_TOKENS:
        got, wanted = f"model {model!r}, max_tokens {most}", f"a name, and 1 to {MOST_TOKENS}"
        raise InputError("options of the language model", got, wanted, "the server's /models lists the names")
    return ServerReader(server_client(**given), model, most)
