"""Every form of a statement, on both databases: Ann reads and changes what the rules give her, and nothing else."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from archive import Outcome, attempt, foreign, rows_of, touched
from policy_forms import FORMS, Fails, Form, Reads, Writes

from toque.store import Database, Store


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
async def test_a_statement_keeps_to_the_rules(archive: Store, form: Form) -> None:
    if form.only not in ("", archive.dialect_name):
        pytest.skip(f"only {form.only} has it")

    outcome = await attempt(archive, lambda db: _run(db, form))

    assert foreign(outcome.result) == []
    assert touched(outcome) == {}
    _assert_outcome(form.outcome, outcome)


async def _run(db: Database, form: Form) -> Any:
    statement = form.make()
    if isinstance(form.outcome, Writes) or isinstance(form.rows, list) or not _gives_rows(statement):
        return await db.execute(statement, form.rows)
    return await rows_of(db, statement, form.rows)


def _gives_rows(statement: Any) -> bool:
    return not getattr(statement, "is_dml", False) or bool(statement._returning)


def _assert_outcome(expected: Any, outcome: Outcome) -> None:
    if isinstance(expected, Fails):
        assert isinstance(outcome.error, expected.error), (outcome.error, outcome.result)
        return
    if outcome.error is not None:
        raise outcome.error
    if isinstance(expected, Writes):
        assert outcome.result == expected.count
    elif isinstance(expected.rows, int):
        assert len(outcome.result) == expected.rows
    else:
        rows = [row[0] if len(row) == 1 else row for row in outcome.result]
        assert Counter(map(repr, rows)) == Counter(map(repr, expected.rows))


@pytest.mark.parametrize("name", ["sqlite", "postgresql"])
def test_there_are_forms_enough(name: str) -> None:
    assert len([form for form in FORMS if form.only in ("", name)]) >= 120


def test_every_form_has_its_own_name() -> None:
    assert [name for name, count in Counter(form.name for form in FORMS).items() if count > 1] == []


def test_every_outcome_is_met() -> None:
    kinds = {form.outcome.error.__name__ if isinstance(form.outcome, Fails) else type(form.outcome) for form in FORMS}

    assert {Reads, Writes, "Refused", "Forbidden", "NotFound"} <= kinds
