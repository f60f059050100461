import threading
from collections.abc import Iterator

import pytest

from vision.ahead import ReadAhead


def test_items_come_in_order_and_end() -> None:
    ahead = ReadAhead(iter(range(50)), depth=3)
    assert list(ahead) == list(range(50))
    assert list(ahead) == []


def test_the_next_items_are_made_while_nobody_waits() -> None:
    made = threading.Semaphore(0)

    def items() -> Iterator[int]:
        for number in range(10):
            made.release()
            yield number

    ahead = ReadAhead(items(), depth=2)
    assert next(ahead) == 0
    for _ in range(3):  # the one that was given, and two more
        assert made.acquire(timeout=10)
    assert not made.acquire(blocking=False)
    ahead.close()


def test_an_error_comes_where_its_item_would_have_been() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise OSError("the disk is gone")

    ahead = ReadAhead(items())
    assert next(ahead) == 1
    with pytest.raises(OSError, match="the disk is gone"):
        next(ahead)
    assert list(ahead) == []


def test_nothing_is_read_before_it_is_asked_for_nor_after_it_is_closed() -> None:
    read: list[int] = []

    def items() -> Iterator[int]:
        for number in range(100):
            read.append(number)
            yield number

    ahead = ReadAhead(items(), depth=1)
    assert read == []
    assert next(ahead) == 0
    ahead.close()
    assert len(read) <= 3
    assert list(ahead) == []


def test_reading_ahead_by_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1 ahead, got 0"):
        ReadAhead(iter(()), depth=0)
