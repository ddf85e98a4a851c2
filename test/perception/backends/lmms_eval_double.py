# SPDX-License-Identifier: Apache-2.0
"""A stand-in for lmms-eval: what a model of it is made by, asked with and read by, and nothing else.

Written from EvolvingLMMs-Lab/lmms-eval at 75571cf (0.7.2): lmms_eval/api/model.py:15-184, lmms_eval/api/instance.py,
lmms_eval/models/registry_v2.py:11-137, lmms_eval/utils.py:82-92 and 206-221, lmms_eval/api/task.py:1521-1577 and
1606-1626, lmms_eval/evaluator.py:1056-1093. The tests that use it also run on the package itself where it is installed.
"""

import abc
import importlib
import sys
import types
from dataclasses import dataclass, field
from typing import Any

import pytest


class lmms(abc.ABC):
    is_simple = True

    def __init__(self) -> None:
        self._rank, self._world_size = 0, 1
        self.cache_hook, self.task_dict = CacheHook(), dict[str, Any]()

    @abc.abstractmethod
    def loglikelihood(self, requests: list[Any]) -> list[Any]: ...

    @abc.abstractmethod
    def generate_until(self, requests: list[Any]) -> list[str]: ...

    @abc.abstractmethod
    def generate_until_multi_round(self, requests: list[Any]) -> list[str]: ...

    @classmethod
    def create_from_arg_string(cls, arg_string: str, additional_config: dict[str, Any] | None = None) -> Any:
        given = dict(part.split("=", 1) for part in arg_string.strip().split(",") if part)
        more = {name: value for name, value in (additional_config or {}).items() if value is not None}
        return cls(**{name: _value(text) for name, text in given.items()}, **more)


class CacheHook:
    def add_partial(self, attr: str, req: Any, res: Any) -> None:
        """Does nothing, as there."""


def _value(text: str) -> Any:
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    if text.isnumeric():
        return int(text)
    try:
        return float(text)
    except ValueError:
        return text


@dataclass
class GenerationResult:
    text: Any
    token_counts: Any = None


@dataclass
class Instance:
    request_type: str
    arguments: tuple[Any, ...]
    idx: int
    metadata: dict[str, Any] = field(default_factory=dict)

    @property
    def args(self) -> tuple[Any, ...]:
        return self.arguments


def unwrap_generation_output(output: Any) -> tuple[Any, Any]:
    if isinstance(output, GenerationResult):
        return output.text, output.token_counts
    return (output if isinstance(output, str) else str(output)), None  # a pair of numbers becomes a text


@dataclass(frozen=True)
class ModelManifest:
    model_id: str
    simple_class_path: str | None = None
    chat_class_path: str | None = None
    aliases: tuple[str, ...] = ()


class ModelRegistryV2:
    def __init__(self) -> None:
        self._paths: dict[str, str] = {}

    def register_manifest(self, manifest: ModelManifest) -> None:
        self._paths[manifest.model_id] = str(manifest.simple_class_path)

    def get_model_class(self, name: str) -> Any:
        module, _, attribute = self._paths[name].rpartition(".")
        found = getattr(importlib.import_module(module), attribute)
        if not (isinstance(found, type) and issubclass(found, lmms)) or not found.is_simple:
            raise TypeError(f"{attribute} is no simple model of lmms-eval")
        return found


_MODULES = {
    "lmms_eval": (),
    "lmms_eval.api": (),
    "lmms_eval.api.model": (lmms, CacheHook),
    "lmms_eval.api.instance": (Instance, GenerationResult, unwrap_generation_output),
    "lmms_eval.models": (),
    "lmms_eval.models.registry_v2": (ModelManifest, ModelRegistryV2),
}


def install(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, parts in _MODULES.items():
        module = types.ModuleType(name)
        vars(module).update({part.__name__: part for part in parts})
        monkeypatch.setitem(sys.modules, name, module)
