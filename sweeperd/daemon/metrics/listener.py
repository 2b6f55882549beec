"""The HTTP listener: /metrics for Prometheus, /healthz for whoever restarts what is unwell."""

from __future__ import annotations

import socket
import socketserver
import threading
from typing import TYPE_CHECKING, Any, Final
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from prometheus_client import CollectorRegistry, make_wsgi_app

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from wsgiref.types import StartResponse, WSGIEnvironment

_MOST_REQUESTS: Final = 16  # at a time; whoever comes then is turned away
_REQUEST_SECONDS: Final = 5.0  # of silence, after which a request is given up
_POLL_SECONDS: Final = 0.5
_TEXT: Final = ("Content-Type", "text/plain; charset=utf-8")


class MetricsListener:
    """Serves in threads of its own; the event loop is never waited for.

    Args:
        address: ``host:port``; without a host it is the loopback address.
        registry: What /metrics shows.
        problems: Returns what /healthz complains of.

    Raises:
        OSError: The address cannot be used.
    """

    def __init__(
        self, address: str, registry: CollectorRegistry, problems: Callable[[], Iterable[str]]
    ) -> None:
        self._metrics = make_wsgi_app(registry)
        self._problems = problems
        self._server = _Server(address)
        self._server.set_app(self._answer)
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(_POLL_SECONDS,), name="metrics", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Serve no longer."""
        self._server.shutdown()
        self._server.server_close()

    def _answer(self, environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        if path == "/metrics":
            # the plain format, which each Prometheus reads, takes half the time of OpenMetrics
            plain: WSGIEnvironment = {**environ, "HTTP_ACCEPT": ""}
            answer: Iterable[bytes] = self._metrics(plain, start)
            return answer
        if path != "/healthz":
            start("404 Not Found", [_TEXT])
            return [b"There are /metrics and /healthz.\n"]
        problems = list(self._problems())
        start("503 Service Unavailable" if problems else "200 OK", [_TEXT])
        return [f"{'; '.join(problems) or 'ok'}\n".encode()]


class _Handler(WSGIRequestHandler):
    """A request; it is not logged, and a client that falls silent does not keep its thread."""

    timeout = _REQUEST_SECONDS

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's
        """Log nothing."""


class _Server(socketserver.ThreadingMixIn, WSGIServer):
    """A server that starts at most so many threads."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        found = socket.getaddrinfo(
            host.strip("[]") or "127.0.0.1", int(port), type=socket.SOCK_STREAM
        )
        self.address_family, *_, place = found[0]
        self._free = threading.BoundedSemaphore(_MOST_REQUESTS)
        super().__init__((str(place[0]), int(place[1])), _Handler)

    def server_bind(self) -> None:
        """Bind, without a question to DNS for the host's name."""
        socketserver.TCPServer.server_bind(self)
        host, port, *_ = self.server_address
        self.server_name, self.server_port = str(host), int(port)
        self.setup_environ()

    def process_request(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - the library's
        """Answer in a thread, unless too many are busy."""
        if self._free.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - the library's
        """Answer one request."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - the library's
        """Say nothing of a client that went away."""
