"""What operations ask for by type: made late, kept for the app or for one call, ended in reverse.

The book of recipes is compiled when the app starts, so a call only runs what its operation needs.
"""

from __future__ import annotations

import asyncio
import inspect
import typing
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from difflib import get_close_matches
from functools import partial
from typing import Any

from msgspec import Struct

from toque.call.context import Context
from toque.contract.complaints import Complaint
from toque.contract.module import Lifetime, Recipe
from toque.contract.principal import Principal
from toque.contract.signature import SignatureError, read_annotations

__all__ = ["Pantry", "Provider"]

Provider = Callable[[Context], Any]
"""Takes a resource that is at hand from the context, without waiting."""

_GENERATORS = (AsyncIterator, AsyncGenerator, Iterator, Generator)


class _Entry(Struct, frozen=True):
    """A recipe, read: what it makes, and the types that it needs for that."""

    makes: type
    recipe: Recipe
    needs: tuple[tuple[str, type], ...]

    @property
    def lifetime(self) -> Lifetime:
        return self.recipe.lifetime


class Pantry:
    """Every resource of an app: those at hand in each context, and those made by recipes."""

    def __init__(self, at_hand: Mapping[type, Provider], given: Sequence[object] = ()) -> None:
        """*at_hand* come with every context; *given* are there from the start, each for its own type."""
        self.given: dict[type, object] = {type(one): one for one in given}
        self.at_hand: dict[type, Provider] = {
            Context: lambda context: context,
            Principal: lambda context: context.caller,
            **at_hand,
            **{tp: partial(_take, one) for tp, one in self.given.items()},
        }
        self._entries: dict[type, _Entry] = {}
        self._made: dict[type, Any] = dict(self.given)
        self._ends: list[AsyncExitStack] = []
        self._lock = asyncio.Lock()

    @property
    def types(self) -> frozenset[type]:
        return frozenset(self.at_hand) | frozenset(self._entries)

    def add(self, recipe: Recipe) -> type:
        """Learn *recipe*; returns the type that it makes.

        Raises: SignatureError where its annotations do not say what it makes or needs.
        """
        name = getattr(recipe.factory, "__name__", repr(recipe.factory))
        hints = read_annotations(recipe.factory, recipe.namespace)
        makes = hints.pop("return", None)
        if typing.get_origin(makes) in _GENERATORS:
            makes = typing.get_args(makes)[0]
        if not isinstance(makes, type) or makes is type(None):
            raise SignatureError(
                f"resource {name!r} must say which class it makes, got {makes!r}",
                "annotate what it returns, or AsyncIterator[...] of what it yields",
            )
        if makes in self._entries or makes in self.at_hand:
            raise SignatureError(f"resource {makes.__name__} is offered twice", "remove one recipe")
        self._entries[makes] = _Entry(makes, recipe, tuple(hints.items()))
        return makes

    def check(self) -> Iterator[Complaint]:
        """What is wrong with the recipes: unknown needs, circles, and app resources that need a call's."""
        for entry in self._entries.values():
            yield from self._problems_of(entry)

    def closure(self, types: typing.Iterable[type]) -> frozenset[type]:
        """*types*, and everything that making them needs."""
        found: set[type] = set()
        waiting = list(types)
        while waiting:
            tp = waiting.pop()
            if tp not in found:
                found.add(tp)
                entry = self._entries.get(tp)
                waiting.extend(need for _, need in (entry.needs if entry else ()))
        return frozenset(found)

    def factory(self, tp: type) -> Callable[..., Any] | None:
        """The function that makes *tp*, or None where it is at hand."""
        entry = self._entries.get(tp)
        return entry.recipe.factory if entry else None

    def provider(self, tp: type) -> Provider | None:
        """How *tp* is had without waiting, or None where a recipe makes it."""
        return self.at_hand.get(tp)

    async def make(self, tp: type, context: Context, ends: AsyncExitStack, made: dict[type, Any]) -> Any:
        """The resource of type *tp* for one call; what ends with the call is put on *ends*."""
        if at_hand := self.at_hand.get(tp):
            return at_hand(context)
        entry = self._entries[tp]
        if entry.lifetime == "app":
            return await self._make_for_app(entry)
        if tp not in made:
            needs = {name: await self.make(need, context, ends, made) for name, need in entry.needs}
            made[tp] = await _run(entry.recipe.factory, needs, ends)
        return made[tp]

    async def _make_for_app(self, entry: _Entry) -> Any:
        if entry.makes in self._made:
            return self._made[entry.makes]
        async with self._lock:
            return await self._make_once(entry.makes)

    async def _make_once(self, tp: type) -> Any:
        """Make an app resource and what it needs first; the caller holds the lock."""
        if tp not in self._made:
            entry = self._entries[tp]
            needs = {name: await self._make_once(need) for name, need in entry.needs}
            end = AsyncExitStack()
            self._made[tp] = await _run(entry.recipe.factory, needs, end)
            self._ends.append(end)
        return self._made[tp]

    async def close(self) -> None:
        """End the app's resources, the last made first.

        Raises: ExceptionGroup of the ends that failed; each resource ends by itself, whatever befell another.
        """
        self._made = dict(self.given)
        failures = []
        while self._ends:
            try:
                await self._ends.pop().aclose()
            except Exception as error:
                failures.append(error)
        if failures:
            raise ExceptionGroup("resources of the app could not be ended", failures)

    def _problems_of(self, entry: _Entry) -> Iterator[Complaint]:
        subject = f"resource {entry.makes.__name__}"
        for name, need in entry.needs:
            needed = getattr(need, "__name__", str(need))
            if need not in self.types:
                near = get_close_matches(needed, sorted(tp.__name__ for tp in self.types), 1)
                hint = f"did you mean {near[0]}?" if near else "offer it with @app.resource()"
                yield Complaint(subject, f"it needs {name}: {needed}, which nothing makes", hint)
            elif entry.lifetime == "app" and not self._lives_as_long_as_the_app(need):
                yield Complaint(
                    subject,
                    f"it lives as long as the app but needs {needed}, which lives for one call",
                    'let it live for a call too: @app.resource(lifetime="call")',
                )
        if entry.makes in self.closure(need for _, need in entry.needs):
            yield Complaint(subject, "it needs itself, by way of what it needs", "let one of them do without the other")

    def _lives_as_long_as_the_app(self, tp: type) -> bool:
        return tp in self.given or (tp in self._entries and self._entries[tp].lifetime == "app")


def _take(one: object, _context: Context) -> object:
    return one


async def _run(factory: Callable[..., Any], needs: dict[str, Any], ends: AsyncExitStack) -> Any:
    """Call *factory*, whatever kind of function it is, and put its end on *ends*."""
    if inspect.isasyncgenfunction(factory):
        return await ends.enter_async_context(asynccontextmanager(factory)(**needs))
    if inspect.isgeneratorfunction(factory):
        return ends.enter_context(contextmanager(factory)(**needs))
    made = factory(**needs)
    return await made if inspect.isawaitable(made) else made
