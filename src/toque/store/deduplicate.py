"""The policy that does a call once under its idempotency key, and answers it again with what it answered then.

Within the transaction of the command: the key, the change and the answer are committed together or not at all. An error
undoes all three, so the next try is decided anew, by the state of that moment.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import inspect

from toque.contract.conversion import keep_hook, kept_hook
from toque.contract.nodes import holds
from toque.contract.schema import is_pydantic

if TYPE_CHECKING:
    from toque.call.context import Context
    from toque.call.plan import Arguments, Handler
    from toque.contract.views import Shape
    from toque.store.replies import Replies

__all__ = ["deduplicate"]


def deduplicate(replies: Replies, output: Any, shape: Shape | None) -> Callable[[Handler], Handler]:
    """A call that is done once a key, in the scope of its operation, tenant and caller.

    Args:
        output: the declared type of the answer; *shape* narrows it before it is kept.
    """
    encode, decode = _form_of(output)

    def wrap(call: Handler) -> Handler:
        async def deduplicated(context: Context, arguments: Arguments) -> Any:
            if context.idempotency_key is None:
                return await call(context, arguments)
            database = context.database
            assert database is not None, "the transact policy stands around this one"
            id = _id_of(context)
            kept = await replies.claim(database, id, _digest(list(arguments)))
            context.is_replayed = kept is not None
            if kept is not None:
                return decode(kept)
            value = await call(context, arguments)
            value = None if shape is None else shape(value)
            await replies.keep(database, id, encode(value))
            return value

        return deduplicated

    return wrap


def _form_of(output: Any) -> tuple[Callable[[Any], bytes], Callable[[bytes], Any]]:
    """How answers are kept: one form for all formats, because whoever tries again may ask for another one.

    MessagePack has no integer beyond 64 bits, and of a time with a zone the moment alone. Where that counts, the answer
    is kept in JSON, unless that has no word for it, as for a float that is not finite.
    """
    pack, write = msgspec.msgpack.Encoder(enc_hook=keep_hook).encode, msgspec.json.Encoder(enc_hook=keep_hook).encode
    unpack: Callable[[bytes], Any] = msgspec.msgpack.Decoder(output, dec_hook=kept_hook).decode
    read: Callable[[bytes], Any] = msgspec.json.Decoder(output, dec_hook=kept_hook).decode
    has_times = holds(output, inspect.DateTimeType)

    def encode(value: Any) -> bytes:
        try:
            packed = pack(value)
        except OverflowError:
            return _IN_JSON + write(value)
        if not has_times:
            return packed
        try:
            read(written := write(value))
        except msgspec.ValidationError:
            return packed
        return _IN_JSON + written

    return encode, lambda kept: read(kept[1:]) if kept[:1] == _IN_JSON else unpack(kept)


_IN_JSON = b"\xc1"
"""Stands before what is in JSON: no MessagePack begins with it (the msgpack specification, "never used")."""


def _id_of(context: Context) -> bytes:
    """What a key means nothing outside of: another caller or tenant never meets it, and nobody can read it here."""
    return _digest([context.operation, context.tenant, context.caller.subject, context.idempotency_key])


def _told(value: Any) -> Any:
    """All that tells one pydantic model from another: what leaves of it has no secrets, and lacks what it excludes."""
    if is_pydantic(type(value)):
        return dict(value)
    return value.get_secret_value() if hasattr(value, "get_secret_value") else str(value)


_encode_in_order = msgspec.msgpack.Encoder(enc_hook=_told, order="deterministic").encode


def _digest(value: list[Any]) -> bytes:
    try:
        told = _encode_in_order(value)
    except (OverflowError, TypeError):
        # An integer beyond 64 bits, or a dict whose keys are no text: msgspec puts no others in order.
        plain = msgspec.to_builtins(value, str_keys=True, order="deterministic", enc_hook=_told)
        told = _IN_JSON + msgspec.json.encode(plain, order="deterministic")
    return sha256(told).digest()
