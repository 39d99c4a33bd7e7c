"""What handlers and jobs do, written down as they do it: the functions of an app, watched in the process of a node."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import wraps
from inspect import iscoroutinefunction, signature
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from toque.call.context import CURRENT
from toque.testing.faults import everywhere
from toque.testing.faults.history import What

if TYPE_CHECKING:
    from toque.app import App
    from toque.contract.operation import Operation

__all__ = ["watch"]

Identify = Callable[[Mapping[str, Any]], tuple[str, str]]
Write = Callable[[What, str, str, str], None]
"""Writes down what happened to whose run: of which consumer, for which call, under which key."""


def watch(app: App, identify: Identify, write: Write) -> None:
    """Have every run of a handler or job of *app* written down, from its function's first line to its last."""
    for module in app.modules:
        for operations in (module.handlers, module.jobs):
            operations[:] = [_watched(operation, identify, write) for operation in operations]


def _watched(operation: Operation, identify: Identify, write: Write) -> Operation:
    function: Callable[..., Any] = operation.function
    bind = signature(function).bind

    @contextmanager
    def run(args: Any, options: Any) -> Iterator[None]:
        context = CURRENT.get()
        delivery = None if context is None else context.delivery
        consumer = operation.name if delivery is None else delivery.consumer
        whose = (consumer, *identify(bind(*args, **options).arguments))
        write("began", *whose)
        try:
            yield
        except BaseException:
            write("failed", *whose)
            raise
        write("ended", *whose)

    @wraps(function)
    async def waits(*args: Any, **options: Any) -> Any:
        with run(args, options):
            return await function(*args, **options)

    @wraps(function)
    def works(*args: Any, **options: Any) -> Any:
        with run(args, options):
            return function(*args, **options)

    watched = waits if iscoroutinefunction(function) else works
    # Whoever enqueues a job names its function.
    everywhere.replace(function, watched)
    return replace(operation, function=watched)
