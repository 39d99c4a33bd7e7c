"""The policy that puts a call into one snapshot of the store, or into one transaction."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from toque.contract.operation import Kind, Operation
from toque.store.database import AllRows

if TYPE_CHECKING:
    from toque.call.context import Context
    from toque.call.plan import Arguments, Handler
    from toque.store.database import Database
    from toque.store.store import Store

__all__ = ["transact"]


def transact(
    store: Store, operation: Operation, *, is_repeatable: bool, is_guarded: bool = True
) -> Callable[[Handler], Handler]:
    """A call of *operation* within one snapshot (a query) or one transaction (a command) of *store*.

    Args:
        is_repeatable: whether nothing leaves the function before it ends, so that it may be run again.
        is_guarded: whether it keeps to the rows' rules; a seed does not.
    """
    act = store.command if operation.kind is Kind.COMMAND else store.query
    isolation = operation.isolation

    def wrap(call: Handler) -> Handler:
        async def transacted(context: Context, arguments: Arguments) -> Any:
            def run(database: Database) -> Any:
                context.database = database if is_guarded else AllRows.of(database)
                return call(context, arguments)

            return await act(run, context, isolation, is_repeatable=is_repeatable)

        return transacted

    return wrap
