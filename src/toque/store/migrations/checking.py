"""What is dangerous about migrations, each with its remedy: squawk's rules over their SQL, and rules of our own.

A file may break a rule for a reason that it gives: `# toque: allow rule-name because ...`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec
from sqlalchemy import MetaData

from toque.store.migrations import rules, squawk
from toque.store.migrations.moving import pending
from toque.store.migrations.running import sql_of
from toque.store.migrations.steps import Step, Steps
from toque.store.migrations.writing import differences

__all__ = ["Finding", "findings", "of_step"]

_ALLOWED = re.compile(r"(?m)^\s*#\s*toque:\s*allow\s+([\w-]+)(?:\s+because\s+(\S.*))?$")


class Finding(msgspec.Struct, frozen=True):
    """One danger."""

    rule: str
    problem: str
    remedy: str
    file: str
    line: int
    revision: str


async def findings(url: str, metadata: MetaData, folder: Path, *, is_all: bool = False) -> list[Finding]:
    """Everything dangerous about the steps that *url* lacks, or about all of them.

    Raises: Refused where squawk is not installed, and the database is PostgreSQL.
    """
    steps = Steps(folder)
    chosen = steps.all if is_all else await pending(url, folder)
    has_squawk = squawk.is_installed() or not url.startswith("sqlite")
    found = [finding for step in chosen for finding in of_step(metadata, step, has_squawk=has_squawk)]
    for difference in await differences(url, metadata, folder):
        found.append(
            Finding(
                "models-differ",
                f"the models differ from what the migrations lead to: {difference}.",
                "Write the missing migration: toque db revision -m ...",
                str(folder),
                1,
                steps.head or "",
            )
        )
    return found


def of_step(metadata: MetaData, step: Step, *, has_squawk: bool = True) -> list[Finding]:
    """Everything dangerous about one step."""
    source = step.path.read_text(encoding="utf-8")
    allowed = dict(_ALLOWED.findall(source))
    found = [*_of_rules(step, source), *(_of_squawk(metadata, step, source) if has_squawk else ())]
    found += _without_reason(step, allowed)
    return [finding for finding in dict.fromkeys(found) if not allowed.get(finding.rule)]


def _of_rules(step: Step, source: str) -> Iterable[Finding]:
    for said in rules.broken(step, source):
        yield Finding(said.rule, said.problem, said.remedy, str(step.path), said.line, step.revision)


def _of_squawk(metadata: MetaData, step: Step, source: str) -> Iterator[Finding]:
    line = rules.line_of(source, "def upgrade")
    try:
        sql = sql_of(metadata, step)
    except Exception as error:
        # Whatever a file of somebody's own does without a connection.
        yield Finding(
            "not-as-sql",
            f"it cannot be written as SQL, so that nobody can check it: {type(error).__name__}: {error}",
            "Use operations (op....) instead of the connection's answers, or allow this rule with a reason.",
            *(str(step.path), line, step.revision),
        )
        return
    for said in squawk.squawk(sql, step.phase):
        place = sql.splitlines()[said.line] if said.line < len(sql.splitlines()) else ""
        yield Finding(
            said.rule_name,
            f"{said.message.rstrip('.')}: {place.strip()[:100]}",
            said.help or f"See https://squawkhq.com/docs/{said.rule_name}.",
            *(str(step.path), line, step.revision),
        )


def _without_reason(step: Step, allowed: dict[str, str]) -> Iterator[Finding]:
    for rule, reason in allowed.items():
        if not reason:
            yield Finding(
                "allowed-without-reason",
                f"{rule} is allowed without a reason.",
                f"Say why: # toque: allow {rule} because ...",
                *(str(step.path), 1, step.revision),
            )
