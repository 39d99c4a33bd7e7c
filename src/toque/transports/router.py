"""From a path to what answers there: a dict for literal paths, a tree of segments for templates."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from toque.contract.errors import BadRequest
from toque.contract.signature import path_names

__all__ = ["Endpoint", "Route", "Router"]

Endpoint = Callable[[Any, Any, tuple[str, ...]], Awaitable[None]]
"""Answers one request: takes RSGI's scope and protocol, and the values of the path's parameters."""

REST = "{*}"
"""The last segment of a template that takes everything below its path."""


@dataclass(slots=True)
class Route:
    """One path template, and what answers each of its methods."""

    template: str
    methods: dict[str, Endpoint] = field(default_factory=dict)
    otherwise: Endpoint | None = None
    """Answers every method that has no endpoint of its own: a mounted application decides for itself."""
    websocket: Endpoint | None = None
    """Serves the WebSockets that are opened here."""

    @property
    def allow(self) -> str:
        """The value of `Allow`: HEAD goes with GET, OPTIONS with everything (RFC 9110, 9.3)."""
        methods = set(self.methods) | {"OPTIONS"} | ({"HEAD"} if "GET" in self.methods else set())
        return ", ".join(sorted(methods))


@dataclass(slots=True)
class _Node:
    literals: dict[str, _Node] = field(default_factory=dict)
    parameter: _Node | None = None
    route: Route | None = None
    rest: Route | None = None


class Router:
    """Finds the route of a path. A literal segment wins over a parameter, a parameter over the rest."""

    def __init__(self) -> None:
        self._literal: dict[str, Route] = {}
        self._root = _Node()

    def route(self, template: str) -> Route:
        """The route of *template*, made at its first mention. `/orders/{id}` and `/orders/{key}` are one route."""
        if not path_names(template) and not template.endswith(REST):
            return self._literal.setdefault(template, Route(template))
        node = self._root
        for segment in template.strip("/").split("/"):
            if segment == REST:
                node.rest = node.rest or Route(template)
                return node.rest
            if path_names(segment):
                node.parameter = node.parameter or _Node()
                node = node.parameter
            else:
                node = node.literals.setdefault(segment, _Node())
        node.route = node.route or Route(template)
        return node.route

    def find(self, path: str) -> tuple[Route, tuple[str, ...]] | None:
        """The route of *path*, which the server has percent-decoded, and the values of its parameters.

        Returns: None where nothing answers.
        Raises: BadRequest when the path was not UTF-8: the server puts U+FFFD where it could not decode.
        """
        route = self._literal.get(path)
        if route is not None:
            return route, ()
        if "\ufffd" in path:
            raise BadRequest("the path's percent-encoding is not UTF-8 (RFC 3986, 2.5)")
        return _walk(self._root, path.split("/"), 1)


def _walk(node: _Node, segments: list[str], at: int) -> tuple[Route, tuple[str, ...]] | None:
    if at == len(segments):
        return (node.route, ()) if node.route else None
    segment = segments[at]
    literal = node.literals.get(segment)
    if literal is not None and (found := _walk(literal, segments, at + 1)):
        return found
    if node.parameter is not None and segment and (found := _walk(node.parameter, segments, at + 1)):
        return found[0], (segment, *found[1])
    return (node.rest, ("/".join(segments[at:]),)) if node.rest else None

