"""The bytes of a request's body: counted, timed and decoded into inputs.

The web server checks HTTP/1.1's framing but limits neither a body's size nor its time, so both are done here.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from math import inf
from time import monotonic
from typing import Any

import msgspec
from msgspec import Struct

from toque.call.context import Context
from toque.call.observation import CallerLeft
from toque.codecs.codec import CODECS
from toque.codecs.inflation import inflate
from toque.codecs.multipart import MULTIPART, multipart_reader
from toque.codecs.negotiation import parse_media_type
from toque.contract.errors import (
    BadRequest,
    DeadlineExceeded,
    Error,
    Overloaded,
    RequestTimeout,
    TooLarge,
    UnsupportedMediaType,
)
from toque.contract.operation import Operation
from toque.contract.signature import Place, Signature, struct_of
from toque.transports.arguments import PlainReader

__all__ = [
    "SKIPPED_BYTES_MAX",
    "BodyLimits",
    "LateReader",
    "body_type",
    "chunks_of",
    "late_reader",
    "read_bytes_in_time",
    "read_raw",
    "skip_rest",
]


SKIPPED_BYTES_MAX = 16 * 1024 * 1024
"""How much of what is too large is read all the same, and dropped: a photo or a scan. Most clients send their whole
body before they look for an answer, and take a connection that closes meanwhile for broken (RFC 9112, 9.6); curl 7 and
httpx do so over HTTP/2, too."""

REST_BYTES_MAX = 64 * 1024
"""How much of a body is awaited though its request is refused already: what most systems send at once."""

REST_S = 1.0
"""How long: head and body of one request are seldom further apart."""

LENGTH_DIGITS_MAX = 18
"""An exabyte: more digits need not be read."""


class BodyLimits(Struct, frozen=True):
    """How large a body may be, and how long it may take to arrive."""

    bytes_max: int
    seconds_max: float


LateReader = Callable[[Context, Any, Any, Any, tuple[str, ...]], Coroutine[Any, Any, list[Any]]]
"""Takes the call, RSGI's scope, the request's headers, RSGI's protocol and the path's values; returns all inputs, with
those of the body."""


def late_reader(operation: Operation, signature: Signature, read_plain: PlainReader, limits: BodyLimits) -> LateReader:
    """How the inputs are read once the caller may give them: those that *read_plain* finds, and those in the body."""
    positions = {found.name: position for position, found in enumerate(signature.inputs)}
    if uploads := signature.places(Place.UPLOAD):
        return _upload_reader(positions[uploads[0].name], read_plain, limits)
    if whole := signature.places(Place.BODY):
        found = whole[0]
        absent = None if found.is_required else lambda: found.default
        return _BodyReader(found.type, absent, read_plain, _whole(positions[found.name]), limits)
    if members := signature.places(Place.MEMBER):
        tp = body_type(operation, signature)
        absent = None if any(found.is_required for found in members) else tp
        return _BodyReader(tp, absent, read_plain, _members([positions[found.name] for found in members]), limits)
    return _bodiless_reader(read_plain)


def body_type(operation: Operation, signature: Signature) -> Any:
    """What a body is decoded into: the one input that it is, or a Struct of those that are its members."""
    if whole := signature.places(Place.BODY):
        return whole[0].type
    return struct_of(_body_name(operation), signature.places(Place.MEMBER), operation.function.__module__)


def _upload_reader(position: int, read_plain: PlainReader, limits: BodyLimits) -> LateReader:
    async def read(_context: Context, scope: Any, headers: Any, proto: Any, segments: tuple[str, ...]) -> list[Any]:
        values = read_plain(scope, segments)
        values[position] = chunks_of(scope, headers, proto, limits)
        return values

    return read


def _bodiless_reader(read_plain: PlainReader) -> LateReader:
    async def read(_context: Context, scope: Any, _headers: Any, _proto: Any, segments: tuple[str, ...]) -> list[Any]:
        return read_plain(scope, segments)

    return read


def _body_name(operation: Operation) -> str:
    """`menu.add_dish` takes a `MenuAddDishBody`."""
    return "".join(part.capitalize() for part in operation.name.replace(".", "_").split("_")) + "Body"


_Fill = Callable[[list[Any], Any], None]
"""Puts what a body was decoded into where the inputs are."""


def _whole(position: int) -> _Fill:
    def fill(values: list[Any], body: Any) -> None:
        values[position] = body

    return fill


def _members(positions: list[int]) -> _Fill:
    def fill(values: list[Any], body: Any) -> None:
        for position, value in zip(positions, msgspec.structs.astuple(body), strict=True):
            values[position] = value

    return fill


class _BodyReader:
    """Reads a body in any format that can carry the type.

    Args:
        absent: makes what an empty body stands for; None where there must be one.
    """

    __slots__ = ("_absent", "_decode", "_fill", "_limits", "_read_multipart", "_read_plain", "_taken")

    def __init__(
        self, tp: Any, absent: Callable[[], Any] | None, read_plain: PlainReader, fill: _Fill, limits: BodyLimits
    ) -> None:
        self._absent = absent
        self._read_plain = read_plain
        self._fill = fill
        self._limits = limits
        self._decode = {
            media_type: decode
            for codec in CODECS.values()
            if (decode := codec.decoder(tp))
            for media_type in codec.media_types
        }
        self._read_multipart = multipart_reader(tp)
        multipart = MULTIPART.media_types if self._read_multipart else ()
        self._taken = ", ".join(sorted({name.partition(";")[0] for name in (*self._decode, *multipart)}))
        if not self._taken:
            raise TypeError(f"no format carries {tp} as a body; give it a name: a Struct with a field of it")

    async def __call__(
        self, context: Context, scope: Any, headers: Any, proto: Any, segments: tuple[str, ...]
    ) -> list[Any]:
        values = self._read_plain(scope, segments)
        content_type = headers.get("content-type")
        decode = self._decode.get(content_type)
        if decode is None and content_type is not None:
            media_type, _ = parse_media_type(content_type)
            if self._read_multipart is not None and media_type in MULTIPART.media_types:
                chunks = chunks_of(scope, headers, proto, self._limits)
                self._fill(values, await self._read_multipart(chunks, content_type))
                return values
            decode = self._decode.get(media_type)
        # The format of a body is never guessed (RFC 9110, section 8.3); what is not there needs none.
        if decode is None and (content_type is not None or self._absent is None):
            raise self._unsupported(content_type)
        # The call's own clock keeps the time: a timer for each body would cost as much as decoding it.
        context.receive_by = monotonic() + self._limits.seconds_max
        body = await read_bytes(scope, headers, proto, self._limits)
        context.receive_by = inf
        if not body and self._absent is not None:
            self._fill(values, self._absent())
        elif decode is None:
            raise self._unsupported(content_type)
        else:
            self._fill(values, decode(body))
        return values

    def _unsupported(self, content_type: str | None) -> UnsupportedMediaType:
        received = "none" if content_type is None else content_type[:100]
        return UnsupportedMediaType(f"expected a Content-Type of {self._taken}; received {received}")


async def read_bytes(scope: Any, headers: Any, proto: Any, limits: BodyLimits) -> bytes:
    """The whole body, without its content coding; how long it may take is its caller's to say.

    Args:
        headers: those of *scope*, of which granian makes a copy for everybody who asks.
    Raises: TooLarge, BadRequest, and what `inflate` raises.
    """
    body = await read_raw(scope, headers, proto, limits)
    coding = headers.get("content-encoding")
    return body if coding is None else inflate(body, coding, limits.bytes_max)


async def read_raw(scope: Any, headers: Any, proto: Any, limits: BodyLimits) -> bytes:
    """The whole body as it comes, in its content coding. Raises: TooLarge, BadRequest."""
    is_known_to_fit = _check_framing(headers, limits)
    try:
        if is_known_to_fit:
            return await proto()  # type: ignore[no-any-return]
        return b"".join([chunk async for chunk in _counted(scope, headers, proto, limits.bytes_max)])
    except Error:
        raise
    except Exception as error:
        raise _broken() from error


async def skip_rest(scope: Any, headers: Any, proto: Any, error: Exception) -> None:
    """Await and drop a small body that nobody has read, before its request is refused by *error*.

    Many clients send it in a packet of its own. granian closes a connection whose body has not come when it answers,
    and does not say so; the client's next request is lost then. Other servers decide for themselves.
    """
    if type(error) in _IN_NO_MOMENT:
        return
    length = headers.get("content-length") or ""
    if not (0 < len(length) <= 5 and length.isdigit() and int(length) <= REST_BYTES_MAX) or "expect" in headers:
        return
    if not type(scope).__module__.startswith("granian"):
        return
    try:
        async with asyncio.timeout(REST_S):
            await proto()
    except Exception:  # noqa: S110 - it was read already, breaks off or does not come: the refusal says what counts
        pass


_IN_NO_MOMENT = frozenset({CallerLeft, DeadlineExceeded, Overloaded, RequestTimeout, TooLarge})
"""What is said at once: nobody waits, nothing may cost more, or the body has had its time."""


async def read_bytes_in_time(scope: Any, headers: Any, proto: Any, limits: BodyLimits) -> bytes:
    """The whole body, for who has no call yet whose clock would keep the time. Raises: RequestTimeout, too."""
    try:
        async with asyncio.timeout(limits.seconds_max):
            return await read_bytes(scope, headers, proto, limits)
    except TimeoutError:
        raise _too_slow(limits) from None


async def chunks_of(scope: Any, headers: Any, proto: Any, limits: BodyLimits) -> AsyncIterator[bytes]:
    """The body as it comes, in constant memory; each chunk may take as long as a whole body else."""
    _check_framing(headers, limits)
    if headers.get("content-encoding") is not None:
        raise UnsupportedMediaType("a streamed body takes no Content-Encoding")
    chunks = _counted(scope, headers, proto, limits.bytes_max)
    while True:
        try:
            async with asyncio.timeout(limits.seconds_max):
                chunk = await anext(chunks, None)
        except TimeoutError:
            raise _too_slow(limits) from None
        if chunk is None:
            return
        yield chunk


async def _counted(scope: Any, headers: Any, proto: Any, bytes_max: int) -> AsyncIterator[bytes]:
    count = empty = 0
    try:
        async for chunk in proto:
            count += len(chunk)
            empty += not chunk
            if count <= bytes_max:
                yield chunk
            elif count > bytes_max + SKIPPED_BYTES_MAX:
                raise _too_large(bytes_max)
    except (TooLarge, asyncio.CancelledError, GeneratorExit):
        raise
    except Exception as error:
        raise _broken() from error
    if count > bytes_max:
        raise _too_large(bytes_max)
    # granian ends a body with one empty chunk, and says that it is broken with one more. It also has one more
    # for trailers, which so are not taken; and HTTP/2 has empty chunks of its own, but no framing that could
    # break.
    length = headers.get("content-length")
    if (empty > 1 and scope.http_version[0] == "1") or (length is not None and count != int(length)):
        raise _broken()


def _check_framing(headers: Any, limits: BodyLimits) -> bool:
    """Whether the body says its length, and that is within the limit."""
    length = headers.get("content-length")
    codings = headers.get_all("transfer-encoding")
    # granian takes the length out of a chunked request, but not every server does, and then it says nothing.
    if codings and (length is not None or [coding.strip().lower() for coding in codings] != ["chunked"]):
        raise BadRequest("a body has a length or one transfer coding, 'chunked' (RFC 9112, 6.1)")
    if length is None:
        return False
    bytes_count = int(length) if len(length) <= LENGTH_DIGITS_MAX else inf
    if bytes_count <= limits.bytes_max:
        return True
    # Whoever asks before sending (RFC 9110, 10.1.1) is told at once.
    if headers.get("expect") or bytes_count > limits.bytes_max + SKIPPED_BYTES_MAX:
        raise _too_large(limits.bytes_max)
    return False


def _too_large(bytes_max: int) -> TooLarge:
    return TooLarge(f"the body is larger than {bytes_max} bytes")


def _broken() -> BadRequest:
    """The server's own parser refused a chunk, or the client went away in the middle of its body."""
    return BadRequest("the body's framing is broken, or its sender left (RFC 9112, 7.1 and 8)")


def _too_slow(limits: BodyLimits) -> RequestTimeout:
    return RequestTimeout(f"the body did not arrive within {limits.seconds_max:g} seconds")
