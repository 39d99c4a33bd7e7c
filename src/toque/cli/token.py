"""`toque token`: a token to try an app with, in development only."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from toque.cli.failures import Failure
from toque.cli.run import settings_for
from toque.cli.target import load_app

__all__ = ["token"]

LIFETIME_S = 8 * 3600
"""One working day."""


def token(
    target: str = ".",
    *,
    sub: str,
    role: Annotated[tuple[str, ...], Parameter(negative=())] = (),
    scope: Annotated[tuple[str, ...], Parameter(negative=())] = (),
    tenant: str = "",
    lifetime: int = LIFETIME_S,
) -> None:
    """Print a bearer token for the app TARGET, signed with its development key.

    `curl -H "Authorization: Bearer $(toque token . --sub ana --role waiter)" ...`

    Parameters
    ----------
    target: `package.module:app`, a file or a folder.
    sub: who the caller is.
    role: a role of the caller; may be given several times.
    scope: a scope of the token; may be given several times.
    tenant: whose data the caller works on.
    lifetime: seconds until the token expires.
    """
    from toque.security.development import mint

    settings = settings_for(load_app(target))
    if settings.is_production:
        raise Failure("`toque token` mints development tokens, and this is production; ask the issuer of your tokens")
    print(mint(settings, subject=sub, roles=role, scopes=scope, tenant=tenant, lifetime_s=lifetime))
