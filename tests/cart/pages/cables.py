"""A cable between browsers and a store that can be cut."""

import contextlib
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

BUFFER_BYTES = 65536


class Cable:
    """Carries whatever is sent to a port of its own on to another one, until it is cut.

    Args:
        port: Where it leads, on this machine.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._ends: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._is_whole = True
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """Where the store is, by this cable."""
        return f"http://127.0.0.1:{self._listening.getsockname()[1]}"

    def cut(self) -> None:
        """Cut it: what is open breaks off, and nothing new gets through."""
        with self._lock:
            self._is_whole = False
            while self._ends:
                _close(self._ends.pop())

    def mend(self) -> None:
        """Mend it."""
        with self._lock:
            self._is_whole = True

    def close(self) -> None:
        """Take it away."""
        self.cut()
        _close(self._listening)
        self._thread.join(10.0)

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listening.accept()
            except OSError:
                return
            with self._lock:
                if not self._is_whole:
                    _close(near)
                    continue
                far = socket.create_connection(("127.0.0.1", self._port))
                self._ends |= {near, far}
            for one, other in ((near, far), (far, near)):
                threading.Thread(target=self._carry, args=(one, other), daemon=True).start()

    def _carry(self, one: socket.socket, other: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := one.recv(BUFFER_BYTES):
                other.sendall(data)
        with self._lock:
            self._ends -= {one, other}
        _close(one)
        _close(other)


@contextmanager
def cable_to(port: int) -> Iterator[Cable]:
    """A cable for as long as a test needs it."""
    cable = Cable(port)
    try:
        yield cable
    finally:
        cable.close()


def _close(end: socket.socket) -> None:
    # Closing alone does not wake a thread that waits for it.
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
    end.close()
