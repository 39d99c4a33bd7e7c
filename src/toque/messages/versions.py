"""An event as it is kept, read as the present version of its class has it."""

from __future__ import annotations

from typing import TypeVar

import msgspec

from toque.contract.conversion import convert, dec_hook
from toque.contract.event import Event

__all__ = ["read"]

E = TypeVar("E", bound=Event)


def read(event: type[E], version: int, data: bytes | str) -> E:
    """*data*, which is of *version*, as an *event*. Raises: anything, where it cannot be read."""
    if version == event.__version__:
        return msgspec.json.decode(data, type=event, dec_hook=dec_hook)
    if version > event.__version__:
        known = event.__version__
        raise ValueError(f"{event.type_name()} {version} is newer than what this release knows, {known}")
    value: E = convert(event.upcast(version, msgspec.json.decode(data)), event)
    return value
