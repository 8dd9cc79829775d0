"""`eureka review`: serves a run's page to one person on this machine, and takes what they say into the run's inbox.

It listens on 127.0.0.1 only. Every address begins with a token that is drawn for the sitting; besides, a request is
refused unless `Host` is ours (a foreign name that resolves to this machine is not), `Origin`, where a browser names
one, is our own page, and the browser does not say that another site sent it.
"""

from __future__ import annotations

import hmac
import json
import secrets
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from eureka_agent.errors import EurekaError, RunError
from eureka_agent.review.desk import Desk, Refused

ADDRESS = "127.0.0.1"
MOST_BYTES = 2_000_000
MOST_CONNECTIONS = 32
PATIENCE_SECONDS = 15.0
"""How long a request may take to arrive."""
OURS = ("none", "same-origin")
"""Where a request may come from, in the browser's words: the person's own hand, or our page."""
PULSE_SECONDS = 10.0
"""How often a stream of news says that it lives."""


class Server(ThreadingHTTPServer):
    """The server of one sitting."""

    daemon_threads = True
    block_on_close = False
    allow_reuse_address = False

    def __init__(self, folder: Path, port: int) -> None:
        """Listen, without serving yet."""
        self.desk = Desk(folder)
        self.token = secrets.token_urlsafe(24)
        self._room = threading.BoundedSemaphore(MOST_CONNECTIONS)
        super().__init__((ADDRESS, port), Handler)
        self.hosts = {f"{name}:{self.server_port}" for name in (ADDRESS, "localhost")}

    @property
    def url(self) -> str:
        """The page's address."""
        return f"http://{ADDRESS}:{self.server_port}/{self.token}/"

    def process_request(self, request: Any, client_address: Any) -> None:
        """One thread per connection, as far as there is room."""
        if not self._room.acquire(blocking=False):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve, and make room again."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._room.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection that broke is nobody's business; anything else is a bug, and shown."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


class Handler(BaseHTTPRequestHandler):
    """Answers one request."""

    server: Server
    timeout = PATIENCE_SECONDS
    server_version = "eureka"
    sys_version = ""

    def do_GET(self) -> None:
        """The page, or the stream of news."""
        path = self._inside()
        if path == "":
            self._answer_page()
        elif path == "events":
            self._stream()
        elif path is not None:
            self._refuse(HTTPStatus.NOT_FOUND)

    def _answer_page(self) -> None:
        try:
            page = self.server.desk.page().encode()
        except EurekaError as error:  # a damaged blob, a folder that has gone
            self._answer(HTTPStatus.INTERNAL_SERVER_ERROR, str(error).encode(), "text/plain; charset=utf-8")
        else:
            self._answer(HTTPStatus.OK, page, "text/html; charset=utf-8")

    def do_POST(self) -> None:
        """A review, or a message."""
        path = self._inside()
        if path is None:
            return None
        if path not in ("review", "message"):
            return self._refuse(HTTPStatus.NOT_FOUND)
        if self.headers.get("Origin") is None or self.headers.get_content_type() != "application/json":
            return self._refuse(HTTPStatus.FORBIDDEN)
        length = self.headers.get("Content-Length", "")
        if not length.isascii() or not length.isdigit() or self.headers.get("Transfer-Encoding"):
            return self._refuse(HTTPStatus.LENGTH_REQUIRED)
        if len(length) > 12 or int(length) > MOST_BYTES:
            return self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        body = self.rfile.read(int(length))
        try:
            said = self.server.desk.take(path, body)
        except Refused as wrong:
            return self._answer(HTTPStatus.BAD_REQUEST, str(wrong).encode(), "text/plain; charset=utf-8")
        except EurekaError as error:
            return self._answer(HTTPStatus.INTERNAL_SERVER_ERROR, str(error).encode(), "text/plain; charset=utf-8")
        return self._answer(HTTPStatus.OK, said.encode(), "text/plain; charset=utf-8")

    def _inside(self) -> str | None:
        """What comes after the token, if this request may be answered; else it has been refused."""
        token, slash, path = self.path.removeprefix("/").partition("/")
        if self.headers.get("Host") not in self.server.hosts:
            here = (
                f"this page answers at {ADDRESS}:{self.server.server_port} only; forward that port by the same number\n"
            )
            self._answer(HTTPStatus.MISDIRECTED_REQUEST, here.encode(), "text/plain; charset=utf-8")
        elif not self._is_ours():
            self._refuse(HTTPStatus.FORBIDDEN)
        elif not slash or not hmac.compare_digest(token.encode(), self.server.token.encode()):
            self._refuse(HTTPStatus.NOT_FOUND)
        else:
            return path
        return None

    def _is_ours(self) -> bool:
        """Whether our own page sent this, or a person followed a link to it, as far as the browser tells."""
        own = f"http://{self.headers.get('Host')}"
        followed = self.command == "GET" and self.headers.get("Sec-Fetch-Mode") == "navigate"
        site = self.headers.get("Sec-Fetch-Site", "none")
        return self.headers.get("Origin", own) == own and (followed or site in OURS)

    def _refuse(self, status: HTTPStatus) -> None:
        self._answer(status, f"{status.phrase}\n".encode(), "text/plain; charset=utf-8")

    def _answer(self, status: HTTPStatus, body: bytes, kind: str) -> None:
        self._begin(status, kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _begin(self, status: HTTPStatus, kind: str) -> None:
        self.close_connection = True
        self.send_response(status)
        for name, value in (
            ("Content-Type", kind),
            ("Cache-Control", "no-store"),
            ("Content-Security-Policy", "frame-ancestors 'none'"),
            ("Cross-Origin-Opener-Policy", "same-origin"),
            ("Cross-Origin-Resource-Policy", "same-origin"),
            ("Referrer-Policy", "no-referrer"),
            ("X-Content-Type-Options", "nosniff"),
            ("X-Frame-Options", "DENY"),
            ("Connection", "close"),
        ):
            self.send_header(name, value)

    def _stream(self) -> None:
        """Server-sent events: all that is to be known, whenever it has changed."""
        self._begin(HTTPStatus.OK, "text/event-stream")
        self.end_headers()
        seen = 0
        while not self.server.desk.closed:
            try:
                seen, news = self.server.desk.news_after(seen, PULSE_SECONDS)
            except EurekaError:  # the page's request for itself tells the reason
                return
            event = ": still here\n\n" if news is None else f"event: news\ndata: {json.dumps(news)}\n\n"
            self.wfile.write(event.encode())
            self.wfile.flush()

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: addresses hold the token."""


@contextmanager
def serving(folder: Path, port: int = 0) -> Iterator[str]:
    """Serve a run's page while the block runs; yields its address.

    Raises:
        RunError: the port is taken, or the run cannot be read.
    """
    try:
        server = Server(folder, port)
    except OSError as error:
        raise RunError(f"{ADDRESS}:{port}: {error.strerror or error}; choose another with --port") from error
    thread = threading.Thread(target=server.serve_forever, args=(0.1,), name="review", daemon=True)
    thread.start()
    try:
        yield server.url
    finally:
        server.desk.close()
        server.shutdown()
        with suppress(OSError):
            server.socket.shutdown(socket.SHUT_RDWR)
        server.server_close()
        thread.join()
