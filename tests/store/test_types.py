"""Every value that a column takes comes back as it was, on both databases."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kitchen_models import Course, Sample
from sqlalchemy import delete, insert, select

from toque.contract.errors import Invalid
from toque.store import Store


class SampleView(msgspec.Struct):
    id: UUID
    text: str
    number: int
    ratio: float
    amount: Decimal
    is_open: bool
    at: datetime
    day: date
    course: Course
    data: bytes
    document: dict[str, Any]
    words: list[str]
    missing: str | None


# PostgreSQL stores no NUL in text, and UTF-8 has no surrogates.
texts = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]))
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
zones = st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=30)), timezone(timedelta(hours=-11))])
samples = st.builds(
    SampleView,
    id=st.uuids(),
    text=texts,
    number=st.integers(-(2**31), 2**31 - 1),
    ratio=st.floats(allow_nan=False, allow_infinity=False),
    amount=st.decimals("-999999999.999", "999999999.999", places=3),
    is_open=st.booleans(),
    at=st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=zones),
    day=st.dates(),
    course=st.sampled_from(Course),
    data=st.binary(),
    document=st.dictionaries(texts, json_values, max_size=3),
    words=st.lists(texts, max_size=3),
    missing=st.none() | texts,
)


@given(sample=samples)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_a_row_comes_back_as_it_was_written(store: Store, sample: SampleView) -> None:
    values = msgspec.structs.asdict(sample)

    async def write_and_read(db: Any) -> tuple[SampleView, SampleView]:
        # Hypothesis likes to come back with a key that it has used.
        await db.execute(delete(Sample).where(Sample.id == sample.id))
        returned = await db.one(SampleView, insert(Sample).values(**values).returning(Sample))
        found = select(Sample).where(Sample.id == sample.id, Sample.at == sample.at, Sample.amount == sample.amount)
        return returned, await db.one(SampleView, found)

    returned, found = await store.command(write_and_read)

    assert returned == found == sample
    assert found.at.utcoffset() == timedelta(0)
    assert str(found.amount) == str(sample.amount + 0)


ROW = {
    "text": "",
    "number": 0,
    "ratio": 0.0,
    "is_open": True,
    "day": date(2026, 1, 1),
    "data": b"",
    "course": Course.MAIN,
    "document": {},
    "words": [],
}


async def test_decimals_and_times_sort_by_their_value(store: Store) -> None:
    amounts = [Decimal("9"), Decimal("10.5"), Decimal("-3"), Decimal("0.001")]
    rows = [
        {**ROW, "id": UUID(int=i), "amount": amount, "at": datetime(2026, 1, 4 - i, 12, i, tzinfo=UTC)}
        for i, amount in enumerate(amounts)
    ]
    await store.command(lambda db: db.execute(insert(Sample), rows))

    assert await store.query(lambda db: db.all(Decimal, select(Sample.amount).order_by(Sample.amount))) == sorted(
        amounts
    )
    times = await store.query(lambda db: db.all(datetime, select(Sample.at).order_by(Sample.at)))
    assert times == sorted(times)


@pytest.mark.parametrize("at", [datetime.min, datetime.max])
async def test_the_first_and_the_last_time_of_all_keep_their_zone(store: Store, at: datetime) -> None:
    """asyncpg writes them as PostgreSQL's infinities, and reads those as times without a zone."""
    at = at.replace(tzinfo=UTC)
    row = {**ROW, "id": UUID(int=1), "amount": Decimal(1), "at": at}
    await store.command(lambda db: db.execute(insert(Sample), row))

    found = await store.query(lambda db: db.all(datetime, select(Sample.at).where(Sample.at == at)))

    assert found == [at]
    assert found[0].tzinfo is UTC


async def test_a_time_without_its_zone_is_refused_with_what_would_fit(store: Store) -> None:
    with pytest.raises(Invalid, match="expected a time with its zone, as 2026-12-01T08:00:00Z"):
        await store.query(lambda db: db.all(object, select(Sample.id).where(Sample.at == datetime(2026, 1, 1))))
