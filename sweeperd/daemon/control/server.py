"""Answers requests on the control socket; whatever comes in, the event loop goes on."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections import Counter
from collections.abc import Awaitable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol, Self

from sweeperd.daemon.control.messages import (
    LONGEST_REQUEST,
    ControlRequest,
    RequestError,
    answer,
    decoded,
    refusal,
)
from sweeperd.log.daemon_events import (
    ControlFailed,
    ControlRead,
    ControlRequested,
    ControlUnavailable,
)
from sweeperd.log.event import emit

if TYPE_CHECKING:
    from sweeperd.daemon.control.endpoint import Endpoint
    from sweeperd.host.clock import Clock

# Connections at once; one user leaves room for others, root among them.
_MOST_CONNECTIONS: Final = 64
_MOST_OF_ONE_USER: Final = 16
# a connection that asks nothing for so long, or does not take its answer, is closed
_PATIENCE_SECONDS: Final = 10.0
# how often it is looked whether the name is still ours
_LOOK_SECONDS: Final = 30.0
_CLOSE_SECONDS: Final = 1.0
_CREDENTIALS: Final = struct.Struct("3i")

JsonObject = Mapping[str, object]


class Controlled(Protocol):
    """The daemon, as requests reach it. Each method may raise RequestError."""

    @property
    def config_path(self) -> Path:
        """Its configuration file."""

    async def status(self, sweep: str | None) -> JsonObject:
        """Return the daemon's state, and one sweep's or all sweeps'."""

    async def reload(self) -> JsonObject:
        """Read the configuration again; return once it is in force."""

    async def sweep(self, name: str, correlation_id: str | None) -> JsonObject:
        """Run a sweep now; return its report once the run has ended."""

    async def look_at_holds(self) -> JsonObject:
        """See at once what was held or released."""


@dataclass(frozen=True)
class Peer:
    """Who asks, by the kernel's word (SO_PEERCRED).

    Attributes:
        pid: The process.
        uid: Its user.
    """

    pid: int
    uid: int

    @classmethod
    def of(cls, connection: socket.socket) -> Self:
        """Ask the kernel."""
        found = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        pid, uid, _ = _CREDENTIALS.unpack(found)
        return cls(pid, uid)


class ControlServer:
    """Serves one endpoint.

    Args:
        endpoint: Where.
        daemon: What requests are for.
        clock: Time between two looks at the endpoint.
    """

    def __init__(self, endpoint: Endpoint, daemon: Controlled, clock: Clock) -> None:
        self._endpoint = endpoint
        self._daemon = daemon
        self._clock = clock
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self._users: Counter[int] = Counter()
        self._told: str | None = None
        self._is_ending = False

    async def open(self) -> None:
        """Listen, unless it does already; why it cannot is logged once."""
        if self._server is not None and self._endpoint.is_ours():
            return
        if self._server is not None:
            self._server.close()
            self._server = None
        try:
            listener = self._endpoint.listen()
            self._server = await asyncio.start_server(
                self._connected, sock=listener, limit=LONGEST_REQUEST
            )
        except OSError as error:
            self._tell(error)
        else:
            self._told = None

    async def keep_open(self) -> None:
        """Listen for ever, also when the name was removed or could not be had at first."""
        while True:
            await self._clock.sleep(_LOOK_SECONDS)
            await self.open()

    def begin_to_close(self) -> None:
        """Accept no more; requests under way are still answered."""
        self._is_ending = True
        if self._server is not None:
            self._server.close()
            self._endpoint.remove()

    async def close(self) -> None:
        """Let the last answers go out, and end every connection."""
        if self._connections:
            await asyncio.wait(self._connections, timeout=_CLOSE_SECONDS)
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    def _tell(self, error: OSError) -> None:
        reason = error.strerror or str(error)
        if reason != self._told:
            emit(ControlUnavailable(str(self._endpoint.path), reason))
        self._told = reason

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(self._serve(reader, writer))
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection, one after the other."""
        peer = Peer.of(writer.get_extra_info("socket"))
        # so that an answer is sent, or given up, before the next line is read
        writer.transport.set_write_buffer_limits(0)
        self._users[peer.uid] += 1
        try:
            if self._is_full(peer):
                raise RequestError("busy", "too many connections at once; try again")  # noqa: TRY301
            while (line := await _line(reader)) is not None:
                await _send(writer, await self._answer(line, peer))
        except RequestError as error:
            with suppress(OSError):
                await _send(writer, refusal(error))
        except OSError:
            pass  # it went away, or does not take its answer (a TimeoutError is one)
        finally:
            self._users[peer.uid] -= 1
            self._users += Counter()  # those who have none are forgotten
            writer.transport.abort()

    def _is_full(self, peer: Peer) -> bool:
        too_many = len(self._connections) > _MOST_CONNECTIONS
        return too_many or self._users[peer.uid] > _MOST_OF_ONE_USER

    async def _answer(self, line: bytes, peer: Peer) -> bytes:
        try:
            if self._is_ending:
                raise RequestError("stopping", "the daemon ends")  # noqa: TRY301
            request = decoded(line)
            _log(request, peer)
            self._refuse_other(request)
            return answer(await self._result(request))
        except RequestError as error:
            return refusal(error)
        except Exception as error:  # noqa: BLE001 - a bug met by one request is not the sweeps'
            emit(ControlFailed(repr(error)), error=error)
            return refusal(RequestError("failed", "a bug in sweeperd; its log says more"))

    def _refuse_other(self, request: ControlRequest) -> None:
        """Refuse what is meant for another daemon's sweeps."""
        ours, theirs = self._daemon.config_path, request.config
        if theirs is None or _same_file(str(ours), theirs):
            return
        raise RequestError(
            "other_configuration",
            f"the daemon at {self._endpoint.path} runs with {ours}, not with {theirs}",
            {"config": str(ours)},
        )

    def _result(self, request: ControlRequest) -> Awaitable[JsonObject]:
        match request.kind:
            case "status":
                return self._daemon.status(request.sweep)
            case "reload":
                return self._daemon.reload()
            case "sweep":
                return self._daemon.sweep(request.sweep or "", request.correlation_id)
            case "holds":
                return self._daemon.look_at_holds()


async def _line(reader: asyncio.StreamReader) -> bytes | None:
    """Return the next line; None when there is none any more.

    Raises:
        RequestError: It is too long, or has no end.
    """
    try:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            return await reader.readuntil(b"\n")
    except asyncio.IncompleteReadError as error:
        if not error.partial:
            return None
        raise RequestError("malformed", "the request has no end: a newline is missing") from None
    except asyncio.LimitOverrunError:
        told = f"a request has at most {LONGEST_REQUEST} bytes"
        raise RequestError("too_long", told) from None
    except TimeoutError:
        told = f"no whole line came within {_PATIENCE_SECONDS:.0f} s"
        raise RequestError("malformed", told) from None


async def _send(writer: asyncio.StreamWriter, line: bytes) -> None:
    writer.write(line)
    async with asyncio.timeout(_PATIENCE_SECONDS):
        await writer.drain()


def _log(request: ControlRequest, peer: Peer) -> None:
    kind = ControlRequested if request.kind in {"reload", "sweep"} else ControlRead
    emit(kind(request.kind, peer.uid, peer.pid, request.sweep))


def _same_file(one: str, other: str) -> bool:
    """Whether two paths mean one file; a link that was changed meanwhile still has its name."""
    return (
        Path(one).absolute() == Path(other).absolute()
        or Path(one).resolve() == Path(other).resolve()
    )
