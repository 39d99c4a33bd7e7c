"""Who is calling, and whether they may: the two policies, and the rules that they ask."""

from __future__ import annotations

from collections.abc import Mapping
from time import monotonic
from typing import Any

import pytest

from toque.call.access import authenticate, authorise
from toque.call.context import Context
from toque.contract.access import Access, authenticated, predicate, public, role, scope
from toque.contract.errors import Error, Forbidden, Unauthenticated
from toque.contract.principal import ANONYMOUS, Principal

ANA = Principal(subject="ana", roles=frozenset({"waiter"}), scopes=frozenset({"orders:read"}))
TOKENS = {"anas-token": ANA}


def verify(token: str) -> Principal:
    try:
        return TOKENS[token]
    except KeyError:
        raise Unauthenticated("this token does not hold") from None


def context(credential: str | None = None, principal: Principal | None = None) -> Context:
    made = Context("menu.list", monotonic() + 10, credential=credential)
    made.principal = principal
    return made


async def whoever(context: Context, _arguments: Any) -> Principal:
    return context.caller


# Who is calling.


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
async def test_a_bearer_is_who_their_token_says(scheme: str) -> None:
    assert await authenticate(whoever, verify)(context(f"{scheme} anas-token"), ()) == ANA


async def test_whoever_shows_nothing_is_nobody() -> None:
    assert await authenticate(whoever, verify)(context(), ()) is ANONYMOUS


@pytest.mark.parametrize(
    "credential",
    ["", "Bearer", "Bearer ", "Bearer another", "Basic YW5hOnB3", "anas-token", "Beareranas-token"],
)
async def test_a_credential_that_does_not_hold_is_refused_even_where_anybody_may_call(
    credential: str,
) -> None:
    with pytest.raises(Unauthenticated):
        await authenticate(whoever, verify)(context(credential), ())


async def test_a_caller_in_this_process_is_believed() -> None:
    assert await authenticate(whoever, verify)(context("Bearer another", principal=ANA), ()) == ANA


# Whether they may.


async def test_nobody_is_asked_for_a_token_and_somebody_is_told_what_they_lack() -> None:
    call = authorise(whoever, role("cook"), ())

    with pytest.raises(Unauthenticated, match="role cook; show a bearer token"):
        await call(context(), ())
    with pytest.raises(Forbidden, match="for role cook"):
        await call(context(principal=ANA), ())


@pytest.mark.parametrize(
    ("access", "may"),
    [
        (public, True),
        (authenticated, True),
        (role("waiter"), True),
        (role("cook", "waiter"), True),
        (role("cook"), False),
        (scope("orders:read"), True),
        (scope("orders:read", "orders:write"), False),
        (role("waiter") & scope("orders:read"), True),
        (role("waiter") & scope("orders:write"), False),
        (role("cook") | scope("orders:read"), True),
        (role("cook") | scope("orders:write"), False),
        (role("cook") | public, True),
        (role("cook") & public, False),
        (predicate(lambda principal: principal.subject == "ana"), True),
        (predicate(lambda principal: principal.subject == "bo"), False),
    ],
    ids=lambda value: value.words if isinstance(value, Access) else str(value),
)
def test_a_rule_says_who_may(access: Access, may: bool) -> None:
    assert access.test(ANA, {}) is may


@pytest.mark.parametrize(
    ("access", "needs"),
    [(public, False), (authenticated, True), (role("a") | public, False), (role("a") & public, True)],
    ids=lambda value: value.words if isinstance(value, Access) else str(value),
)
def test_a_rule_says_whether_anybody_must_be_proven(access: Access, needs: bool) -> None:
    assert access.needs_principal is needs
    assert access.test(ANONYMOUS, {}) is not needs


async def test_a_rule_sees_the_inputs_that_it_names_and_no_others() -> None:
    seen: list[Mapping[str, Any]] = []

    def owns(principal: Principal, table: int) -> bool:
        seen.append({"table": table})
        return table == 4

    call = authorise(whoever, predicate(owns), ("id", "table"))

    assert await call(context(principal=ANA), (1, 4)) == ANA
    with pytest.raises(Forbidden, match="owns of table"):
        await call(context(principal=ANA), (1, 5))
    assert seen == [{"table": 4}, {"table": 5}]


async def test_a_predicate_is_not_asked_about_nobody() -> None:
    def explode(principal: Principal) -> bool:
        raise AssertionError

    with pytest.raises(Unauthenticated):
        await authorise(whoever, predicate(explode), ())(context(), ())


async def test_a_rule_that_fails_lets_nobody_in() -> None:
    def broken(principal: Principal) -> bool:
        return bool(principal.claims["absent"])

    reached = []

    async def reach(_context: Context, _arguments: Any) -> None:
        reached.append(True)

    with pytest.raises(KeyError):
        await authorise(reach, predicate(broken), ())(context(principal=ANA), ())
    assert not reached


@pytest.mark.parametrize("make", [role, scope])
def test_a_rule_without_a_name_is_a_mistake(make: Any) -> None:
    with pytest.raises(TypeError, match="at least one name"):
        make()


def test_a_predicate_takes_the_principal() -> None:
    with pytest.raises(TypeError, match="as its first parameter"):
        predicate(lambda: True)


@pytest.mark.parametrize(
    ("access", "words"),
    [
        (role("waiter", "cook"), "role waiter or cook"),
        (scope("a", "b"), "scope a and b"),
        (role("a") & (scope("b") | authenticated), "(role a and (scope b or any proven caller))"),
        (predicate(lambda principal, table: True), "a predicate of table"),
    ],
    ids=str,
)
def test_a_rule_prints_what_is_enforced(access: Access, words: str) -> None:
    assert access.words == words


def test_refusals_are_errors_that_every_transport_knows() -> None:
    assert issubclass(Unauthenticated, Error)
    assert issubclass(Forbidden, Error)
