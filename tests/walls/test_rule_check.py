"""Rules that read sensitive tables: what is refused before anything is served, and why."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Boolean, Column, Integer, MetaData, Table, and_, bindparam, exists, func, or_, select
from vault_models import VaultModel

from toque.contract.complaints import Complaint
from toque.store.guard import guard_of
from toque.store.rows import Rows, declare, everybody
from toque.store.sql import Sql

HOLD_OF = "asks hold, which is sensitive"
Say = Callable[[Any, Any, Any], Any]


def wrong(rule: Say, *, is_hidden: bool = False, is_sensitive: bool = False) -> list[Complaint]:
    """The complaints about an app whose table `file` has *rule*, which may ask `hold` (sensitive) and `topic`."""
    metadata = MetaData()
    file, hold, topic = (
        Table(name, metadata, Column("id", Integer, primary_key=True), Column("of", Integer), Column("is_on", Boolean))
        for name in ("file", "hold", "topic")
    )
    said = rule(file, hold, topic)
    rows = Rows(read=everybody, hidden={"of": said}) if is_hidden else Rows(read=said)
    declare(file, lambda _: rows, sensitive=is_sensitive)
    declare(hold, lambda me: Rows(read=me.has_role("keeper")), sensitive=True)
    declare(topic, lambda me: Rows(read=me.is_authenticated))
    found: list[Complaint] = []
    guard_of(metadata, Sql(), found)
    return found


def of(file: Any, table: Any) -> Any:
    return select(table.c.id).where(table.c.of == file.c.id)


REFUSED: dict[str, Say] = {
    "a missing row": lambda file, hold, _: ~of(file, hold).exists(),
    "a key that is not there": lambda file, hold, _: file.c.id.not_in(select(hold.c.of)),
    "a comparison with false": lambda file, hold, _: of(file, hold).exists() == bindparam("no", False, Boolean),
    "how many": lambda file, hold, _: select(func.count()).where(hold.c.of == file.c.id).scalar_subquery() < 3,
    "the largest": lambda file, hold, _: file.c.id.in_(select(func.max(hold.c.of))),
    "the first": lambda file, hold, _: file.c.id.in_(select(hold.c.of).order_by(hold.c.id).limit(1)),
    "a group": lambda file, hold, _: exists(
        select(hold.c.of).where(hold.c.of == file.c.id).group_by(hold.c.of).having(func.count() < 2)
    ),
    "what another lacks": lambda file, hold, topic: exists(
        select(topic.c.id).select_from(topic.outerjoin(hold, hold.c.of == topic.c.id)).where(hold.c.id.is_(None))
    ),
    "a difference": lambda file, hold, topic: file.c.id.in_(select(topic.c.id).except_(select(hold.c.of))),
    "deep inside": lambda file, hold, topic: or_(
        file.c.is_on, of(file, topic).where(~exists().where(hold.c.of == topic.c.id)).exists()
    ),
    "beside another": lambda file, hold, topic: and_(of(file, topic).exists(), ~of(file, hold).exists()),
    "in a condition of a join": lambda file, hold, topic: exists(
        select(topic.c.id).join_from(topic, topic.alias("t"), ~exists().where(hold.c.of == topic.c.id))
    ),
}

TAKEN: dict[str, Say] = {
    "a row": lambda file, hold, _: of(file, hold).exists(),
    "a key": lambda file, hold, _: file.c.id.in_(select(hold.c.of).where(hold.c.is_on)),
    "a row of a join": lambda file, hold, topic: exists(
        select(topic.c.id).join_from(topic, hold, hold.c.of == topic.c.id).where(topic.c.of == file.c.id)
    ),
    "within another": lambda file, hold, topic: or_(
        file.c.is_on, of(file, topic).where(exists().where(hold.c.of == topic.c.id)).exists()
    ),
    "a missing row of a table that is not sensitive": lambda file, _, topic: ~of(file, topic).exists(),
    "a missing row beside a row": lambda file, hold, topic: and_(~of(file, topic).exists(), of(file, hold).exists()),
}


@pytest.mark.parametrize("rule", REFUSED.values(), ids=REFUSED)
def test_a_rule_that_fewer_rows_would_open_is_refused(rule: Say) -> None:
    (complaint,) = wrong(rule)

    assert complaint.subject == "model file"
    assert HOLD_OF in complaint.problem
    assert "exists() or in_()" in complaint.remedy


@pytest.mark.parametrize("rule", TAKEN.values(), ids=TAKEN)
@pytest.mark.parametrize("is_sensitive", [False, True])
def test_a_rule_that_fewer_rows_can_only_close_is_taken(rule: Say, is_sensitive: bool) -> None:
    assert wrong(rule, is_sensitive=is_sensitive) == []


def test_what_is_asked_of_the_sensitive_table_itself_counts_too() -> None:
    def alone(file: Any, _: Any, __: Any) -> Any:
        other = file.alias()
        return ~exists(select(other.c.id).where(other.c.of == file.c.id))

    assert wrong(alone) == []
    assert "asks file, which is sensitive" in wrong(alone, is_sensitive=True)[0].problem


def test_a_rule_about_a_column_counts_too() -> None:
    (complaint,) = wrong(REFUSED["a missing row"], is_hidden=True)

    assert "its rule for hidden['of'] asks hold" in complaint.problem


def test_a_value_without_a_literal_is_a_complaint_of_a_sensitive_table_only() -> None:
    def of_a_value(file: Any, _: Any, __: Any) -> Any:
        return file.c.id == bindparam("which", type_=Integer, callable_=lambda: 1)

    assert wrong(of_a_value) == []
    assert "cannot be kept by the database" in wrong(of_a_value, is_sensitive=True)[0].problem


def test_the_vaults_rules_are_taken() -> None:
    found: list[Complaint] = []
    guard_of(VaultModel.metadata, Sql(), found)
    assert found == []
