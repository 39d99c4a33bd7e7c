"""`toque token`: a token to try an app with, in development only."""

from __future__ import annotations

from toque.cli.failures import Failure
from toque.cli.operations import Optional, Several
from toque.cli.parameters import Target
from toque.cli.serve import settings_for
from toque.cli.target import load_app

__all__ = ["token"]

LIFETIME_S = 8 * 3600
"""One working day."""


def token(
    target: Target = ".",
    /,
    *,
    sub: str,
    role: Several = (),
    scope: Several = (),
    tenant: Optional = "",
    lifetime: int = LIFETIME_S,
) -> None:
    """Print a token to try the app TARGET with, in development.

    It is signed with the app's development key, which production does not accept.

    - `toque token shop --sub ana --role waiter`
    - `curl -H "Authorization: Bearer $(toque token shop --sub ana --role waiter)" localhost:8000/orders`

    Args:
        sub: Who the caller is.
        role: A role of the caller; may be given several times.
        scope: A scope of the token; may be given several times.
        tenant: Whose data the caller works on.
        lifetime: Seconds until the token expires.
    """
    from toque.security.development import mint

    settings = settings_for(load_app(target))
    if settings.is_production:
        raise Failure("`toque token` mints development tokens, and this is production; ask the issuer of your tokens")
    if not sub:
        raise Failure("--sub is empty, and a token is for somebody; name a caller, as in --sub ana", code=2)
    print(mint(settings, subject=sub, roles=role, scopes=scope, tenant=tenant, lifetime_s=lifetime))
