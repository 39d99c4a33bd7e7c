"""The policy that ends a job in its own transaction: what it did is kept if, and only if, it is off the list."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from uuid import UUID

from toque.messages.jobs.inserting import FINISH
from toque.messages.jobs.recording import RECORD
from toque.store.database import transaction_of

if TYPE_CHECKING:
    from toque.call.context import Context
    from toque.call.plan import Arguments, Handler
    from toque.messages.jobs.book import Compiled

__all__ = ["finish"]


def finish(compiled: Callable[[], Compiled]) -> Callable[[Handler], Handler]:
    """A call of a job whose commit takes it off the list, together with its result; or of a step, with its record.

    It is a row and a fence: whoever was taken for dead, and finds another start of the job under way, commits nothing.
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
                job, attached = compiled(), transaction_of(database).attached
                id, fence = UUID(delivery.id), delivery.fence
                if delivery.step:
                    attached.append((RECORD, (id, fence, delivery.step, delivery.step_name, job.result(value))))
                else:
                    attached.append((FINISH, (id, fence, job.result(value) if job.keep_s else None, job.keep_s)))
            return value

        return finished

    return wrap
