"""Reads an iterator ahead in a thread of its own, so that decoding and what is done with pictures overlap."""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, Generic, TypeVar

T = TypeVar("T")


class _End:
    """What comes after the last item."""


_END: Final = _End()


class ReadAhead(Iterator[T], Generic[T]):
    """Gives what an iterator gives, in its order, a few items of which are made while nobody waits for them.

    What the iterator raises is raised where the item would have been given. Nothing is read before the first item is
    asked for. It pays where making an item and using it both let go of Python's lock, as decoders and OpenCV do.

    >>> list(ReadAhead(iter("abc")))
    ['a', 'b', 'c']

    Args:
        items: What to read; it is used in another thread from the first item on, by nobody else.
        depth: How many items are made in advance.
    """

    def __init__(self, items: Iterator[T], depth: int = 2) -> None:
        if depth < 1:
            raise ValueError(f"expected to read at least 1 ahead, got {depth}")
        self._items = items
        self._depth = depth
        self._coming: deque[Future[T | _End]] = deque()
        self._pool: ThreadPoolExecutor | None = None
        self._is_over = False

    def __next__(self) -> T:
        """Give the next item, waiting for it if need be."""
        if self._is_over:
            raise StopIteration
        if self._pool is None:
            self._pool = ThreadPoolExecutor(1, thread_name_prefix="read-ahead")
        while len(self._coming) <= self._depth:
            self._coming.append(self._pool.submit(next, self._items, _END))
        try:
            item = self._coming.popleft().result()
        except BaseException:
            self.close()
            raise
        if isinstance(item, _End):
            self.close()
            raise StopIteration
        return item

    def close(self) -> None:
        """Stop reading, when the item that is being made is done; items made in advance are lost."""
        self._is_over = True
        for item in self._coming:
            item.cancel()
        self._coming.clear()
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._pool = None
