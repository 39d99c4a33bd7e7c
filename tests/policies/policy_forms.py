"""Every form of a statement that Ann, of the tenant acme, tries on the archive, and what comes of it.

A form is a name, what makes its statement, and the outcome: the rows that are read, the number of rows written, or the
error. Whatever the outcome, `test_policy_forms` looks at the whole database and at every value that came back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from archive_models import SEEN, Diary, Member, Note, Topic, label
from sqlalchemy import (
    DDL,
    JSON,
    Column,
    Integer,
    MetaData,
    String,
    Table,
    and_,
    bindparam,
    case,
    cast,
    collate,
    column,
    delete,
    desc,
    distinct,
    except_,
    exists,
    extract,
    false,
    from_dml_column,
    func,
    insert,
    intersect,
    lambda_stmt,
    literal,
    literal_column,
    not_,
    null,
    or_,
    select,
    table,
    tablesample,
    text,
    true,
    tuple_,
    type_coerce,
    union,
    union_all,
    update,
    values,
    within_group,
)
from sqlalchemy import (
    Sequence as NumberSequence,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import aliased, selectinload
from sqlalchemy.schema import CreateTable, DropTable
from sqlalchemy.sql import quoted_name
from sqlalchemy.sql.elements import ColumnElement
from sqlalchemy.types import UserDefinedType

from toque.contract.errors import Forbidden, NotFound
from toque.store.facts import me
from toque.store.guard import Refused

PG, LITE = "postgresql", "sqlite"


@dataclass(frozen=True)
class Reads:
    """These rows come, in any order; a row of one column is its value."""

    rows: Sequence[Any]


@dataclass(frozen=True)
class Writes:
    """So many rows are written."""

    count: int


@dataclass(frozen=True)
class Fails:
    """It ends with this error, and nothing is written."""

    error: type[BaseException]


REFUSED, FORBIDDEN, MISSING, BROKEN = Fails(Refused), Fails(Forbidden), Fails(NotFound), Fails(Exception)
"""Its author's mistake; a rule's answer; a row that is not there for Ann; an error of whatever kind."""


@dataclass(frozen=True)
class Form:
    name: str
    make: Callable[[], Any]
    outcome: Reads | Writes | Fails
    only: str = ""
    rows: Any = None
    """Parameters, or a list of them for an executemany."""


notes = Note.__table__
n = aliased(Note)
other = aliased(Note, name="other")
light = table("note", column("id"), column("text"), column("secret"), column("tenant"))
ids = select(Note.id)


def upsert(only: str) -> Any:
    return {PG: postgresql, LITE: sqlite}[only].insert(Note)


def _recursive() -> Any:
    start = select(Note.id).where(Note.id == 1).cte("down", recursive=True)
    return select(start.union(select(Note.id).join(start, Note.id == start.c.id + 1)).c.id)


def _lateral() -> Any:
    inner = select(n.id.label("it")).where(n.id > Note.id).order_by(n.id).limit(1).lateral("nxt")
    return select(Note.id, inner.c.it).select_from(Note).join(inner, true(), isouter=True)


class _Own(ColumnElement[int]):
    inherit_cache = True


@compiles(_Own)
def _own(element: Any, compiler: Any, **kw: Any) -> str:
    return "(SELECT count(*) FROM note)"


class _Evil(UserDefinedType[Any]):
    cache_ok = True

    def get_col_spec(self, **kw: Any) -> str:
        return "TEXT) FROM note --"


class _EvilBind(_Evil):
    cache_ok = True
    render_bind_cast = True


class _EvilDecorated(String):
    cache_ok = True

    def bind_expression(self, bindvalue: Any) -> Any:
        return func.pg_read_file(bindvalue)


READS = (
    Form("select the entity's key", lambda: ids, Reads(SEEN)),
    Form("select a core table", lambda: select(notes.c.id), Reads(SEEN)),
    Form("select every column", lambda: select(notes), Reads(3)),
    Form("table.select()", lambda: notes.select(), Reads(3)),
    Form("ask for a foreign row by key", lambda: ids.where(Note.id == 3), Reads([])),
    Form("ask for another tenant's row by key", lambda: ids.where(Note.id == 4), Reads([])),
    Form("ask for a foreign row OR true", lambda: ids.where(or_(Note.id == 3, true())), Reads(SEEN)),
    Form("negate the rule's own words", lambda: ids.where(not_(Note.author == "ann")), Reads([2])),
    Form("hidden field is NULL", lambda: select(Note.id, Note.secret).where(Note.id == 2), Reads([(2, None)])),
    Form("hidden field in WHERE", lambda: ids.where(Note.secret.like("HIDDEN%")), Reads([])),
    Form("hidden field IS NULL", lambda: ids.where(Note.secret.is_(None)), Reads([2])),
    Form("hidden field in ORDER BY", lambda: select(Note.id).order_by(Note.secret.desc().nulls_last()), Reads(SEEN)),
    Form("hidden field in GROUP BY", lambda: select(Note.secret, func.count()).group_by(Note.secret), Reads(3)),
    Form("hidden field in an aggregate", lambda: select(func.max(Note.secret)), Reads(["my secret"])),
    Form("hidden field in CASE", lambda: select(case((Note.secret.like("HIDDEN%"), 1), else_=0)), Reads([0, 0, 0])),
    Form("hidden field of an alias", lambda: select(n.secret).where(n.id == 2), Reads([None])),
    Form("hidden field in a function", lambda: select(func.length(Note.secret)).where(Note.id == 2), Reads([None])),
    Form("alias", lambda: select(n.id), Reads(SEEN)),
    Form("alias of a core table", lambda: select(notes.alias("x").c.id), Reads(SEEN)),
    Form("alias of an alias", lambda: select(notes.alias("x").alias("y").c.id), Reads(SEEN)),
    Form("alias named like another table", lambda: select(notes.alias("member").c.id), Reads(SEEN)),
    Form("alias named like itself", lambda: select(notes.alias("note").c.id), Reads(SEEN)),
    Form("alias that needs quotes", lambda: select(notes.alias('no"te; --').c.id), Reads(SEEN)),
    Form("self join", lambda: select(Note.id, n.id).join(n, n.project == Note.project), Reads(5)),
    Form("self join without condition", lambda: select(Note.id, n.id), Reads(9)),
    Form("join", lambda: select(Note.id, Topic.name).join(Note.topic), Reads(3)),
    Form(
        "join to a guarded table", lambda: select(Member.id).join(Note, Note.project == Member.project), Reads([1, 1])
    ),
    Form("outer join", lambda: select(Topic.id, Note.id).outerjoin(Note, Note.topic_id == Topic.id), Reads(3)),
    Form(
        "outer join finds no foreign row",
        lambda: select(Note.id).select_from(Topic).outerjoin(Note, and_(Note.topic_id == Topic.id, Note.id == 4)),
        Reads([None, None]),
    ),
    Form(
        "full outer join",
        lambda: select(Note.id).select_from(Topic).outerjoin(Note, Note.topic_id == Topic.id, full=True),
        Reads(SEEN),
    ),
    Form(
        "core join",
        lambda: select(notes.c.id).select_from(notes.join(label, label.c.note_id == notes.c.id)),
        Reads([1]),
    ),
    Form(
        "shared table joined outward",
        lambda: select(label.c.word, Note.id).outerjoin_from(label, Note, Note.id == label.c.note_id),
        Reads([("red", 1), ("blue", None)]),
    ),
    Form("subquery", lambda: select(select(Note.id).subquery().c.id), Reads(SEEN)),
    Form("subquery named like the table", lambda: select(select(Note.id).subquery("note").c.id), Reads(SEEN)),
    Form(
        "subquery in a subquery", lambda: select(select(select(Note.id).subquery().c.id).subquery().c.id), Reads(SEEN)
    ),
    Form("scalar subquery", lambda: select(select(func.count(Note.id)).scalar_subquery()), Reads([3])),
    Form(
        "correlated scalar subquery",
        lambda: select(
            select(func.count(Note.id)).where(Note.topic_id == Topic.id).correlate(Topic).scalar_subquery()
        ).select_from(Topic),
        Reads([2, 1]),
    ),
    Form(
        "correlated to itself",
        lambda: select(Note.id).where(
            Note.id == select(func.max(n.id)).where(n.project == Note.project).scalar_subquery()
        ),
        Reads([2, 5]),
    ),
    Form(
        "correlate(None)",
        lambda: select(select(func.count(Note.id)).correlate(None).scalar_subquery()).select_from(Topic),
        Reads([3, 3]),
    ),
    Form("EXISTS as a probe", lambda: select(literal(1)).where(exists().where(Note.id == 3)), Reads([])),
    Form(
        "EXISTS of a hidden value",
        lambda: select(literal(1)).where(exists().where(Note.secret.like("%bob%"))),
        Reads([]),
    ),
    Form("NOT EXISTS", lambda: select(literal(1)).where(~exists().where(Note.id == 4)), Reads([1])),
    Form("IN a subquery", lambda: select(Topic.id).where(Topic.id.in_(select(Note.topic_id))), Reads([1, 2])),
    Form(
        "NOT IN a subquery", lambda: select(label.c.note_id).where(label.c.note_id.not_in(select(Note.id))), Reads([3])
    ),
    Form("IN a list", lambda: ids.where(Note.id.in_([1, 3, 4])), Reads([1])),
    Form("IN an empty list", lambda: ids.where(Note.id.in_([])), Reads([])),
    Form("NOT IN an empty list", lambda: ids.where(Note.id.not_in([])), Reads(SEEN)),
    Form("IN a list of pairs", lambda: ids.where(tuple_(Note.id, Note.project).in_([(1, 1), (3, 2)])), Reads([1])),
    Form(
        "ANY of a subquery",
        lambda: ids.where(Note.id == select(n.id).where(n.id > 1).order_by(n.id).limit(1).scalar_subquery()),
        Reads([2]),
    ),
    Form("CTE", lambda: select(select(Note.id).cte("own").c.id), Reads(SEEN)),
    Form("CTE used twice", lambda: (lambda c: select(c.c.id, c.alias().c.id))(select(Note.id).cte("own")), Reads(9)),
    Form("CTE nested", lambda: select(select(select(Note.id).cte("a").c.id).cte("b", nesting=True).c.id), Reads(SEEN)),
    Form("CTE materialized", lambda: select(select(Note.id).cte("own").prefix_with("MATERIALIZED").c.id), Reads(SEEN)),
    Form("CTE named like the table", lambda: select(select(Note.id).cte("note").c.id), REFUSED),
    Form(
        "CTE in the place of a rule's table",
        lambda: select(Note.id).add_cte(
            select(
                literal(2).label("project"),
                literal("ann").label("person"),
                literal("acme").label("tenant"),
                literal(1).label("id"),
            ).cte("member")
        ),
        REFUSED,
    ),
    Form(
        "CTE in its place in capitals",
        lambda: select(Note.id).add_cte(select(literal(2).label("project")).cte("MEMBER")),
        REFUSED,
    ),
    Form("recursive CTE", _recursive, Reads([1, 2])),
    Form(
        "recursive CTE over everything",
        lambda: (lambda c: select(c.union_all(select(n.id).where(n.id > c.c.id)).c.id).distinct())(
            select(Note.id).cte("r", recursive=True)
        ),
        Reads(SEEN),
    ),
    Form("LATERAL", _lateral, Reads([(1, 2), (2, 5), (5, None)]), PG),
    Form("UNION", lambda: union(select(Note.id), select(n.id)), Reads(SEEN)),
    Form("UNION ALL", lambda: union_all(ids, select(notes.c.id).where(notes.c.id == 3)), Reads(SEEN)),
    Form("UNION with a shared table", lambda: union(ids, select(label.c.note_id)), Reads([1, 2, 3, 5])),
    Form("INTERSECT", lambda: intersect(ids, select(label.c.note_id)), Reads([1])),
    Form("EXCEPT as a probe", lambda: except_(select(label.c.note_id), ids), Reads([3])),
    Form("UNION in a subquery", lambda: select(union_all(ids, ids).subquery().c.id), Reads(6)),
    Form(
        "UNION of entities",
        lambda: select(aliased(Note, union_all(select(Note), select(Note)).subquery()).id),
        Reads(6),
    ),
    Form("count", lambda: select(func.count()).select_from(Note), Reads([3])),
    Form("count of a filter", lambda: select(func.count()).select_from(Note).where(Note.tenant == "zeta"), Reads([0])),
    Form("sum, avg, max", lambda: select(func.sum(Note.level), func.max(Note.id)), Reads([(7, 5)])),
    Form("count distinct", lambda: select(func.count(distinct(Note.author))), Reads([2])),
    Form("GROUP BY tenant", lambda: select(Note.tenant, func.count()).group_by(Note.tenant), Reads([("acme", 3)])),
    Form("HAVING", lambda: select(Note.author).group_by(Note.author).having(func.count() > 1), Reads(["ann"])),
    Form("FILTER", lambda: select(func.count().filter(Note.tenant == "zeta")).select_from(Note), Reads([0])),
    Form("window", lambda: select(func.row_number().over(order_by=Note.id)), Reads([1, 2, 3])),
    Form(
        "window over partitions",
        lambda: select(func.count().over(partition_by=Note.author)).select_from(Note),
        Reads([2, 2, 1]),
    ),
    Form("window that looks ahead", lambda: select(func.lead(Note.id).over(order_by=Note.id)), Reads([2, 5, None])),
    Form(
        "window with a frame",
        lambda: select(func.sum(Note.id).over(order_by=Note.id, rows=(None, 0))),
        Reads([1, 3, 8]),
    ),
    Form("WITHIN GROUP", lambda: select(within_group(func.percentile_cont(1.0), Note.level)), Reads([5.0]), PG),
    Form(
        "array_agg",
        lambda: select(func.array_agg(postgresql.aggregate_order_by(Note.id, Note.id))),
        Reads([[1, 2, 5]]),
        PG,
    ),
    Form(
        "strings joined", lambda: select(func.aggregate_strings(Note.slug, ",")).where(Note.id == 1), Reads(["first"])
    ),
    Form("DISTINCT", lambda: select(Note.author).distinct(), Reads(["ann", "bob"])),
    Form(
        "DISTINCT ON",
        lambda: select(Note.author).ext(postgresql.distinct_on(Note.author)).order_by(Note.author),
        Reads(["ann", "bob"]),
        PG,
    ),
    Form("LIMIT and OFFSET", lambda: ids.order_by(Note.id).limit(1).offset(1), Reads([2])),
    Form("FETCH FIRST", lambda: ids.order_by(Note.id).fetch(2), Reads([1, 2]), PG),
    Form("FOR UPDATE", lambda: ids.with_for_update(), Reads(SEEN)),
    Form("FOR UPDATE OF", lambda: ids.with_for_update(of=Note, skip_locked=True), Reads(SEEN)),
    Form("ORDER BY a label", lambda: select(Note.id.label("it")).order_by(desc("it")), Reads(SEEN)),
    Form("ORDER BY a text", lambda: ids.order_by("secret; DROP TABLE note"), BROKEN),
    Form(
        "columns only", lambda: select(Note.id).with_only_columns(func.count(), maintain_column_froms=True), Reads([3])
    ),
    Form("select_from another", lambda: select(literal(1)).select_from(Note), Reads([1, 1, 1])),
    Form("lightweight table", lambda: select(light.c.id), Reads(SEEN)),
    Form("lightweight table's hidden field", lambda: select(light.c.secret).where(light.c.id == 2), Reads([None])),
    Form("lightweight alias", lambda: select(light.alias("z").c.id), Reads(SEEN)),
    Form(
        "lightweight column without table",
        lambda: select(column("secret")).select_from(notes).where(notes.c.id == 2),
        Reads([None]),
    ),
    Form(
        "another table object of its name",
        lambda: select(Table("note", MetaData(), Column("id", Integer)).c.id),
        Reads(SEEN),
    ),
    Form("a column that does not exist", lambda: select(table("note", column("ctid")).c.ctid), BROKEN),
    Form("SQLite's rowid", lambda: select(column("rowid")).select_from(notes), Fails(Exception), PG),
    Form("the row as a whole", lambda: select(column("note")).select_from(notes).where(notes.c.id == 3), Reads([]), PG),
    Form("VALUES", lambda: select(values(column("v", Integer), name="v").data([(1,), (3,)]).c.v), Reads([1, 3]), PG),
    Form(
        "VALUES joined",
        lambda: (lambda v: select(Note.id).join(v, v.c.v == Note.id))(
            values(column("v", Integer), name="v").data([(1,), (3,)])
        ),
        Reads([1]),
        PG,
    ),
    Form("TABLESAMPLE", lambda: select(tablesample(notes, func.bernoulli(100)).c.id), Reads(SEEN), PG),
    Form(
        "TABLESAMPLE with a seed",
        lambda: select(aliased(Note, tablesample(notes, func.system(100), seed=literal(1))).id),
        Reads(SEEN),
        PG,
    ),
    Form(
        "a table-valued function",
        lambda: select(func.json_each('{"a": 1}').table_valued("key").c.key),
        Reads(["a"]),
        LITE,
    ),
    Form(
        "unnest",
        lambda: select(func.unnest(literal([1, 3], postgresql.ARRAY(Integer))).column_valued("x")),
        Reads([1, 3]),
        PG,
    ),
    Form("cast", lambda: select(cast(Note.id, String)).where(Note.id == 1), Reads(["1"])),
    Form("type_coerce", lambda: select(type_coerce(Note.id, Integer)), Reads(SEEN)),
    Form("extract", lambda: select(extract("year", func.now())).where(exists().where(Note.id == 3)), Reads([])),
    Form("LIKE", lambda: select(Note.id).where(Note.text.contains("mine", autoescape=True)), Reads([1, 5])),
    Form("ILIKE", lambda: select(Note.id).where(Note.text.ilike("MINE%")), Reads([1, 5])),
    Form("BETWEEN", lambda: ids.where(Note.id.between(2, 4)), Reads([2])),
    Form("IS DISTINCT FROM", lambda: ids.where(Note.secret.is_distinct_from("my secret")), Reads([2, 5])),
    Form("a known operator", lambda: ids.where(Note.id.op("%")(2) == 1), Reads([1, 5])),
    Form("a known collation", lambda: ids.order_by(collate(Note.slug, "NOCASE")), Reads(SEEN), LITE),
    Form("lambda statement", lambda: lambda_stmt(lambda: select(Note.id)), Reads(SEEN)),
    Form("parameter", lambda: ids.where(Note.id == bindparam("it")), Reads([]), rows={"it": 3}),
    Form("another owner's table", lambda: select(Diary.page), Reads(["dear"])),
    Form("a rule's own table", lambda: select(Member.person), Reads(["ann"])),
    Form("shared table", lambda: select(Topic.name), Reads(["cooking", "wine"])),
    Form(
        "EXISTS through a relationship", lambda: select(Note.id).where(Note.topic.has(Topic.name == "wine")), Reads([5])
    ),
    Form("option that loads more", lambda: select(Note.id).options(selectinload(Note.topic)), BROKEN),
    Form(
        "name with quote=False",
        lambda: select(table(quoted_name("note WHERE 1=1 --", False), column("id")).c.id),
        REFUSED,
    ),
    Form(
        "column name with quote=False",
        lambda: select(table("note", column(quoted_name("id FROM note --", False))).c[0]),
        BROKEN,
    ),
    Form("label with quote=False", lambda: select(Note.id.label(quoted_name("x FROM note --", False))), Reads(SEEN)),
    Form("alias with quote=False", lambda: select(notes.alias(quoted_name("x, note AS y", False)).c.id), Reads(SEEN)),
)

WRITES = (
    Form("insert", lambda: insert(Note).values(project=1, slug="new"), Writes(1)),
    Form("insert under another's name", lambda: insert(Note).values(project=1, slug="new", author="bob"), Writes(1)),
    Form("insert into another tenant", lambda: insert(Note).values(project=1, slug="new", tenant="zeta"), Writes(1)),
    Form(
        "insert by parameters",
        lambda: insert(Note),
        Writes(1),
        rows={"project": 1, "slug": "new", "tenant": "zeta", "author": "zoe"},
    ),
    Form(
        "insert many", lambda: insert(Note), Writes(2), rows=[{"project": 1, "slug": "x"}, {"project": 2, "slug": "y"}]
    ),
    Form(
        "insert many, forged",
        lambda: insert(Note),
        Writes(2),
        rows=[{"project": 1, "slug": "x", "author": "bob"}, {"project": 2, "slug": "y", "author": "zoe"}],
    ),
    Form(
        "insert many, one forbidden",
        lambda: insert(Note),
        FORBIDDEN,
        rows=[{"project": 1, "slug": "x", "level": 1}, {"project": 2, "slug": "y", "level": 7}],
    ),
    Form(
        "insert several rows of values",
        lambda: insert(Note).values([{"project": 1, "slug": "x"}, {"project": 2, "slug": "y"}]),
        Writes(2),
    ),
    Form(
        "insert several, one forbidden",
        lambda: insert(Note).values([{"project": 1, "slug": "x", "level": 1}, {"project": 2, "slug": "y", "level": 9}]),
        FORBIDDEN,
    ),
    Form("insert what the rule forbids", lambda: insert(Note).values(project=1, slug="new", level=5), FORBIDDEN),
    Form(
        "insert it as an expression",
        lambda: insert(Note).values(project=1, slug="new", level=literal(2) + 3),
        FORBIDDEN,
    ),
    Form(
        "insert it as a subquery",
        lambda: insert(Note).values(project=1, slug="new", level=select(func.max(Note.level)).scalar_subquery()),
        FORBIDDEN,
    ),
    Form(
        "insert it as text", lambda: insert(Note).values(project=1, slug="new", level=type_coerce("7", Integer)), BROKEN
    ),
    Form(
        "insert a foreign value",
        lambda: insert(Note).values(project=1, slug="new", text=select(n.text).where(n.id == 3).scalar_subquery()),
        BROKEN,
    ),
    Form("insert NULL", lambda: insert(Note).values(project=1, slug="new", topic_id=null()), Writes(1)),
    Form(
        "insert a hidden field of one's own", lambda: insert(Note).values(project=1, slug="new", secret="s"), Writes(1)
    ),
    Form(
        "insert and return",
        lambda: insert(Note).values(project=1, slug="new", secret="s").returning(Note.author, Note.secret),
        Reads([("ann", "s")]),
    ),
    Form(
        "insert what is copied from another column",
        lambda: insert(Note).values(project=1, slug="new", text=from_dml_column(notes.c.slug)),
        Writes(1),
    ),
    Form(
        "insert from select",
        lambda: insert(Note).from_select(["project", "slug"], select(Note.project, Note.slug + "'s copy")),
        Writes(3),
    ),
    Form(
        "insert from select of what is hidden",
        lambda: insert(Note).from_select(
            ["project", "slug", "secret"], select(Note.project, Note.slug + "+", Note.secret)
        ),
        Writes(3),
    ),
    Form(
        "insert from select, forged",
        lambda: insert(Note).from_select(
            ["project", "slug", "author", "tenant"], select(Topic.id, Topic.name, literal("bob"), literal("zeta"))
        ),
        Writes(2),
    ),
    Form(
        "insert from select, forbidden",
        lambda: insert(Note).from_select(
            ["project", "slug", "level"], select(Note.project, Note.slug + "!", Note.level)
        ),
        FORBIDDEN,
    ),
    Form(
        "insert from select, ordered and limited",
        lambda: insert(Note).from_select(
            ["project", "slug", "level"], select(Note.project, Note.slug + "!", Note.level).order_by(Note.id).limit(1)
        ),
        Writes(1),
    ),
    Form(
        "insert from a union",
        lambda: insert(Note).from_select(
            ["project", "slug"],
            union_all(select(Topic.id, Topic.name), select(literal(1), literal("z"))),
            include_defaults=False,
        ),
        BROKEN,
    ),
    Form(
        "insert from a CTE",
        lambda: insert(Note).from_select(
            ["project", "slug"],
            (lambda c: select(c.c.project, c.c.slug + "@"))(select(Note.project, Note.slug).cte("own")),
        ),
        Writes(3),
    ),
    Form("insert into a table of chiefs", lambda: insert(Member).values(person="ann", project=2), FORBIDDEN),
    Form(
        "insert into a table of chiefs, unseen",
        lambda: insert(Member).values(person="ann", project=2).returning(Member.id),
        FORBIDDEN,
    ),
    Form(
        "insert into an owner's table",
        lambda: insert(Diary).values(keeper="bob", page="x").returning(Diary.keeper),
        Reads(["ann"]),
    ),
    Form("insert into a shared table", lambda: insert(Topic).values(name="bread"), Writes(1)),
    Form("insert into a lightweight table", lambda: insert(light).values(id=9, text="x", tenant="zeta"), REFUSED),
    Form("insert nothing", lambda: insert(Note).values({}), BROKEN),
    Form(
        "INSERT OR REPLACE", lambda: insert(Note).prefix_with("OR REPLACE").values(id=3, project=1, slug="new"), REFUSED
    ),
    Form("insert as a taken key", lambda: insert(Note).values(id=3, project=1, slug="new"), BROKEN),
    Form("update one's own", lambda: update(Note).where(Note.id == 1).values(text="new"), Writes(1)),
    Form("update everything", lambda: update(Note).values(text="new"), FORBIDDEN),
    Form(
        "update all of one's own",
        lambda: update(Note).where(Note.author == "ann", Note.level < 5).values(text="new"),
        Writes(1),
    ),
    Form("update what is only read", lambda: update(Note).where(Note.id == 2).values(text="new"), FORBIDDEN),
    Form("update what is closed", lambda: update(Note).where(Note.id == 5).values(text="new"), FORBIDDEN),
    Form("update a foreign row", lambda: update(Note).where(Note.id == 3).values(text="new"), MISSING),
    Form("update another tenant's row", lambda: update(Note).where(Note.id == 4).values(text="new"), MISSING),
    Form("update a missing row", lambda: update(Note).where(Note.id == 999).values(text="new"), MISSING),
    Form(
        "update by a unique value", lambda: update(Note).where(Note.slug == "FOREIGN third").values(text="new"), MISSING
    ),
    Form(
        "update rows by key, all one's own",
        lambda: update(Note).where(Note.id.in_([1, 1])).values(text="new"),
        Writes(1),
    ),
    Form(
        "update rows by key, one foreign", lambda: update(Note).where(Note.id.in_([1, 3])).values(text="new"), MISSING
    ),
    Form(
        "update rows by key, one only read",
        lambda: update(Note).where(Note.id.in_([1, 2])).values(text="new"),
        FORBIDDEN,
    ),
    Form(
        "update foreign rows broadly", lambda: update(Note).where(Note.tenant == "zeta").values(text="new"), Writes(0)
    ),
    Form(
        "compare and set that meets",
        lambda: update(Note).where(Note.id == 1, Note.level == 1).values(level=2),
        Writes(1),
    ),
    Form(
        "compare and set that does not",
        lambda: update(Note).where(Note.id == 1, Note.level == 3).values(level=2),
        Writes(0),
    ),
    Form(
        "compare and set of a foreign row",
        lambda: update(Note).where(Note.id == 3, Note.level == 9).values(level=2),
        MISSING,
    ),
    Form("update beyond the rule", lambda: update(Note).where(Note.id == 1).values(level=5), FORBIDDEN),
    Form(
        "update beyond the rule by an expression",
        lambda: update(Note).where(Note.id == 1).values(level=Note.level + 4),
        FORBIDDEN,
    ),
    Form(
        "update beyond the rule by a subquery",
        lambda: update(Note).where(Note.id == 1).values(level=select(func.max(n.level)).scalar_subquery()),
        FORBIDDEN,
    ),
    Form(
        "update to the edge of the rule",
        lambda: update(Note).where(Note.id == 1).values(level=Note.level + 3),
        Writes(1),
    ),
    Form(
        "update several fields beyond the rule",
        lambda: update(Note).where(Note.id == 1).values(text="x", level=6, project=3),
        FORBIDDEN,
    ),
    Form("update NULL", lambda: update(Note).where(Note.id == 1).values(topic_id=None, secret=null()), Writes(1)),
    Form("update the owner", lambda: update(Note).where(Note.id == 1).values(author="bob"), REFUSED),
    Form("update the tenant", lambda: update(Note).where(Note.id == 1).values(tenant="zeta"), REFUSED),
    Form("update the tenant by parameter", lambda: update(Note).where(Note.id == 1), REFUSED, rows={"tenant": "zeta"}),
    Form(
        "update the tenant by a made-up column",
        lambda: update(Note).where(Note.id == 1).values({column("tenant"): "zeta"}),
        REFUSED,
    ),
    Form("update a hidden field", lambda: update(Note).where(Note.id == 1).values(secret="new"), Writes(1)),
    Form(
        "update a field to a hidden one",
        lambda: update(Note).where(Note.id == 1).values(text=select(n.secret).where(n.id == 2).scalar_subquery()),
        BROKEN,
    ),
    Form(
        "update where a hidden field says",
        lambda: update(Note).where(Note.secret.like("HIDDEN%")).values(text="new"),
        Writes(0),
    ),
    Form(
        "update and return",
        lambda: update(Note).where(Note.id == 1).values(text="new").returning(Note.id, Note.text),
        Reads([(1, "new")]),
    ),
    Form(
        "update and return a hidden field",
        lambda: update(Note).where(Note.author == "ann", Note.level < 5).values(text="new").returning(Note.secret),
        Reads(["my secret"]),
    ),
    Form(
        "update and return a made-up hidden field",
        lambda: update(Note).where(Note.id == 1).values(text="x").returning(column("secret")),
        REFUSED,
    ),
    Form(
        "update and return an alias's field",
        lambda: update(Note).where(Note.id == 1).values(text="x").returning(n.secret),
        REFUSED,
    ),
    Form(
        "update and return the whole row",
        lambda: update(Note).where(Note.id == 1).values(text="x").returning(column("note")),
        REFUSED,
    ),
    Form(
        "update where a made-up hidden field says",
        lambda: update(Note).where(Note.id == 1, column("secret") == "x").values(text="x"),
        REFUSED,
    ),
    Form(
        "update many",
        lambda: update(Note).where(Note.id == bindparam("it")).values(text=bindparam("new")),
        Writes(1),
        rows=[{"it": 1, "new": "x"}],
    ),
    Form(
        "update many, one foreign",
        lambda: update(Note).where(Note.id == bindparam("it")).values(text=bindparam("new")),
        MISSING,
        rows=[{"it": 1, "new": "x"}, {"it": 3, "new": "y"}],
    ),
    Form(
        "update many, one only read",
        lambda: update(Note).where(Note.id == bindparam("it")).values(text=bindparam("new")),
        FORBIDDEN,
        rows=[{"it": 1, "new": "x"}, {"it": 2, "new": "y"}],
    ),
    Form(
        "update many beyond the rule",
        lambda: update(Note).where(Note.id == bindparam("it")).values(level=bindparam("new")),
        FORBIDDEN,
        rows=[{"it": 1, "new": 2}, {"it": 1, "new": 8}],
    ),
    Form(
        "update from another table",
        lambda: update(Note).where(Note.topic_id == Topic.id, Note.id == 1).values(text=Topic.name),
        Writes(1),
    ),
    Form(
        "update from another table, foreign",
        lambda: (
            update(Note).where(Note.topic_id == Topic.id, Topic.id == 2, Note.tenant == "zeta").values(text=Topic.name)
        ),
        Writes(0),
    ),
    Form(
        "update from a guarded table",
        lambda: update(Topic).where(Topic.id == Note.topic_id, Note.tenant == "zeta").values(name="x"),
        Writes(0),
    ),
    Form("update from itself", lambda: update(Note).where(Note.id == 1, n.id == 3).values(text=n.text), Writes(0)),
    Form(
        "update where a rule's table is joined",
        lambda: update(Note).where(Note.id == 3, Member.id == 1).values(text="x"),
        MISSING,
    ),
    Form(
        "update where a subquery says",
        lambda: update(Note).where(Note.id.in_(select(n.id).where(n.level < 5, n.author == "ann"))).values(text="x"),
        Writes(1),
    ),
    Form(
        "update a shared table by a foreign row",
        lambda: update(Topic).where(exists().where(Note.id == 3)).values(name="x"),
        Writes(0),
    ),
    Form(
        "update a shared table by a hidden field",
        lambda: update(Topic).values(
            name=select(func.coalesce(func.max(Note.secret), "-")).where(Note.id == 2).scalar_subquery()
        ),
        Writes(2),
    ),
    Form("update an alias", lambda: update(notes.alias("x")).values(text="x"), REFUSED),
    Form("update a lightweight table", lambda: update(light).where(light.c.id == 3).values(text="x"), REFUSED),
    Form(
        "update another table object of its name",
        lambda: update(Table("note", MetaData(), Column("text", String))).values(text="x"),
        REFUSED,
    ),
    Form("update a table of chiefs", lambda: update(Member).where(Member.id == 1).values(project=2), FORBIDDEN),
    Form(
        "update in order",
        lambda: update(Note).where(Note.id == 1).ordered_values((Note.level, 2), (Note.text, "x")),
        Writes(1),
    ),
    Form("update with OR true", lambda: update(Note).where(or_(Note.id == 1, true())).values(text="x"), FORBIDDEN),
    Form("delete one's own", lambda: delete(Note).where(Note.id == 1), Writes(1)),
    Form("delete everything", lambda: delete(Note), FORBIDDEN),
    Form("delete what is only read", lambda: delete(Note).where(Note.id == 2), FORBIDDEN),
    Form("delete a foreign row", lambda: delete(Note).where(Note.id == 3), MISSING),
    Form("delete a missing row", lambda: delete(Note).where(Note.id == 999), MISSING),
    Form("delete rows by key, one foreign", lambda: delete(Note).where(Note.id.in_([1, 4])), MISSING),
    Form("delete foreign rows broadly", lambda: delete(Note).where(Note.tenant == "zeta"), Writes(0)),
    Form("delete by a hidden field", lambda: delete(Note).where(Note.secret.like("HIDDEN%")), Writes(0)),
    Form(
        "delete using another table", lambda: delete(Note).where(Note.topic_id == Topic.id, Note.id == 1), Writes(1), PG
    ),
    Form("delete using, foreign", lambda: delete(Topic).where(Topic.id == Note.topic_id, Note.id == 3), Writes(0), PG),
    Form("delete and return", lambda: delete(Note).where(Note.id == 1).returning(Note.secret), Reads(["my secret"])),
    Form("delete an owner's row", lambda: delete(Diary).where(Diary.id == 2), MISSING),
    Form("delete a lightweight table", lambda: delete(light), REFUSED),
    Form("delete many", lambda: delete(Note).where(Note.id == bindparam("it")), MISSING, rows=[{"it": 1}, {"it": 4}]),
    Form(
        "CTE that updates",
        lambda: select(update(Note).where(Note.id.in_([1, 3])).values(text="x").returning(Note.id).cte("u").c.id),
        REFUSED,
        PG,
    ),
    Form(
        "CTE that deletes",
        lambda: select(delete(Note).where(Note.level < 5).returning(Note.id).cte("d").c.id),
        REFUSED,
        PG,
    ),
    Form(
        "CTE that inserts",
        lambda: select(
            insert(Note).values(project=1, slug="new", author="bob").returning(Note.author).cte("i").c.author
        ),
        Reads(["ann"]),
        PG,
    ),
    Form(
        "CTE that inserts what is forbidden",
        lambda: select(insert(Note).values(project=1, slug="new", level=8).returning(Note.author).cte("i").c.author),
        FORBIDDEN,
        PG,
    ),
    Form(
        "CTE that updates beyond the rule",
        lambda: select(update(Note).where(Note.id == 1).values(level=8).returning(Note.id).cte("u").c.id),
        REFUSED,
        PG,
    ),
    Form(
        "insert from a CTE that deletes",
        lambda: insert(label).from_select(
            ["note_id", "word"],
            (lambda c: select(c.c.id, literal("gone")))(delete(Note).where(Note.level < 5).returning(Note.id).cte("d")),
        ),
        REFUSED,
        PG,
    ),
    *(
        form
        for db in (PG, LITE)
        for form in (
            Form(
                f"{db}: upsert of a new row",
                lambda db=db: (
                    upsert(db)
                    .values(project=1, slug="new")
                    .on_conflict_do_update(index_elements=["slug"], set_={"text": "x"})
                ),
                Writes(1),
                db,
            ),
            Form(
                f"{db}: upsert of one's own",
                lambda db=db: (
                    upsert(db)
                    .values(project=1, slug="first")
                    .on_conflict_do_update(index_elements=["slug"], set_={"text": "x"})
                ),
                Writes(1),
                db,
            ),
            Form(
                f"{db}: upsert and return",
                lambda db=db: (
                    upsert(db)
                    .values(project=1, slug="first")
                    .on_conflict_do_update(index_elements=["slug"], set_={"text": "x"})
                    .returning(Note.id, Note.secret)
                ),
                Reads([(1, "my secret")]),
                db,
            ),
            Form(
                f"{db}: upsert takes a foreign row",
                lambda db=db: (
                    upsert(db)
                    .values(id=3, project=1, slug="q")
                    .on_conflict_do_update(index_elements=["id"], set_={"text": "x"})
                ),
                FORBIDDEN,
                db,
            ),
            Form(
                f"{db}: upsert takes what is only read",
                lambda db=db: (
                    upsert(db)
                    .values(id=2, project=1, slug="q")
                    .on_conflict_do_update(index_elements=["id"], set_={"text": "x"})
                ),
                FORBIDDEN,
                db,
            ),
            Form(
                f"{db}: upsert asks about a foreign row",
                lambda db=db: (
                    upsert(db)
                    .values(id=3, project=1, slug="q")
                    .on_conflict_do_update(index_elements=["id"], set_={"text": "x"}, where=Note.level == 77)
                ),
                FORBIDDEN,
                db,
            ),
            Form(
                f"{db}: upsert whose condition does not hold",
                lambda db=db: (
                    upsert(db)
                    .values(id=1, project=1, slug="q")
                    .on_conflict_do_update(index_elements=["id"], set_={"text": "x"}, where=Note.level == 77)
                ),
                Writes(0),
                db,
            ),
            Form(
                f"{db}: upsert beyond the rule",
                lambda db=db: (
                    upsert(db)
                    .values(id=1, project=1, slug="q")
                    .on_conflict_do_update(index_elements=["id"], set_={"level": 9})
                ),
                FORBIDDEN,
                db,
            ),
            Form(
                f"{db}: upsert beyond the rule, as proposed",
                lambda db=db: (
                    lambda u: u.on_conflict_do_update(index_elements=["id"], set_={"level": u.excluded.level + 1})
                )(upsert(db).values(id=1, project=1, slug="q", level=4)),
                FORBIDDEN,
                db,
            ),
            Form(
                f"{db}: upsert that changes the owner",
                lambda db=db: (
                    upsert(db)
                    .values(id=1, project=1, slug="q")
                    .on_conflict_do_update(index_elements=["id"], set_={"author": "bob"})
                ),
                REFUSED,
                db,
            ),
            Form(
                f"{db}: upsert that changes the owner, in capitals",
                lambda db=db: (
                    upsert(db)
                    .values(id=1, project=1, slug="q")
                    .on_conflict_do_update(index_elements=["id"], set_={"AUTHOR": "bob"})
                ),
                REFUSED,
                db,
            ),
            Form(
                f"{db}: upsert of a hidden field",
                lambda db=db: (
                    lambda u: u.on_conflict_do_update(index_elements=["id"], set_={"secret": u.excluded.secret})
                )(upsert(db).values(id=1, project=1, slug="q", secret="s")),
                Writes(1),
                db,
            ),
            Form(
                f"{db}: upsert that shows a foreign field",
                lambda db=db: (
                    upsert(db)
                    .values(id=3, project=1, slug="q")
                    .on_conflict_do_update(index_elements=["id"], set_={"text": "x"})
                    .returning(Note.text)
                ),
                FORBIDDEN,
                db,
            ),
            Form(
                f"{db}: upsert that does nothing",
                lambda db=db: upsert(db).values(id=3, project=1, slug="q").on_conflict_do_nothing(),
                Writes(0),
                db,
            ),
            Form(
                f"{db}: upsert many",
                lambda db=db: (
                    lambda u: u.on_conflict_do_update(index_elements=["slug"], set_={"text": u.excluded.text})
                )(upsert(db)),
                Writes(2),
                db,
                rows=[{"project": 1, "slug": "first", "text": "a"}, {"project": 1, "slug": "new", "text": "b"}],
            ),
            Form(
                f"{db}: upsert many, one foreign",
                lambda db=db: (
                    lambda u: u.on_conflict_do_update(index_elements=["slug"], set_={"text": u.excluded.text})
                )(upsert(db)),
                FORBIDDEN,
                db,
                rows=[
                    {"project": 1, "slug": "first", "text": "a"},
                    {"project": 1, "slug": "FOREIGN third", "text": "b"},
                ],
            ),
            Form(
                f"{db}: upsert from select",
                lambda db=db: (
                    upsert(db)
                    .from_select(["project", "slug"], select(Note.project, Note.slug).where(Note.id == 1))
                    .on_conflict_do_update(index_elements=["slug"], set_={"text": "x"})
                ),
                Writes(1),
                db,
            ),
            Form(
                f"{db}: upsert of several rows",
                lambda db=db: (
                    upsert(db)
                    .values([{"project": 1, "slug": "first"}, {"project": 1, "slug": "FOREIGN third"}])
                    .on_conflict_do_update(index_elements=["slug"], set_={"text": "x"})
                ),
                FORBIDDEN,
                db,
            ),
        )
    ),
)

HOLES = (
    Form("text()", lambda: text("SELECT text FROM note"), REFUSED),
    Form("textual select", lambda: text("SELECT id FROM note").columns(column("id")), REFUSED),
    Form(
        "textual subquery", lambda: select(text("SELECT id FROM note").columns(column("id")).subquery().c.id), REFUSED
    ),
    Form("select from a text", lambda: select(literal(1)).select_from(text("note")), REFUSED),
    Form("text in WHERE", lambda: ids.where(text("1=1) OR (1=1")), REFUSED),
    Form("text in ORDER BY", lambda: ids.order_by(text("secret")), REFUSED),
    Form(
        "text as a prefix of SET",
        lambda: update(Note).where(Note.id == 1).values(text=text("(SELECT max(secret) FROM note)")),
        REFUSED,
    ),
    Form("literal_column", lambda: select(literal_column("(SELECT max(secret) FROM note)")), REFUSED),
    Form("literal column of a table", lambda: select(table("note", literal_column("id FROM note --")).c[0]), REFUSED),
    Form("column that is a literal", lambda: select(column("secret FROM note --", is_literal=True)), REFUSED),
    Form("star", lambda: select(literal_column("*")).select_from(Note), Reads(3)),
    Form(
        "update and return a star",
        lambda: update(Note).where(Note.id == 1).values(text="x").returning(literal_column("*")),
        REFUSED,
    ),
    Form("a table of nobody", lambda: select(table("alembic_version", column("version_num")).c[0]), REFUSED),
    Form("sqlite_master", lambda: select(table("sqlite_master", column("sql")).c.sql), REFUSED),
    Form("pg_catalog", lambda: select(table("pg_authid", column("rolname"), schema="pg_catalog").c.rolname), REFUSED),
    Form("pg_class without its schema", lambda: select(table("pg_class", column("relname")).c.relname), REFUSED),
    Form("the table in schema main", lambda: select(table("note", column("text"), schema="main").c.text), REFUSED),
    Form("the table in schema public", lambda: select(table("note", column("text"), schema="public").c.text), REFUSED),
    Form("the table in capitals", lambda: select(table("NOTE", column("id")).c.id), Reads(SEEN)),
    Form("an unknown function", lambda: select(func.pg_read_file("/etc/passwd")), REFUSED),
    Form("query_to_xml", lambda: select(func.query_to_xml("select * from note", True, True, "")), REFUSED),
    Form("load_extension", lambda: select(func.load_extension("x")), REFUSED),
    Form("pg_sleep", lambda: select(func.pg_sleep(10)), REFUSED),
    Form("set_config", lambda: select(func.set_config("a.b", "c", True)), REFUSED),
    Form("current_setting", lambda: select(func.current_setting("toque.forbidden")), REFUSED),
    Form("a function of a schema", lambda: select(func.pg_catalog.lower("A")), REFUSED),
    Form("a function with a text for a name", lambda: select(getattr(func, "lower('x') FROM note --")("y")), REFUSED),
    Form("row_to_json", lambda: select(func.row_to_json(column("note"))).select_from(notes), REFUSED),
    Form("toque's own function", lambda: select(func.toque_forbidden()), REFUSED),
    Form(
        "a table-valued unknown function",
        lambda: select(func.pragma_table_info("note").table_valued("name").c.name),
        REFUSED,
    ),
    Form("an unknown operator", lambda: ids.where(Note.id.op("= 1 OR 1 =")(1)), REFUSED),
    Form(
        "an unknown boolean operator", lambda: ids.where(Note.id.bool_op("IN (SELECT id FROM note) OR 1 =")(1)), REFUSED
    ),
    Form(
        "an unknown unary operator",
        lambda: select(ColumnElement.__neg__(Note.id)).where(Note.id.op("; --")(1)),
        REFUSED,
    ),
    Form("extract with a chosen field", lambda: select(extract("year FROM now()) FROM note --", func.now())), REFUSED),
    Form("extract with a chosen field, quoted", lambda: select(extract(quoted_name("x", False), func.now())), REFUSED),
    Form("prefix", lambda: ids.prefix_with("DISTINCT secret,"), REFUSED),
    Form("suffix", lambda: ids.suffix_with("UNION SELECT id FROM note"), REFUSED),
    Form("CTE prefix", lambda: select(ids.cte("c").prefix_with("NOT x").c.id), REFUSED),
    Form("CTE suffix", lambda: select(ids.cte("c").suffix_with("SEARCH x").c.id), REFUSED),
    Form("hint for a table", lambda: ids.with_hint(Note, "ONLY"), REFUSED),
    Form("hint for a statement", lambda: ids.with_statement_hint("/*+ x */"), REFUSED),
    Form("hint for an update", lambda: update(Note).values(text="x").with_hint("ONLY"), REFUSED),
    Form("cast to an own type", lambda: select(cast(literal("x"), _Evil())), REFUSED),
    Form(
        "cast to a type with a text for a collation",
        lambda: select(cast(literal("x"), String(collation='C" ) FROM note --'))),
        REFUSED,
    ),
    Form(
        "cast to a type with a text for a length",
        lambda: select(cast(literal("x"), String(length="1) FROM note --"))),
        REFUSED,
    ),  # type: ignore[arg-type]
    Form(
        "cast to an interval with chosen fields",
        lambda: select(cast(literal("1"), postgresql.INTERVAL(fields="x) FROM note --"))),
        REFUSED,
    ),
    Form(
        "cast to a variant",
        lambda: select(
            cast(literal("x"), String().with_variant(_Evil(), "postgresql").with_variant(_Evil(), "sqlite"))
        ),
        REFUSED,
    ),
    Form("cast to an array of an own type", lambda: select(cast(literal("x"), postgresql.ARRAY(_Evil()))), REFUSED, PG),
    Form("a value of an own type", lambda: select(literal("x", _EvilBind())), REFUSED, PG),
    Form("a value whose type calls a function", lambda: select(literal("x", _EvilDecorated())), REFUSED, LITE),
    Form("an unknown collation", lambda: ids.order_by(collate(Note.slug, 'C" , secret --')), REFUSED),
    Form(
        "a value written into the text", lambda: ids.where(Note.id == bindparam("x", 3, literal_execute=True)), REFUSED
    ),
    Form(
        "VALUES written into the text",
        lambda: select(values(column("v", Integer), name="v", literal_binds=True).data([(1,)]).c.v),
        REFUSED,
    ),
    Form("an element that writes itself", lambda: select(_Own()), REFUSED),
    Form("a fact", lambda: select(me.subject), REFUSED),
    Form("a fact with a value", lambda: ids.where(me.subject._with_value("bob") == "bob"), REFUSED),
    Form("a rule's fact", lambda: select(me.subject.known._with_value("bob")), REFUSED),
    Form("a parameter named like a fact", lambda: ids.where(Note.author == bindparam("me_subject_1", "bob")), REFUSED),
    Form("a parameter for a fact", lambda: ids, BROKEN, rows={"me_subject_1": "bob"}),
    Form("a parameter without a name", lambda: ids, BROKEN, rows={"": "bob"}),
    Form("the next number of a sequence", lambda: select(NumberSequence("note_id_seq").next_value()), REFUSED),
    Form("CREATE TABLE", lambda: CreateTable(Table("x", MetaData(), Column("id", Integer))), REFUSED),
    Form("DROP TABLE", lambda: DropTable(notes), REFUSED),
    Form("DDL", lambda: DDL("DROP TABLE note"), REFUSED),
    Form(
        "JSON path of a client",
        lambda: select(type_coerce(Note.text, JSON)["a'] FROM note --"].as_string()).where(false()),
        Reads([]),
        LITE,
    ),
    Form("LIKE with a client's escape", lambda: ids.where(Note.text.like("x", escape="'")), Reads([])),
    Form(
        "regular expression with a client's flags",
        lambda: ids.where(Note.text.regexp_match("x", flags="') OR true --")),
        BROKEN,
        PG,
    ),
)

FORMS = (*READS, *WRITES, *HOLES)
