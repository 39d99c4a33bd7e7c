"""The code that answers, told apart by what it is: two processes share answers only if both would find out the same.

A version number would have to be raised by hand, and is forgotten in between. What is told here is the text of all
files of the app, the versions of all that is installed, and the constants that its functions name, which may come from
the environment.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from enum import Enum
from hashlib import blake2b
from importlib.metadata import distributions
from operator import itemgetter
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

from toque.cache.purity import Impure, module_of, named_by
from toque.contract.code import TooMuch, is_of_library, reached

__all__ = ["Untold", "release_of"]

LOOKED_AT_MAX = 20_000
"""Things that the code of all operations names: ten times what one may (`purity.py`)."""

FILES_MAX = 10_000
"""Files of an app, a hundred times what one has: somebody has put his whole disk beside it."""

_CONSTANTS = (bool, int, float, complex, str, bytes, Enum)


class Untold(Exception):
    """Why the code cannot be told apart from another release's."""


def release_of(functions: Iterable[Any]) -> str:
    """The name of the code behind *functions*, the same in every process that runs it. Raises: Untold."""
    constants, modules = _named(functions)
    installed = {f"{each.metadata['Name']}=={each.version}" for each in distributions()}
    digest = blake2b(digest_size=16)
    for part in [sys.version, *sorted(installed), *sorted(constants)]:
        digest.update(part.encode(errors="surrogatepass") + b"\0")
    for top in sorted({name.partition(".")[0] for name in modules}):
        for name, path in _files(sys.modules.get(top), top):
            try:
                digest.update(name.encode() + b"\0" + blake2b(path.read_bytes()).digest())
            except OSError as error:
                raise Untold(f"{path} cannot be read: {error}") from error
    return digest.hexdigest()


def _named(functions: Iterable[Any]) -> tuple[set[str], set[str]]:
    """The constants that *functions* name, to whatever they name in turn, and the modules of the app among that."""
    constants: set[str] = set()
    modules: set[str] = set()
    named = [(function.__qualname__, function) for function in functions]
    try:
        for name, value in reached(named, _within, LOOKED_AT_MAX, value_of=itemgetter(1)):
            if isinstance(value, _CONSTANTS):
                constants.add(f"{name}={value!r}")
            elif isinstance(value, (FunctionType, type)) and not is_of_library(value):
                modules.add(module_of(value))
    except TooMuch as why:
        raise Untold(str(why)) from None
    return constants, modules


def _within(each: tuple[str, Any]) -> Iterator[tuple[str, Any]]:
    # What is impure is not kept, or its author vouches for it.
    with suppress(Impure):
        yield from named_by(*each)


def _files(module: ModuleType | None, top: str) -> Iterator[tuple[str, Path]]:
    """The source files of *module*, with all that stands below it, in the same order everywhere."""
    roots = [Path(path) for path in getattr(module, "__path__", ())]
    single = getattr(module, "__file__", None)
    if not roots and single is None:
        raise Untold(f"the module {top} has no file")
    found = [(path.relative_to(root).as_posix(), path) for root in roots for path in root.rglob("*.py")]
    found += [] if roots or single is None else [(top, Path(single))]
    if not found or len(found) > FILES_MAX:
        raise Untold(f"the module {top} has {len(found)} source files")
    return iter(sorted(found))
