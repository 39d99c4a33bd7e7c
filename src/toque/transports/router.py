"""From a path to what answers there: a dict for literal paths, a regular expression a first segment for templates."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import msgspec
from msgspec import Struct

from toque.contract.errors import BadRequest, UnknownOperation
from toque.contract.signature import path_names

__all__ = ["REST", "Endpoint", "Route", "Router", "root_path_of"]

Endpoint = Callable[[Any, Any, Any, tuple[str, ...]], Awaitable[None]]
"""Answers one request: takes RSGI's scope, the headers that were read from it, and its protocol, and the values of the
path's parameters. The headers are read once for all, because granian copies them for everybody who asks."""

REST = "{*}"
"""The last segment of a template that takes everything below its path."""


def root_path_of(scope: Any) -> str:
    """The path below which an ASGI server or app has mounted us; RSGI knows none."""
    return getattr(scope, "root_path", "")


class Route(Struct):
    """One path template, and what answers each of its methods."""

    template: str
    methods: dict[str, Endpoint] = msgspec.field(default_factory=dict)
    otherwise: Endpoint | None = None
    """Answers every method that has no endpoint of its own: a mounted application decides for itself."""
    websocket: Endpoint | None = None

    @property
    def allow(self) -> str:
        """The value of `Allow`: HEAD goes with GET, OPTIONS with everything (RFC 9110, 9.3)."""
        methods = set(self.methods) | {"OPTIONS"} | ({"HEAD"} if "GET" in self.methods else set())
        return ", ".join(sorted(methods))


Found = tuple[Route, tuple[str, ...]]
"""What answers at a path, and the values of its parameters."""

REMEMBERED_MAX = 16_384
"""Paths with parameters that are known by heart: as many as requests that are (`repeats.py`); some 4 MB."""


class Router:
    """Finds the route of a path. A literal segment wins over a parameter, a parameter over the rest."""

    def __init__(self) -> None:
        self.known: dict[str, Found] = {}
        """The routes without parameters, by their path, where most requests end; and what `remember` was told."""
        self._literal: dict[str, Found] = {}
        self._templates: dict[str, Route] = {}
        """The routes with parameters, by their template with every parameter written alike."""
        self._by_first: dict[str, _Alternatives] = {}
        """The templates that begin with a literal segment, by that segment; the others by `{}`."""

    def route(self, template: str) -> Route:
        """The route of *template*, made at its first mention. `/orders/{id}` and `/orders/{key}` are one route."""
        if not path_names(template):
            found = self._literal.setdefault(template, (Route(template), ()))
            self.known[template] = found
            return found[0]
        self._by_first.clear()
        return self._templates.setdefault("/".join(map(_kind, template.split("/"))), Route(template))

    def remember(self, path: str) -> None:
        """Know *path*, at which something answers, by heart: half a microsecond less each time."""
        if len(self.known) >= len(self._literal) + REMEMBERED_MAX:
            self.known = dict(self._literal)
        self.known[path] = self.find(path)

    def find(self, path: str) -> Found:
        """The route of *path*, which the server has percent-decoded, and the values of its parameters.

        Raises: UnknownOperation where nothing answers; BadRequest when the path was not UTF-8: the server puts
            U+FFFD where it could not decode.
        """
        return self.known.get(path) or self.match(path)

    def match(self, path: str) -> Found:
        """Like `find`, among the routes with parameters alone."""
        if not self._by_first:
            self._compile()
        alternatives = self._by_first.get(path[1 : path.find("/", 1)])
        found = None if alternatives is None else alternatives.find(path)
        if found is None:
            found = self._by_first["{}"].find(path)
        if found is None:
            raise UnknownOperation(f"nothing answers at {path[:200]}")
        if "\ufffd" in path:
            raise BadRequest("the path's percent-encoding is not UTF-8 (RFC 3986, 2.5)")
        return found

    def _compile(self) -> None:
        groups: dict[str, list[str]] = {"{}": []}
        for shape in self._templates:
            first = shape.split("/")[1]
            groups.setdefault("{}" if first in ("{}", REST) else first, []).append(shape)
        for first, shapes in groups.items():
            self._by_first[first] = _Alternatives((shape, self._templates[shape]) for shape in shapes)


class _Alternatives:
    """Several templates as one regular expression; the group that matched last says which of them it was."""

    def __init__(self, templates: Iterable[tuple[str, Route]]) -> None:
        self._routes: dict[int, tuple[Route, slice]] = {}
        patterns: list[str] = []
        groups = 0
        for shape, route in sorted(templates, key=lambda pair: [_RANK.get(part, 0) for part in pair[0].split("/")]):
            values = sum(part in _RANK for part in shape.split("/"))
            # The empty group at its end is the last to match, so its number names the template.
            patterns.append("/".join(_PATTERN.get(part, re.escape(part)) for part in shape.split("/")) + "()")
            self._routes[groups + values + 1] = (route, slice(groups, groups + values))
            groups += values + 1
        self._match = re.compile("|".join(patterns) or r"(?!)", re.DOTALL).fullmatch

    def find(self, path: str) -> Found | None:
        match = self._match(path)
        if match is None:
            return None
        route, values = self._routes[match.lastindex or 0]
        return route, match.groups()[values]


_RANK = {"{}": 1, REST: 2}
_PATTERN = {"{}": "([^/]+)", REST: "(.*)"}


def _kind(segment: str) -> str:
    return "{}" if path_names(segment) and segment != REST else segment
