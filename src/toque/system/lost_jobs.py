"""Jobs that nobody can find: they are enqueued by an app that does not include the module which declares them."""

from __future__ import annotations

from collections.abc import Iterator

from toque.contract.complaints import Complaint
from toque.contract.module import declared_job
from toque.messages.jobs.jobs import Jobs
from toque.system.declared import Declared
from toque.system.naming import named_directly

__all__ = ["lost_jobs"]


def lost_jobs(declared: Declared) -> Iterator[Complaint]:
    """Those that an operation names which may enqueue: its own code, and no code that this calls."""
    known = {job.function for job, _ in declared.jobs}
    for operation, signature in (*declared.operations, *declared.handlers, *declared.jobs, *declared.seeds):
        if Jobs not in declared.pantry.closure(tp for _, tp in signature.resources):
            continue
        for function in named_directly(operation.function):
            if function not in known and (job := declared_job(function)) is not None:
                module = job.rpartition(".")[0]
                yield Complaint(
                    operation.name,
                    f"it enqueues {job}, which is no job of this app: nobody would find it",
                    f"include its module: App(modules=[{module}]), or app.include({module})",
                    operation.where,
                )
