"""squawk, the linter of PostgreSQL migrations, on the SQL of a migration.

Every rule of squawk is on, but for those in `LEFT_OUT`; those in `UNTIL_CONTRACT` are about what an older release
would notice, and hold in the phases that do not wait for it.
"""

from __future__ import annotations

import re
import subprocess
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import msgspec

from toque.store.migrations.phases import Phase, is_guarded
from toque.store.migrations.refused import Refused

__all__ = ["LEFT_OUT", "OPT_IN", "UNTIL_CONTRACT", "Said", "is_installed", "squawk"]

# Ten thousand statements take it less than a second.
TIMEOUT_S = 60

_REWRITES = re.compile(r"(?i)\b(VACUUM|CLUSTER)\b")

_TYPES = "a matter of taste, and the models' own; nothing is locked, nothing lost"
_ADDED = "an older release does not see what is added"

LEFT_OUT = {
    "prefer-bigint-over-int": _TYPES,
    "prefer-bigint-over-smallint": _TYPES,
    "prefer-identity": _TYPES,
    "prefer-text-field": _TYPES,
    "prefer-timestamp-tz": _TYPES,
    "ban-char-field": _TYPES,
    "require-table-schema": "the search path is the app's own",
    "prefer-robust-stmts": "a step is one transaction, or made of operations that can be run again",
    "ban-add-column": _ADDED,
    "ban-add-enum-value": _ADDED,
    "ban-add-composite-attribute": _ADDED,
    "ban-set-default": _ADDED,
}
"""Rules that are no danger here, and why."""

UNTIL_CONTRACT = frozenset(
    {
        *(
            "ban-drop-column",
            "ban-drop-table",
            "ban-drop-not-null",
            "renaming-column",
            "renaming-table",
            "renaming-object",
        ),
        *(
            "ban-drop-view",
            "ban-drop-function",
            "ban-drop-type",
            "ban-drop-schema",
            "ban-drop-sequence",
            "ban-drop-default",
            "ban-drop-trigger",
        ),
        *("ban-drop-domain", "ban-drop-constraint", "ban-drop-generated-expression", "ban-set-schema"),
        *("ban-alter-identity", "ban-drop-extension", "ban-drop-index", "ban-drop-policy", "ban-revoke"),
        *("ban-replace-view-function", "ban-alter-policy-condition", "ban-alter-policy-roles", "ban-create-policy"),
        *("ban-alter-function-options", "ban-alter-view-options", "ban-alter-row-level-security"),
        *("ban-new-write-restriction", "ban-alter-generated-expression", "ban-detach-inheritance"),
        *("ban-disable-trigger", "ban-replica-identity"),
    }
)

OPT_IN = frozenset(
    {
        *("ban-alter-generated-expression", "ban-drop-index", "ban-disable-trigger", "ban-replica-identity"),
        *("ban-drop-policy", "ban-revoke", "ban-replace-view-function", "ban-alter-policy-condition"),
        *("ban-alter-policy-roles", "ban-create-policy", "ban-alter-function-options", "ban-alter-view-options"),
        *("ban-alter-role-options", "ban-alter-database-options", "ban-alter-row-level-security"),
        *("ban-new-write-restriction", "ban-detach-inheritance", "ban-alter-sequence-values"),
        *("ban-alter-system-options", "ban-alter-extension", "ban-drop-trigger"),
    }
)
"""Rules that squawk leaves off unless told."""


class Said(msgspec.Struct, frozen=True):
    """One thing that squawk says."""

    rule_name: str
    message: str
    help: str | None
    line: int


def is_installed() -> bool:
    return _program() is not None


def squawk(sql: str, phase: Phase) -> list[Said]:
    """What squawk says of *sql*. Raises: Refused where it is not installed, or does not answer."""
    program = _program()
    if program is None:
        raise Refused("squawk reads the SQL of migrations, and is not installed: pip install 'toque[migrations]'.")
    off = {*LEFT_OUT, *(UNTIL_CONTRACT if is_guarded(phase) else ())}
    flags = [f"--exclude={','.join(sorted(off))}", f"--include={','.join(sorted(OPT_IN - off))}"]
    said = _said(program, sql, *flags)
    if _REWRITES.search(sql):
        # Said for the release that has REPACK alone (PostgreSQL 19), and a danger in all of them.
        said += [one for one in _said(program, sql, *flags, "--pg-version=19") if one.rule_name == "prefer-repack"]
    return said


def _said(program: str, sql: str, *flags: str) -> list[Said]:
    done = subprocess.run(  # noqa: S603 - the program of an installed package
        [program, "--reporter=json", *flags], input=sql, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )
    try:
        said: list[Said] = msgspec.json.decode(done.stdout or "[]", type=list[Said])
    except msgspec.DecodeError as error:
        raise Refused(f"squawk failed: {(done.stderr or done.stdout).strip()[:500]}") from error
    return said


def _program() -> str | None:
    """Where pip has put it: beside the interpreter, which need not be on the PATH."""
    try:
        files: Any = distribution("squawk-cli").files or ()
    except PackageNotFoundError:
        return None
    found = [Path(str(file.locate())) for file in files if file.stem == "squawk" and "bin" in file.parts[-2].lower()]
    found += [Path(str(file.locate())) for file in files if file.name.lower() == "squawk.exe"]
    return str(found[0]) if found and found[0].exists() else None
