"""The policy that waits for inputs which are still on their way, once the caller may give them."""

from __future__ import annotations

from asyncio import CancelledError
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from msgspec import Struct

from toque.call.context import Context
from toque.call.plan import Arguments, Handler, Plan
from toque.contract.errors import DeadlineExceeded, RequestTimeout

__all__ = ["Pending", "Sealed", "arrived", "given", "receive"]

T = TypeVar("T")


class Sealed(Struct, frozen=True):
    """A message as it came, for who proves its sender by its bytes."""

    header: Callable[[str], str | None]
    """Looks one up by its name in lower case."""
    body: bytes


class Pending(Struct, frozen=True):
    """Inputs of which a part has not arrived: a transport hands them in so, and reads no body for anybody."""

    read: Callable[[], Awaitable[Arguments]]
    sealed: Callable[[], Awaitable[Sealed]] | None = None
    """Gives the message itself, before anything of it is decoded; None where there is none."""


def receive(call: Handler) -> Handler:
    """*call*, given its inputs as soon as all of them are here."""

    async def received(context: Context, arguments: Arguments | Pending) -> Any:
        if isinstance(arguments, Pending):
            arguments = await arrived(context, arguments.read())
        return await call(context, arguments)

    return received


async def arrived(context: Context, arriving: Awaitable[T]) -> T:
    """What is *arriving* from the caller, once it is here."""
    context.is_receiving = True
    try:
        value = await arriving
    except CancelledError:
        if isinstance(context.stopped, DeadlineExceeded):
            # It was not the call that took so long: it had not begun.
            context.stopped = RequestTimeout("the body did not arrive before the call's deadline")
        raise
    context.is_receiving = False
    return value


def given(plan: Plan, read: Callable[[], Arguments]) -> Any:
    """What a transport that has all inputs hands to *plan*: them, or `Pending` where a policy receives them.

    As over HTTP, whoever may not call is not told what is wrong with a body.
    """
    if not plan.receives:
        return read()

    async def later() -> Arguments:
        return read()

    return Pending(later)
