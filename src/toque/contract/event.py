"""An event: a fact that a command publishes in its own transaction."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from msgspec import Struct

__all__ = ["Event"]


class Event(Struct):
    """The base of an app's events: a struct whose fields say what happened.

    ```python
    class OrderPlaced(Event):
        __version__ = 2
        order: UUID
        dishes: int = 0
    ```

    Its type is the class's name unless `__type__` says otherwise; what was published under it stays under it. A field
    that is added with a default needs nothing more. Any other change is a next `__version__`, and `upcast` makes what
    was published before fit.
    """

    __type__: ClassVar[str] = ""
    __version__: ClassVar[int] = 1

    @classmethod
    def upcast(cls, version: int, data: dict[str, Any]) -> Mapping[str, Any]:
        """The fields of an event that was published as *version*, as the present version has them.

        Raises: anything, where that cannot be done: the event is kept apart then, for a release that can.
        """
        return data

    @classmethod
    def type_name(cls) -> str:
        """What it is called in the log and by others."""
        return cls.__dict__.get("__type__") or cls.__name__
