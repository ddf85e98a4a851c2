# SPDX-License-Identifier: Apache-2.0
"""Makes items ahead in threads, so that reading and computing continue while earlier items are used.

Independent of the items. It helps with image decoders and NumPy, because they release the interpreter's lock.
"""

from __future__ import annotations

import itertools
import logging
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

_T = TypeVar("_T")
_END: Any = object()
_log = logging.getLogger(__name__)


def made_ahead(items: Iterable[_T], most: int = 2) -> Generator[_T, None, None]:
    """The same items in the same order, made by a thread that is at most `most` items ahead.

    An exception while making an item is raised at that item's position. If not all items are taken, the thread ends
    after its current item and closes the generator.
    """
    source = iter(items)

    def close() -> None:
        try:
            getattr(source, "close", lambda: None)()
        except Exception:  # nobody waits for it
            _log.exception("unexpected exception while items made ahead were closed")

    made = computed_ahead(lambda _: next(source, _END), itertools.repeat(None), most, at_end=close)
    try:
        yield from itertools.takewhile(lambda item: item is not _END, made)
    finally:
        made.close()


def computed_ahead(
    make: Callable[[Any], _T], inputs: Iterable[Any], most: int = 1, at_end: Callable[[], object] = lambda: None
) -> Generator[_T, None, None]:
    """What a function makes of each input, in their order, at most `most` ahead; its thread calls `at_end` at last."""
    coming = iter(inputs)
    with ThreadPoolExecutor(1, "made-ahead") as pool:
        waiting = deque(pool.submit(make, one) for one in itertools.islice(coming, most))
        try:
            while waiting:
                item = waiting.popleft().result()
                waiting.extend(pool.submit(make, one) for one in itertools.islice(coming, 1))
                yield item
                del item  # or the last image is held while the next one is awaited
        finally:
            for one in waiting:
                one.cancel()
            pool.submit(at_end)
