# SPDX-License-Identifier: Apache-2.0
"""Makes items ahead in a thread, so that reading and decoding continue while earlier items are used.

Independent of the items. It helps with image decoders, because they release the interpreter's lock.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable, Iterator
from typing import TypeVar

_T = TypeVar("_T")
_POLL_S = 0.1
_END = object()


def made_ahead(items: Iterable[_T], most: int = 2) -> Iterator[_T]:
    """The same items in the same order, made by a thread that is at most `most` items ahead.

    An exception while making an item is raised at that item's position. If not all items are taken, the thread ends
    after its current item and closes the generator.
    """
    ready: queue.Queue[tuple[object, BaseException | None]] = queue.Queue(most)
    is_over = threading.Event()

    def put(item: object, error: BaseException | None = None) -> bool:
        while not is_over.is_set():
            try:
                ready.put((item, error), timeout=_POLL_S)
            except queue.Full:
                continue
            return True
        return False

    def make() -> None:
        source = iter(items)
        try:
            for item in source:
                if not put(item):
                    return
            put(_END)
        except BaseException as error:
            put(_END, error)
        finally:
            close = getattr(source, "close", None)
            if close is not None:
                close()

    thread = threading.Thread(target=make, name="made-ahead", daemon=True)
    thread.start()
    try:
        while True:
            item, error = ready.get()
            if error is not None:
                raise error
            if item is _END:
                return
            yield item  # type: ignore[misc]
            del item  # or the last image is held while the next one is awaited
    finally:
        is_over.set()
        thread.join()
