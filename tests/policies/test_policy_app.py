"""An app keeps to the rules of its models: from its start to the answer."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import MetaData, insert, select, update
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from toque import AllRows, App, Database, Me, Principal, Rows, Settings, Struct, public, role
from toque.contract.complaints import SetupError
from toque.store.models import NAMES, Conventions
from toque.testing import client


class Base(Conventions, DeclarativeBase):
    metadata = MetaData(naming_convention=NAMES)


class Letter(Base, tenant="tenant"):
    id: Mapped[int] = mapped_column(primary_key=True)
    tenant: Mapped[str]
    writer: Mapped[str]
    text: Mapped[str]

    @classmethod
    def __rows__(cls, me: Me) -> Rows:
        return Rows(read=cls.tenant == me.tenant, write=cls.writer == me.subject, stamp={"writer": me.subject})


class LetterView(Struct):
    id: int
    text: str


DENIED = "There is no such row."
ANN = Principal(subject="ann", tenant="acme", roles=frozenset({"writer"}))
BOB = Principal(subject="bob", tenant="acme", roles=frozenset({"writer"}))
ZOE = Principal(subject="zoe", tenant="zeta", roles=frozenset({"writer", "admin"}))


def _app(metadata: MetaData = Base.metadata) -> App:
    app = App("post", metadata=metadata, settings=Settings())

    @app.query("/letters", allow=public)
    async def list_letters(db: Database) -> list[LetterView]:
        return await db.all(LetterView, select(Letter).order_by(Letter.id))

    @app.command("/letters", allow=role("writer"))
    async def write(text: str, db: Database) -> None:
        await db.execute(insert(Letter).values(text=text))

    @app.command("/letters/{id}", allow=role("writer"))
    async def rewrite(id: int, text: str, db: Database) -> None:
        await db.execute(update(Letter).where(Letter.id == id).values(text=text))

    @app.query("/all", allow=role("admin"))
    async def list_all(db: AllRows) -> list[LetterView]:
        return await db.all(LetterView, select(Letter).order_by(Letter.id))

    @app.seed
    async def fill(db: Database) -> None:
        await db.execute(insert(Letter).values(tenant="acme", writer="boss", text="seed"))

    return app


def test_calls_see_and_write_what_is_theirs() -> None:
    with client(_app()) as post:
        post.call("post.write", principal=ANN, text="of ann")
        post.call("post.write", principal=BOB, text="of bob")
        again = {"text": "again"}

        assert [letter["text"] for letter in post.get("/letters", principal=ANN).json()] == ["seed", "of ann", "of bob"]
        assert post.get("/letters", principal=ZOE).json() == []
        assert post.get("/letters").json() == []
        assert len(post.get("/all", principal=ZOE).json()) == 3
        assert post.post("/letters/3", json=again, principal=BOB).status == 204
        assert post.post("/letters/3", json=again, principal=ANN).status == 403
        foreign, missing = (post.post(f"/letters/{key}", json=again, principal=ZOE) for key in (3, 9))
        assert (foreign.status, foreign.json()["detail"]) == (missing.status, missing.json()["detail"]) == (404, DENIED)


def test_a_model_that_says_nothing_keeps_the_app_from_starting() -> None:
    class Silent(Conventions, DeclarativeBase):
        metadata = MetaData(naming_convention=NAMES)

    class First(Silent):
        id: Mapped[int] = mapped_column(primary_key=True)

    class Second(Silent):
        id: Mapped[int] = mapped_column(primary_key=True)

    with pytest.raises(SetupError) as caught:
        _app(Silent.metadata).serve()

    complaints = {complaint.subject: complaint for complaint in caught.value.complaints}
    assert complaints.keys() >= {"model first", "model second"}
    assert "test_policy_app.py:" in complaints["model first"].where


def _stages(name: str) -> Any:
    return {stage.name: stage.why for stage in _app().serve().system.plans[name].stages}


def test_a_public_operation_knows_its_caller_where_rules_ask() -> None:
    assert _stages("post.list_letters")["authenticate"] == "it asks for Database, whose rows are their owners'"


def test_explain_can_tell_who_is_past_the_rules() -> None:
    assert _stages("post.list_all")["transact"] == "it asks for AllRows: one snapshot"


def test_the_manifest_tells_who_is_past_the_rules_and_by_what_is_made_for_it() -> None:
    app = _app()

    class Auditor:
        def __init__(self, db: AllRows) -> None:
            self.db = db

    @app.resource(lifetime="call")
    def auditor(db: AllRows) -> Auditor:
        return Auditor(db)

    @app.query("/audited", allow=role("admin"))
    async def count(auditor: Auditor) -> int:
        return len(await auditor.db.all(LetterView, select(Letter)))

    entries = app.serve().manifest().operations

    assert {entry.name for entry in entries if entry.has_all_rows} == {"post.list_all", "post.count"}
