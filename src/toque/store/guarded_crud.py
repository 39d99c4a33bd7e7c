"""The columns and values of a write, as SQLAlchemy's own compiler collects them, with the rules added."""

from __future__ import annotations

from types import FunctionType
from typing import Any

from sqlalchemy.sql import compiler as stock
from sqlalchemy.sql import crud

from toque.store.guard import refuse, written_table
from toque.store.rows import Guarded

__all__ = ["visit_insert", "visit_update"]


class _Crud:
    """What SQLAlchemy's `visit_insert` and `visit_update` call for their columns and values, with the rules added."""

    @staticmethod
    def _get_crud_params(compiler: Any, statement: Any, state: Any, toplevel: bool, **kw: Any) -> Any:
        params = crud._get_crud_params(compiler, statement, state, toplevel, **kw)
        rules = None if compiler.trusted else compiler.rules_for(statement)
        # The rules were chosen before SQLAlchemy said where the statement goes.
        if rules is not None and written_table(statement) is not statement.table._deannotate():
            refuse(f"a statement writes {statement.table.name!r} and says that it does not.", "Leave its notes alone.")
        if not isinstance(rules, Guarded):
            return params
        if state.isupdate:
            return params._replace(single_params=compiler.checked_changes(rules, params.single_params))
        return compiler.marked_values(rules, statement, state, params)


def _with_rules(method: Any) -> Any:
    """SQLAlchemy's own *method*, with `_Crud` in the place of the module that it calls by this name."""
    changed = FunctionType(method.__code__, {**method.__globals__, "crud": _Crud}, method.__name__)
    changed.__defaults__, changed.__kwdefaults__ = method.__defaults__, method.__kwdefaults__
    return changed


visit_insert = _with_rules(stock.SQLCompiler.visit_insert)
visit_update = _with_rules(stock.SQLCompiler.visit_update)
