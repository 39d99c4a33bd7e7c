"""The policy that ends a job in its own transaction: what it did is kept if, and only if, it is off the list."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from uuid import UUID

from toque.messages.jobs.inserting import FINISH
from toque.store.database import transaction_of

if TYPE_CHECKING:
    from toque.call.context import Context
    from toque.call.plan import Arguments, Handler
    from toque.messages.jobs.book import Book

__all__ = ["finish"]


def finish(book: Book, name: str) -> Callable[[Handler], Handler]:
    """A call of the job *name* whose commit takes it off the list, together with its result.

    It is a row and a fence: whoever was taken for dead, and finds another start of the job under way, commits nothing
    (messaging.md 2.6).
    """

    def wrap(call: Handler) -> Handler:
        async def finished(context: Context, arguments: Arguments) -> Any:
            value = await call(context, arguments)
            if context.stopped is not None:
                # It was told to stop and has gone on: its deadline, its cancellation, or the end of this process.
                raise context.stopped
            delivery, database = context.delivery, context.database
            assert database is not None, "the transact policy stands around this one"
            if delivery is not None:
                job = book.by_name[name]
                result = job.result(value) if job.keep_s else None
                row = (UUID(delivery.id), delivery.fence, result, job.keep_s)
                transaction_of(database).attached.append((FINISH, row))
            return value

        return finished

    return wrap
