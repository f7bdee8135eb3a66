"""Another host on loopback, which nothing should be sent to: it keeps every byte it gets."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from types import TracebackType

_READ_S = 5.0


class RecordingHost:
    """Listens on a free port; reads a request from each connection, answers it and ends it.

    :ivar address: host and port.
    :param answer: what every request is answered with, byte for byte.
    """

    def __init__(self, host: str = "127.0.0.1", answer: bytes = b"") -> None:
        self._answer = answer
        self._listener = socket.create_server((host, 0))
        self.address = f"{host}:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._requests: list[bytes] = []

    def __enter__(self) -> RecordingHost:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        if self._thread.is_alive():
            self._end()

    def received(self) -> list[bytes]:
        """The head of the request of each connection so far; nothing is served any more.

        Connections are taken one after the other, so none that was made before this call is missed.
        """
        self._end()
        return self._requests

    def _end(self) -> None:
        with socket.create_connection(self._listener.getsockname()) as last:
            last.sendall(b"end\r\n\r\n")
            self._thread.join()
        self._listener.close()

    def _serve(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            with connection:
                request = _head(connection)
                if request == b"end\r\n\r\n":
                    return
                self._requests.append(request)
                with suppress(OSError):
                    connection.sendall(self._answer)


def _head(connection: socket.socket) -> bytes:
    """What comes up to the end of a head, the end of the connection, or a while of nothing."""
    connection.settimeout(_READ_S)
    head = b""
    with suppress(OSError):
        while not head.endswith(b"\r\n\r\n") and (more := connection.recv(65_536)):
            head += more
    return head
