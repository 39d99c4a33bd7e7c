"""`toque diff`: what a release breaks for those who use the one before."""

from __future__ import annotations

from pathlib import Path

import msgspec

from toque.cli.failures import Failure
from toque.cli.parameters import Target
from toque.cli.serve import settings_for
from toque.cli.target import load_app

__all__ = ["diff"]


def diff(old: Path, target: Target = ".", /) -> int:
    """Say what the app TARGET breaks for those who use the release whose manifest is the file OLD.

    That is: its callers, those who hear of its events, and what that release has left in the database: events in the
    log, the places of handlers, and jobs that wait. It ends with code 1 where anything breaks: a step for your CI.

    - `toque export manifest shop --out released.json` at a release, and before the next one
      `toque diff released.json shop`

    Args:
        old: What `toque export manifest` wrote.
    """
    from toque.contract.changes import breaking_changes
    from toque.contract.manifest import VERSION, Manifest

    try:
        before = msgspec.json.decode(old.read_bytes(), type=Manifest)
    except OSError as error:
        raise Failure(f"cannot read {old}: {error.strerror}", code=2) from None
    except msgspec.MsgspecError as error:
        raise Failure(f"{old} is no manifest ({error}); write one with `toque export manifest`", code=2) from None
    if before.manifest != VERSION:
        raise Failure(f"{old} has the form {before.manifest}, and this release reads {VERSION}", code=2)
    app = load_app(target)
    found = breaking_changes(before, app.serve(settings_for(app)).manifest())
    for change in found:
        print(change)
    if not found:
        print(f"{app.name} {app.version} breaks nothing of {before.name} {before.version}")
    return 1 if found else 0
