# SPDX-License-Identifier: Apache-2.0
"""The models of this package, with their remedies, as a model of lmms-eval: `--model spatial_vlm`.

    python -m lmms_eval --tasks cv_bench_2d --model spatial_vlm --model_args backend=qwen-vl,model=FOLDER,attention=1.2

lmms-eval finds it by the entry point "lmms_eval.models"; nothing here imports lmms-eval before lmms-eval asks for it.
What it has to be is read from EvolvingLMMs-Lab/lmms-eval at 75571cf (0.7.2):

- a subclass of `lmms` (api/model.py:15-147), made from --model_args, of which numbers and booleans are no texts any
  more (utils.py:82-92), with --batch_size and --device;
- requests with `args` of (context, generation arguments or target, doc_to_visual, doc_id, task, split)
  (api/task.py:1521-1577), documents in `task_dict[task][split][doc_id]` (evaluator.py:448);
- `loglikelihood` gives the mean *negative* log-likelihood of a token, least for the likeliest (api/task.py:1621-1626);
  a bare (value, greedy) would become a text, so it is put into a GenerationResult (api/instance.py:28-71).
"""

from __future__ import annotations

import importlib
import logging
import types
from collections.abc import Sequence
from typing import Any

import numpy as np

from spatial_vlm_lab.benchmarks.asking import load_benchmark_backend
from spatial_vlm_ros.errors import InputError
from spatial_vlm_ros.types import Rgb

MODEL_ID = "spatial_vlm"
_CLASS = "SpatialVlmModel"
_log = logging.getLogger(__name__)


def manifest() -> Any:
    """Manifest for lmms-eval's entry point: the model's name and its class."""
    registry = importlib.import_module("lmms_eval.models.registry_v2")
    return registry.ModelManifest(model_id=MODEL_ID, simple_class_path=f"{__name__}.{_CLASS}")


def __getattr__(name: str) -> Any:
    if name != _CLASS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    base = importlib.import_module("lmms_eval.api.model").lmms
    names = {"is_simple": True, "__module__": __name__, "__doc__": LmmsRequests.__doc__}
    made = types.new_class(_CLASS, (LmmsRequests, base), exec_body=lambda space: space.update(names))
    globals()[_CLASS] = made  # the same class each time
    return made


class LmmsRequests:
    """A backend that answers lmms-eval's requests; together with lmms-eval's base class it is a model.

    One image per question; always greedy decoding. The length of replies is an option of the backend
    (max_new_tokens, of a server max_tokens), not of the task.
    """

    task_dict: dict[str, Any]
    cache_hook: Any

    def __init__(self, backend: str = "", batch_size: Any = 1, device: str | None = None, max_batch_size: Any = None,
                 **options: Any) -> None:  # fmt: skip
        super().__init__()
        if not backend:
            raise InputError("model_args", "no backend", "backend=NAME,model=…", "choose a backend, such as qwen-vl")
        if str(batch_size) != "1" or max_batch_size is not None:
            _log.warning("questions are asked one at a time, whatever the batch size")
        named = options if device is None else options | {"device": device}
        texts = {name: {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)
                 for name, value in named.items()}  # fmt: skip
        self._backend = load_benchmark_backend(backend, texts)

    def generate_until(self, requests: Sequence[Any]) -> list[str]:
        """Replies to prompts, each cut before the first of its `until` texts."""
        ask = getattr(self._backend, "reply", None)
        if not callable(ask):
            got = f"{type(self._backend).__name__}, which does not take a free prompt"
            raise InputError("backend", got, "qwen-vl, vlm or server", "use one of them for tasks that generate")
        replies = []
        for request in requests:
            context, arguments, *where = request.args
            text, ends = ask(self._image(where), context).text, arguments.get("until") or ()
            for end in (ends,) if isinstance(ends, str) else ends:
                text = text.split(end)[0] if end else text
            self.cache_hook.add_partial("generate_until", (context, arguments), text)
            replies.append(text)
        return replies

    def loglikelihood(self, requests: Sequence[Any]) -> list[Any]:
        """Mean negative log-likelihood of a token of each continuation, and whether greedy decoding would write it."""
        ask = getattr(getattr(self._backend, "scorer", self._backend), "continuation", None)
        if not callable(ask):
            got = f"{type(self._backend).__name__}, which returns no likelihoods"
            raise InputError("backend", got, "qwen-vl, vlm or the folder of a model", "use one for multiple choice")
        made = getattr(importlib.import_module("lmms_eval.api.instance"), "GenerationResult", None)
        found = []
        for request in requests:
            context, target, *where = request.args
            text = target if isinstance(target, str) else target(self._document(where))
            mean, greedy = ask(self._image(where), context, text)
            found.append((-mean, greedy) if made is None else made(text=(-mean, greedy)))
        return found

    def generate_until_multi_round(self, requests: Sequence[Any]) -> list[str]:
        """Not supported: one question, one reply."""
        got = f"{len(requests)} multi-turn questions"
        raise InputError("task", got, "single-turn questions", "choose another task")

    def _document(self, where: Sequence[Any]) -> Any:
        _, number, task, split = where
        return self.task_dict[task][split][number]

    def _image(self, where: Sequence[Any]) -> Rgb:
        visuals = where[0](self._document(where)) or []
        if len(visuals) != 1 or not callable(getattr(visuals[0], "convert", None)):
            got = ", ".join(type(one).__name__ for one in visuals) or "none"
            repair = "choose tasks with one image per question"
            raise InputError(f"images of task {where[2]}", got, "one image", repair)
        rgb: Rgb = np.ascontiguousarray(np.asarray(visuals[0].convert("RGB"), np.uint8))
        return rgb
