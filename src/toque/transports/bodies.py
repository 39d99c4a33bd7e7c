"""The bytes of a request's body: counted, timed and decoded into inputs.

The web server checks HTTP/1.1's framing but limits neither a body's size nor its time, so both are done here.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass
from typing import Any

import msgspec

from toque.codecs import compression
from toque.codecs.codec import CODECS
from toque.codecs.multipart import read_multipart
from toque.codecs.negotiation import parse_media_type
from toque.contract.errors import BadRequest, Error, RequestTimeout, TooLarge, UnsupportedMediaType
from toque.contract.operation import Operation
from toque.contract.signature import Input, Place, Signature

__all__ = ["BodyLimits", "BodyReader", "body_reader", "chunks_of", "read_bytes"]

MULTIPART = "multipart/form-data"


@dataclass(frozen=True, slots=True)
class BodyLimits:
    """How large a body may be, and how long it may take to arrive."""

    bytes_max: int
    seconds_max: float


BodyReader = Callable[[Any, Any, list[Any]], Coroutine[Any, Any, list[Any]]]
"""Takes RSGI's scope and protocol and the inputs read so far; returns them with those of the body filled in."""


def body_reader(operation: Operation, signature: Signature, limits: BodyLimits) -> BodyReader | None:
    """How the inputs in the body are read; None where there are none."""
    positions = {found.name: position for position, found in enumerate(signature.inputs)}
    if uploads := signature.places(Place.UPLOAD):
        return _upload_reader(positions[uploads[0].name], limits)
    if whole := signature.places(Place.BODY):
        decode = _Decoder(whole[0].type, whole[0], limits)
        return _value_reader(decode, lambda values, value: values.__setitem__(positions[whole[0].name], value))
    if members := signature.places(Place.MEMBER):
        return _value_reader(
            _Decoder(_struct_of(operation, members), None, limits),
            lambda values, value: [
                values.__setitem__(positions[found.name], getattr(value, found.name)) for found in members
            ],
        )
    return None


def _struct_of(operation: Operation, members: tuple[Input, ...]) -> type[msgspec.Struct]:
    """The body of a command with plain inputs: an object with one member an input."""
    name = "".join(part.capitalize() for part in operation.name.replace(".", "_").split("_")) + "Body"
    fields: list[Any] = [
        (found.name, found.type) if found.is_required else (found.name, found.type, found.default)
        for found in members
    ]
    return msgspec.defstruct(name, fields, kw_only=True, module=operation.function.__module__)


def _value_reader(decode: _Decoder, fill: Callable[[list[Any], Any], Any]) -> BodyReader:
    async def read(scope: Any, proto: Any, values: list[Any]) -> list[Any]:
        fill(values, await decode(scope, proto))
        return values

    return read


def _upload_reader(position: int, limits: BodyLimits) -> BodyReader:
    async def read(scope: Any, proto: Any, values: list[Any]) -> list[Any]:
        values[position] = chunks_of(scope, proto, limits)
        return values

    return read


class _Decoder:
    """A body in any format that can carry the type, as a value of it."""

    __slots__ = ("_decode", "_known", "_limits", "_optional", "_type")

    def __init__(self, tp: Any, optional: Input | None, limits: BodyLimits) -> None:
        self._type = tp
        self._optional = optional if optional is not None and not optional.is_required else None
        self._limits = limits
        self._decode = {
            media_type: decode
            for codec in CODECS.values()
            if (decode := codec.decoder(tp))
            for media_type in codec.media_types
        }
        # The most frequent one, found without parsing its name; what holds files cannot come as JSON.
        self._known = {name: decode for name, decode in self._decode.items() if name == "application/json"}

    async def __call__(self, scope: Any, proto: Any) -> Any:
        content_type = scope.headers.get("content-type")
        decode = self._known.get(content_type)
        if decode is None and content_type is not None:
            media_type, _ = parse_media_type(content_type)
            if media_type == MULTIPART:
                return await self._multipart(scope, proto, content_type)
            decode = self._decode.get(media_type)
            if decode is None:
                raise self._unsupported(content_type)
        body = await read_bytes(scope, proto, self._limits)
        if not body and self._optional is not None:
            return self._optional.default
        if decode is None:
            decode = self._undeclared(body)
        return decode(body)

    def _undeclared(self, body: bytes) -> Callable[[bytes], Any]:
        """No Content-Type: nothing was sent, or its format is not known and is not guessed (RFC 9110, 8.3)."""
        if body or "application/json" not in self._decode:
            raise self._unsupported("nothing")
        return self._decode["application/json"]

    async def _multipart(self, scope: Any, proto: Any, content_type: str) -> Any:
        return await read_multipart(chunks_of(scope, proto, self._limits), content_type, self._type)

    def _unsupported(self, received: str) -> UnsupportedMediaType:
        offered = ", ".join(sorted({*self._decode, MULTIPART}))
        return UnsupportedMediaType(f"expected Content-Type to be one of {offered}; received {received[:100]}")


async def read_bytes(scope: Any, proto: Any, limits: BodyLimits) -> bytes:
    """The whole body, without its content coding.

    Raises: TooLarge, RequestTimeout, BadRequest, and what `compression.inflate` raises.
    """
    _check_framing(scope, limits)
    try:
        async with asyncio.timeout(limits.seconds_max):
            if scope.headers.get("content-length") is not None:
                body = await proto()
            else:
                body = b"".join([chunk async for chunk in _counted(proto, limits.bytes_max)])
    except TimeoutError:
        raise _too_slow(limits) from None
    except Error:
        raise
    except Exception as error:
        raise _broken() from error
    coding = scope.headers.get("content-encoding")
    return body if coding is None else compression.inflate(body, coding, limits.bytes_max)


async def chunks_of(scope: Any, proto: Any, limits: BodyLimits) -> AsyncIterator[bytes]:
    """The body as it comes, in constant memory; each chunk may take as long as a whole body else."""
    _check_framing(scope, limits)
    if scope.headers.get("content-encoding") is not None:
        raise UnsupportedMediaType("a streamed body takes no Content-Encoding")
    chunks = _counted(proto, limits.bytes_max)
    while True:
        try:
            async with asyncio.timeout(limits.seconds_max):
                chunk = await anext(chunks, None)
        except TimeoutError:
            raise _too_slow(limits) from None
        if chunk is None:
            return
        yield chunk


async def _counted(proto: Any, bytes_max: int) -> AsyncIterator[bytes]:
    count = 0
    try:
        async for chunk in proto:
            count += len(chunk)
            if count > bytes_max:
                raise _too_large(bytes_max)
            yield chunk
    except (TooLarge, asyncio.CancelledError, GeneratorExit):
        raise
    except Exception as error:
        raise _broken() from error


def _check_framing(scope: Any, limits: BodyLimits) -> None:
    headers = scope.headers
    length = headers.get("content-length")
    if length is not None and (len(length) > 18 or int(length) > limits.bytes_max):
        raise _too_large(limits.bytes_max)
    coding = headers.get("transfer-encoding")
    if coding is not None and (coding.strip().lower() != "chunked" or len(headers.get_all("transfer-encoding")) > 1):
        raise BadRequest("the only transfer coding taken is one 'chunked' (RFC 9112, 6.1)")


def _too_large(bytes_max: int) -> TooLarge:
    return TooLarge(f"the body is larger than {bytes_max} bytes")


def _broken() -> BadRequest:
    """The server's own parser refused a chunk, or the client went away in the middle of its body."""
    return BadRequest("the body's framing is broken, or its sender left (RFC 9112, 7.1 and 8)")


def _too_slow(limits: BodyLimits) -> RequestTimeout:
    return RequestTimeout(f"the body did not arrive within {limits.seconds_max:g} seconds")


