"""The policies that ask who is calling, and whether they may."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from toque.call.context import Context
from toque.call.plan import Arguments, Handler, Stands
from toque.call.receive import Pending, Sealed, arrived
from toque.contract.access import Access
from toque.contract.errors import Forbidden, Unauthenticated
from toque.contract.principal import ANONYMOUS, Principal

__all__ = ["Prove", "Recall", "authenticate", "authenticate_message", "authorise", "recalling", "standing"]

Recall = Callable[[str], Principal | None]
"""Whom a credential has proven before; None where it has to be looked at, or does not hold any more."""

Prove = Callable[[], Principal]
"""Proves one credential anew, at the price of a look at the clock. Raises: Unauthenticated."""

SCHEME = "bearer "
"""RFC 6750, 2.1; the scheme's name is read without regard to case (RFC 9110, 11.1)."""


def authenticate(call: Handler, verify: Callable[[str], Principal]) -> Handler:
    """*call* with `context.principal` proven from the credential, or ANONYMOUS where none was shown.

    A credential that does not hold is refused even where the operation is public: the caller believes in it.
    """

    async def authenticated(context: Context, arguments: Arguments) -> Any:
        if context.principal is None:
            context.principal = _proven(context.credential, verify)
        return await call(context, arguments)

    return authenticated


def authenticate_message(
    call: Handler, prove: Callable[[Context, Sealed], Principal | None], verify: Callable[[str], Principal]
) -> Handler:
    """*call* with `context.principal` proven from the message's own bytes or, where it is not signed, as any other.

    Args:
        prove: raises Unauthenticated for a signature that does not hold; None for a message without one.
    """

    async def authenticated(context: Context, arguments: Any) -> Any:
        sealed = _sealed(arguments)
        if context.principal is None and sealed is not None:
            context.principal = prove(context, await arrived(context, sealed()))
        if context.principal is None:
            context.principal = _proven(context.credential, verify)
        return await call(context, arguments)

    return authenticated


def authorise(call: Handler, access: Access, names: tuple[str, ...]) -> Handler:
    """*call* for those whom *access* admits; *names* are the inputs in order, for a rule that reads them."""

    async def authorised(context: Context, arguments: Arguments) -> Any:
        principal = context.caller
        inputs = dict(zip(names, arguments, strict=True)) if access.reads else {}
        if not access.test(principal, inputs):
            raise _refusal(access, principal)
        return await call(context, arguments)

    return authorised


def standing(
    access: Access, names: tuple[str, ...], proving: Callable[[str], Prove]
) -> Callable[[Context, Arguments], Stands]:
    """How the caller of a call that both policies let in is looked at again and again, as long as he follows it.

    Args:
        proving: takes a token, and returns what proves it anew.
    """

    def stand(context: Context, arguments: Arguments) -> Stands:
        principal = context.caller
        prove = None if context.credential is None else proving(context.credential[len(SCHEME) :].strip())
        inputs = dict(zip(names, arguments, strict=True)) if access.reads else {}

        def look() -> None:
            if prove is not None and (proven := prove()) is not principal and proven != principal:
                raise Unauthenticated("the token proves somebody else than before")
            if access.needs_principal and not access.test(principal, inputs):
                raise _refusal(access, principal)

        return look

    return stand


def _refusal(access: Access, principal: Principal) -> Exception:
    if principal.is_authenticated:
        return Forbidden(f"this operation is for {access.words}")
    how = "sign the message" if access.webhooks else "show a bearer token"
    return Unauthenticated(f"this operation is for {access.words}; {how}")


def recalling(recall: Recall) -> Recall:
    """*recall* for what `Authorization` says; of another scheme nobody is known."""

    def recalled(credential: str) -> Principal | None:
        is_bearer = credential[: len(SCHEME)].lower() == SCHEME
        return recall(credential[len(SCHEME) :].strip()) if is_bearer else None

    return recalled


def _sealed(arguments: Any) -> Callable[[], Awaitable[Sealed]] | None:
    return arguments.sealed if isinstance(arguments, Pending) else None


def _proven(credential: str | None, verify: Callable[[str], Principal]) -> Principal:
    if credential is None:
        return ANONYMOUS
    if credential[: len(SCHEME)].lower() != SCHEME:
        raise Unauthenticated("expected `Authorization: Bearer <token>`")
    return verify(credential[len(SCHEME) :].strip())
