"""The policy that waits for inputs which are still on their way, once the caller may give them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from toque.call.context import Context
from toque.call.plan import Arguments, Handler

__all__ = ["Pending", "receive"]


@dataclass(frozen=True, slots=True)
class Pending:
    """Inputs of which a part has not arrived: a transport hands them in so, instead of reading a body for anybody."""

    read: Callable[[], Awaitable[Arguments]]


def receive(call: Handler) -> Handler:
    """*call*, given its inputs as soon as all of them are here."""

    async def received(context: Context, arguments: Arguments | Pending) -> Any:
        if isinstance(arguments, Pending):
            arguments = await arguments.read()
        return await call(context, arguments)

    return received
