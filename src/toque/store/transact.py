"""The policies that admit a call to the store, and put it into one snapshot or one transaction of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from toque.contract.operation import Operation
from toque.store.database import AllRows

if TYPE_CHECKING:
    from toque.call.context import Context
    from toque.call.plan import Arguments, Handler
    from toque.call.waiting import Waiting
    from toque.store.database import Database
    from toque.store.store import Store

__all__ = ["room", "transact"]


def room(waiting: Waiting[Any]) -> Callable[[Handler], Handler]:
    """A call that will wait in *waiting*, refused at once where it would be refused there: before its body is read,
    and without the price of getting so far."""
    line = waiting.line

    def wrap(call: Handler) -> Handler:
        # Plain, not async: what it costs where nobody waits is one look.
        def with_room(context: Context, arguments: Arguments) -> Any:
            if line.count:
                waiting.check(context)
            return call(context, arguments)

        return with_room

    return wrap


def transact(
    store: Store, operation: Operation, *, is_repeatable: bool, is_guarded: bool = True
) -> Callable[[Handler], Handler]:
    """A call of *operation* within one snapshot (a query) or one transaction (a command) of *store*.

    Args:
        is_repeatable: whether nothing leaves the function before it ends, so that it may be run again.
        is_guarded: whether it keeps to the rows' rules; a seed does not.
    """
    act = store.command if operation.kind.writes else store.query
    isolation = operation.isolation

    def wrap(call: Handler) -> Handler:
        async def transacted(context: Context, arguments: Arguments) -> Any:
            def run(database: Database) -> Any:
                context.database = database if is_guarded else AllRows.of(database)
                return call(context, arguments)

            return await act(run, context, isolation, is_repeatable=is_repeatable)

        return transacted

    return wrap
