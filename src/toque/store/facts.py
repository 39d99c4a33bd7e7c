"""What a row rule may ask about the caller: facts, which are binds that only the store fills.

A fact has no value of its own. The executor reads it from the principal of the call that it works for, so one compiled
statement serves every caller and no statement can bring a fact along.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, NoReturn

from sqlalchemy import Boolean, String
from sqlalchemy.sql.elements import BindParameter
from sqlalchemy.types import TypeEngine

from toque.contract.principal import Principal

__all__ = ["About", "Fact", "Known", "Me", "filled", "me", "value_of"]

About = Literal["subject", "tenant", "authenticated", "role", "scope", "claim"]


class Fact(BindParameter[Any]):
    """One fact about the caller, as an expression of SQL."""

    inherit_cache = True

    def __init__(self, about: About, names: tuple[str, ...], type_: TypeEngine[Any]) -> None:
        # Unique, so that no parameter of a statement ever has its name.
        super().__init__(f"me_{about}", None, type_=type_, unique=True, callable_=_refuse)
        self.about: About = about
        self.names = names
        """The roles or scopes of which one is enough, or the claim."""
        self.of: Callable[[Principal], Any] = _READ[about](names)
        """Its value for a principal; None, which equals nothing in SQL, where nothing is known."""
        self.known = Known(self, type_)

    @property
    def words(self) -> str:
        """It in words, for `toque explain`."""
        names = " or ".join(map(repr, self.names))
        return _WORDS[self.about].format(names=names)


class Known(BindParameter[Any]):
    """A fact in a rule that a guarded compiler wrote: the one place where the store fills it in.

    Its value is the fact itself, so that SQLAlchemy's own execution hands it on, and a driver that nobody filled it in
    for (`filled`) refuses it.
    """

    inherit_cache = True

    def __init__(self, fact: Fact, type_: TypeEngine[Any]) -> None:
        super().__init__(f"me_{fact.about}", fact, type_=type_, unique=True)
        self.fact = fact


def filled(arguments: Iterable[Any], principal: Principal) -> list[Any]:
    """The driver's *arguments* with what is known about *principal* in the place of every fact."""
    return [value.of(principal) if isinstance(value, Fact) else value for value in arguments]


def value_of(about: About, names: tuple[str, ...], principal: Principal) -> Any:
    """What the fact of these words is for *principal*."""
    return _READ[about](names)(principal)


# Read for every statement of every call, so what can be known before is.
_READ: Mapping[About, Callable[[tuple[str, ...]], Callable[[Principal], Any]]] = {
    "subject": lambda _: lambda principal: principal.subject or None,
    "tenant": lambda _: lambda principal: principal.tenant or None,
    "authenticated": lambda _: lambda principal: principal.is_authenticated,
    "role": lambda names: lambda principal: not principal.roles.isdisjoint(names),
    "scope": lambda names: lambda principal: not principal.scopes.isdisjoint(names),
    "claim": lambda names: lambda principal: principal.claims.get(names[0]),
}

_WORDS: Mapping[About, str] = {
    "subject": "the caller",
    "tenant": "the caller's tenant",
    "authenticated": "the caller is known",
    "role": "the caller has role {names}",
    "scope": "the caller's token has scope {names}",
    "claim": "the caller's claim {names}",
}


class Me:
    """The caller, as a row rule sees it. Every attribute is an expression to build conditions from."""

    @property
    def subject(self) -> Fact:
        """Who is calling; equals no row's owner where nobody was proven."""
        return _fact("subject", (), String())

    @property
    def tenant(self) -> Fact:
        """The caller's tenant; equals no row's tenant where the caller has none."""
        return _fact("tenant", (), String())

    @property
    def is_authenticated(self) -> Fact:
        """Whether somebody was proven to be calling."""
        return _fact("authenticated", (), Boolean())

    def has_role(self, *roles: str) -> Fact:
        """Whether the caller has one of *roles*."""
        return _fact("role", roles, Boolean())

    def has_scope(self, *scopes: str) -> Fact:
        """Whether the caller's token has one of *scopes*."""
        return _fact("scope", scopes, Boolean())

    def claim(self, name: str, type_: TypeEngine[Any] | None = None) -> Fact:
        """The claim *name* of the caller's token, as a value of the SQL type *type_* (text unless said)."""
        return Fact("claim", (name,), type_ or String())


me = Me()


# One object for one fact: a statement that asks twice then has one argument for both.
_KEPT: dict[tuple[About, tuple[str, ...]], Fact] = {}


def _fact(about: About, names: tuple[str, ...], type_: TypeEngine[Any]) -> Fact:
    return _KEPT.setdefault((about, names), Fact(about, names, type_))


def _refuse() -> NoReturn:
    raise PermissionError("what is known about the caller is for the rules of a model; a statement cannot ask for it.")
