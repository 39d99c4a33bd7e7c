"""Tests of an app's access rules, made from the app itself: every pair that nobody declared is refused.

    from app import app
    from toque.testing import access_matrix

    test_access = access_matrix(app)

Each operation is called over each transport by nobody, by a stranger without roles, by each role and scope of its rule,
and by the same of another tenant. Its rule says who may; anybody else hears the same refusal everywhere. No answer may
show a row of another tenant or owner. Then each guarded table is tried: each action, on a row of the caller's own, of
another owner and of another tenant.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any

from toque.contract.principal import ANONYMOUS, Principal
from toque.settings import Settings
from toque.testing.harness import Harness, running
from toque.testing.samples import input_of
from toque.testing.ways_in import WAYS_IN, Heard

if TYPE_CHECKING:
    from toque.app import App
    from toque.call.plan import Plan

__all__ = ["access_matrix"]

TENANT, OTHER_TENANT = "matrix-north", "matrix-south"
SUBJECT = "matrix-ana"


def access_matrix(
    app: App,
    *,
    may: Mapping[type | str, Collection[str]] | None = None,
    rows: Mapping[type | str, Mapping[str, Any]] | None = None,
    inputs: Mapping[str, Mapping[str, Any]] | None = None,
    shows: Collection[str] = (),
    settings: Settings | None = None,
    database_url: str = "",
) -> Callable[[str], None]:
    """A test for pytest, with one case for each operation and each guarded table of *app*.

    Args:
        may: for a model, or a table's name, what its rules allow beyond its columns of tenant and owner:
            `{Note: {"read by another owner"}}`.
            The failure of a case says the words to add where they are meant.
        rows: for a model, or a table's name, values that its rows need, where a CHECK wants more than the types say.
        inputs: for an operation's name, inputs to call it with; what is not given is made from its types.
        shows: operations that are meant to show rows of other tenants and owners.
        settings: as for `running`.
        database_url: as for `running`.
    """
    import pytest

    cases = [name for name, _ in _operations(app, settings)] + [f"rows of {name}" for name in _guarded(app)]

    @pytest.mark.parametrize("case", cases)
    def test_access(case: str) -> None:
        async def run() -> list[str]:
            async with running(app, settings=settings, database_url=database_url) as harness:
                if case.startswith("rows of "):
                    from toque.testing.row_matrix import rows_of

                    return await rows_of(harness, case.removeprefix("rows of "), may or {}, rows or {})
                return await _operation(harness, case, (inputs or {}).get(case, {}), rows or {}, case in shows)

        wrong = asyncio.run(run())
        assert not wrong, "\n".join([f"{case}:", *wrong])

    return test_access


def _operations(app: App, settings: Settings | None) -> list[tuple[str, Plan]]:
    return list(app.serve(settings or Settings()).system.plans.items())


def _guarded(app: App) -> list[str]:
    if app.metadata is None:
        return []
    from toque.store.rows import Guarded, declared

    return [table.name for table in app.metadata.sorted_tables if isinstance(declared(table), Guarded)]


def callers(plan: Plan) -> dict[str, Principal]:
    """Who calls an operation: nobody, a stranger, whoever its rule names, and the same of another tenant."""
    rule = plan.operation.allow
    roles: frozenset[str] = frozenset() if rule is None else rule.roles
    scopes: frozenset[str] = frozenset() if rule is None else rule.scopes

    def one(tenant: str = TENANT, **facts: Any) -> Principal:
        return Principal(subject=SUBJECT, tenant=tenant, **facts)

    return {
        "nobody": ANONYMOUS,
        "a stranger": one(roles=frozenset({"matrix-stranger"}), scopes=frozenset({"matrix-stranger"})),
        **{f"role {role}": one(roles=frozenset({role})) for role in sorted(roles)},
        **{f"scope {scope}": one(scopes=frozenset({scope})) for scope in sorted(scopes)},
        "all roles and scopes": one(roles=roles, scopes=scopes),
        "all roles and scopes of another tenant": one(OTHER_TENANT, roles=roles, scopes=scopes),
    }


async def _operation(
    harness: Harness, name: str, given: Mapping[str, Any], rows: Mapping[type | str, Mapping[str, Any]], may_show: bool
) -> list[str]:
    """What is wrong with the access to one operation."""
    plan = harness.serving.system.plans[name]
    inputs = {found.name: input_of(found.type) for found in plan.signature.inputs if found.is_required}
    inputs.update(given)
    marks: list[bytes] = []
    if not may_show and harness.serving.app.metadata is not None:
        from toque.testing.row_matrix import plant

        marks = await plant(harness, rows)
    wrong = []
    for who, principal in callers(plan).items():
        expected = _refusal(plan, principal, inputs)
        for transport, call in WAYS_IN.items():
            heard = await call(harness, name, inputs, principal)
            problem = None if heard is None else _problem(heard, expected, marks)
            wrong += [f"  {who} over {transport} {problem}"] if problem else []
    return wrong


def _refusal(plan: Plan, principal: Principal, inputs: Mapping[str, Any]) -> str:
    """The code that *principal* has to hear; empty where the rule lets it in."""
    rule = plan.operation.allow
    assert rule is not None, "an operation without a rule does not start"
    try:
        is_allowed = rule.test(principal, inputs)
    except Exception:
        # A predicate that cannot look at these inputs lets nobody in.
        is_allowed = False
    if is_allowed:
        return ""
    return "forbidden" if principal.is_authenticated else "unauthenticated"


def _problem(heard: Heard, expected: str, marks: list[bytes]) -> str:
    if expected and heard.code == "ok":
        return f"is let in, and the rule says {expected}"
    # HTTP may find what is no request at all before it asks who sends it.
    if expected and heard.code not in (expected, "invalid"):
        return f"hears {heard.code}, and the rule says {expected}"
    shown = next((mark for mark in marks if mark in heard.content), None)
    return "" if shown is None else "is shown a row of somebody else; name it in shows= if that is meant"
