"""What a process has open is its own: a child that it forks keeps nothing of it.

A session with a database and a lock of flock(2) last until the last process that has them open ends. A child of
`multiprocessing` has them, as it runs no new program (the default on Linux before Python 3.14). Were its parent killed,
the child would keep alive what the parent had claimed, and the transaction that it was in.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Protocol
from weakref import WeakSet

__all__ = ["keep_from_children"]


class _Open(Protocol):
    def fileno(self) -> int:
        """Its number. Raises: ValueError where it is closed."""
        ...


_open: WeakSet[_Open] = WeakSet()


def keep_from_children(thing: _Open) -> None:
    """Have no process that is forked from now on keep *thing* open."""
    _open.add(thing)


def _let_go() -> None:
    nothing = os.open(os.devnull, os.O_RDWR)
    for thing in list(_open):
        with suppress(ValueError, OSError):
            # The number stays taken: whoever closes the child's copy of *thing* must not close another file.
            os.dup2(nothing, thing.fileno(), inheritable=False)
    os.close(nothing)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go)
