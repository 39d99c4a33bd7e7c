"""Who may call an operation: a rule that can be evaluated, printed and listed in the manifest.

A rule is data. `role("cook")` says all there is to say about itself, so `toque explain` and the OpenAPI
document show the very rule that is enforced. Rules join with `&` and `|`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from msgspec import Struct

from toque.contract.principal import Principal, WebhookSender

__all__ = ["Access", "authenticated", "predicate", "public", "role", "scope", "webhook"]


class Access(Struct, frozen=True):
    """One access rule: what it asks for, in words, and the test itself.

    `reads` names the inputs that the test looks at; `needs_principal` is false only where anybody may call.
    """

    words: str
    test: Callable[[Principal, Mapping[str, Any]], bool]
    needs_principal: bool = True
    roles: frozenset[str] = frozenset()
    scopes: frozenset[str] = frozenset()
    reads: frozenset[str] = frozenset()
    webhooks: frozenset[str] = frozenset()
    """Whose signed messages are taken; a message is proven by its bytes, before they are decoded."""
    takes_tokens: bool = True
    """Whether a bearer token can satisfy it."""

    def __repr__(self) -> str:
        return f"<{self.words}>"

    def __and__(self, other: Access) -> Access:
        return self._joined(other, "and", lambda p, i: self.test(p, i) and other.test(p, i), any)

    def __or__(self, other: Access) -> Access:
        return self._joined(other, "or", lambda p, i: self.test(p, i) or other.test(p, i), all)

    def _joined(
        self,
        other: Access,
        word: str,
        test: Callable[[Principal, Mapping[str, Any]], bool],
        needs: Callable[[tuple[bool, bool]], bool],
    ) -> Access:
        return Access(
            words=f"({self.words} {word} {other.words})",
            test=test,
            needs_principal=needs((self.needs_principal, other.needs_principal)),
            roles=self.roles | other.roles,
            scopes=self.scopes | other.scopes,
            reads=self.reads | other.reads,
            webhooks=self.webhooks | other.webhooks,
            takes_tokens=self.takes_tokens or other.takes_tokens,
        )


public = Access("anybody", lambda _principal, _inputs: True, needs_principal=False)
"""Anybody may call, proven or not."""

authenticated = Access("any proven caller", lambda principal, _inputs: principal.is_authenticated)
"""Whoever proved who they are may call."""


def role(*names: str) -> Access:
    """Callers who hold at least one of the roles *names* may call."""
    wanted = _named("role", names)
    return Access(
        "role " + " or ".join(names),
        lambda principal, _inputs: not wanted.isdisjoint(principal.roles),
        roles=wanted,
    )


def scope(*names: str) -> Access:
    """Callers whose credential carries every one of the scopes *names* may call."""
    wanted = _named("scope", names)
    return Access("scope " + " and ".join(names), lambda principal, _inputs: wanted <= principal.scopes, scopes=wanted)


def webhook(*names: str) -> Access:
    """Whoever signs a message with a key of one of the webhooks *names* may call, by Standard Webhooks 1.0.

    The keys are in the setting `webhooks.keys`. Only HTTP carries a signature.
    """
    wanted = _named("webhook", names)
    return Access(
        "webhook " + " or ".join(names),
        lambda principal, _inputs: isinstance(principal, WebhookSender) and principal.webhook in wanted,
        webhooks=wanted,
        takes_tokens=False,
    )


def predicate(test: Callable[..., bool]) -> Access:
    """Callers for whom *test* is true may call.

    *test* is a plain function whose first parameter is the principal; each further parameter names an input
    of the operation: `predicate(lambda principal, table: table in principal.claims["tables"])`.
    """
    parameters = list(inspect.signature(test).parameters)
    if not parameters:
        raise TypeError("an access predicate takes the principal as its first parameter, got a function of none")
    if inspect.iscoroutinefunction(test):
        # What it returns would be true whatever it decides.
        raise TypeError("an access predicate is a plain `def`, got an `async def`; decide in the operation")
    inputs = parameters[1:]

    def holds(principal: Principal, values: Mapping[str, Any]) -> bool:
        return principal.is_authenticated and bool(test(principal, *(values[name] for name in inputs)))

    name = getattr(test, "__name__", "predicate")
    words = "a predicate" if name == "<lambda>" else name.replace("_", " ")
    return Access(words + (f" of {', '.join(inputs)}" if inputs else ""), holds, reads=frozenset(inputs))


def _named(kind: str, names: tuple[str, ...]) -> frozenset[str]:
    if not names:
        raise TypeError(f"{kind}() needs at least one name; for any proven caller use `authenticated`")
    return frozenset(names)
