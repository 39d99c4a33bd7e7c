"""The policy that waits for inputs which are still on their way, once the caller may give them."""

from __future__ import annotations

from asyncio import CancelledError
from collections.abc import Awaitable, Callable
from typing import Any

from msgspec import Struct

from toque.call.context import Context
from toque.call.plan import Arguments, Handler, Plan
from toque.contract.errors import DeadlineExceeded, RequestTimeout

__all__ = ["Pending", "given", "receive"]


class Pending(Struct, frozen=True):
    """Inputs of which a part has not arrived: a transport hands them in so, and reads no body for anybody."""

    read: Callable[[], Awaitable[Arguments]]


def receive(call: Handler) -> Handler:
    """*call*, given its inputs as soon as all of them are here."""

    async def received(context: Context, arguments: Arguments | Pending) -> Any:
        if isinstance(arguments, Pending):
            context.is_receiving = True
            try:
                arguments = await arguments.read()
            except CancelledError:
                if isinstance(context.stopped, DeadlineExceeded):
                    # It was not the call that took so long: it had not begun.
                    context.stopped = RequestTimeout("the body did not arrive before the call's deadline")
                raise
            context.is_receiving = False
        return await call(context, arguments)

    return received


def given(plan: Plan, read: Callable[[], Arguments]) -> Any:
    """What a transport that has all inputs hands to *plan*: them, or `Pending` where a policy receives them.

    As over HTTP, whoever may not call is not told what is wrong with a body.
    """
    if not plan.receives:
        return read()

    async def later() -> Arguments:
        return read()

    return Pending(later)
