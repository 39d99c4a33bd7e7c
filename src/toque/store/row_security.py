"""PostgreSQL's own wall around sensitive tables: row level security, from the rules that the models declare.

The guarded compiler puts a table's rules into every statement. Behind it the server applies the same rules to whatever
statement reaches a sensitive table. It learns who is calling from two settings that end with the transaction, so
nothing stays on a connection for whoever has it next, with or without a pooler between:

- `toque.caller`: a JSON document about the principal. Unset, every fact is NULL or false.
- `toque.system`: `on` while the app works for itself.

What it does not do: columns hidden from a caller are the compiler's affair, because PostgreSQL has no such rule; and a
role that may run any SQL may set the settings too. Where a statement names columns, PostgreSQL wants a changed row to
be one that its author may still read (manual, "CREATE POLICY"), which the compiler does not ask for.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import sha256
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
from sqlalchemy.sql.visitors import iterate

from toque.store.dialects import postgresql
from toque.store.facts import About, Fact
from toque.store.rule_sql import RuleWriter, sensitive

if TYPE_CHECKING:
    from sqlalchemy import MetaData

    from toque.contract.principal import Principal
    from toque.store.prepared import Prepared
    from toque.store.rows import Guarded

__all__ = ["SYSTEM", "SYSTEM_ON", "Caller", "Enforced", "closed", "enforced", "freed", "put_up"]

SYSTEM = "toque.system"
SYSTEM_ON = f"SELECT set_config('{SYSTEM}', 'on', true)"
"""What the app's own work begins with, in its transaction."""

ACTIONS = ("read", "insert", "change", "delete")

# In a subquery of its own, a setting is read once for a statement and not for each row.
_IS_SYSTEM = "(SELECT current_setting('toque.system', true) = 'on')"
_CALLER = "nullif(current_setting('toque.caller', true), '')::jsonb"


class Enforced(NamedTuple):
    """The rules of one table as conditions in SQL, without a word of the app's own work."""

    read: str
    insert: str
    change: str
    delete: str
    apart: tuple[str, ...] = ()
    """The rules that read other sensitive tables (or this one). They are evaluated in a function for which these
    tables' own rules are off, as in the compiler; otherwise a table that reads itself would never end."""

    @property
    def digest(self) -> str:
        """What tells one set of rules from another."""
        return sha256(msgspec.json.encode(self)).hexdigest()[:16]


def enforced(metadata: MetaData) -> dict[str, Enforced]:
    """For each sensitive table of *metadata*, by its name in SQL, what the database is to enforce.

    Raises: TypeError where a rule cannot be written as SQL.
    """
    guards = sensitive(metadata)
    names = {guard.table.name for guard in guards}
    return {_name(guard): _enforced(guard, names) for guard in guards}


def _enforced(guard: Guarded, names: set[str]) -> Enforced:
    writer = RuleWriter(postgresql(), _write_fact)
    rules = {action: writer.write(getattr(guard, action), guard.table) for action in ACTIONS}
    apart = tuple(action for action, rule in rules.items() if rule.reads & names)
    return Enforced(**{action: rule.text for action, rule in rules.items()}, apart=apart)


def _name(guard: Guarded) -> str:
    return postgresql().identifier_preparer.format_table(guard.table)


# From facts to SQL.


def _write_fact(fact: Fact) -> str:
    names = ", ".join(map(_quoted, fact.names))
    value = _FACTS[fact.about].format(caller=_CALLER, names=names)
    if fact.about == "claim":
        sql_type = fact.type.dialect_impl(postgresql()).compile(dialect=postgresql())
        return f"(SELECT ({value})::{sql_type})"
    return f"(SELECT {value})"


_FACTS: dict[About, str] = {
    "subject": "{caller} ->> 'subject'",
    "tenant": "{caller} ->> 'tenant'",
    "authenticated": "{caller} ->> 'subject' IS NOT NULL",
    "role": "coalesce({caller} -> 'roles' ?| ARRAY[{names}], false)",
    "scope": "coalesce({caller} -> 'scopes' ?| ARRAY[{names}], false)",
    "claim": "{caller} -> 'claims' ->> {names}",
}


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


class Caller:
    """Tells the server who is calling.

    Args:
        guards: the sensitive tables; of a principal's claims only those that their rules ask for are told.
    """

    system_on = SYSTEM_ON
    system_off = "SELECT set_config('toque.system', '', true)"

    def __init__(self, guards: Sequence[Guarded]) -> None:
        self._tables = tuple(guard.table.name.lower() for guard in guards)
        self._claims = sorted({name for guard in guards for name in _claims(guard)})

    def concerns(self, prepared: Prepared) -> bool:
        """Whether *prepared* can meet a sensitive table: a text that never says its name cannot."""
        if prepared.is_sensitive is None:
            text = prepared.sql.lower()
            prepared.is_sensitive = any(name in text for name in self._tables)
        return prepared.is_sensitive

    def told(self, principal: Principal) -> str:
        """The statement that says so until the transaction ends.

        It joins the BEGIN in one text, which cannot have arguments. So the document is written in hexadecimal: nothing
        in it can be read as SQL.
        """
        known = {"subject": principal.subject, "tenant": principal.tenant}
        document = {
            **{name: value for name, value in known.items() if value},
            "roles": sorted(principal.roles),
            "scopes": sorted(principal.scopes),
            "claims": {name: principal.claims[name] for name in self._claims if name in principal.claims},
        }
        digits = msgspec.json.encode(document).hex()
        return f"SELECT set_config('toque.caller', convert_from(decode('{digits}', 'hex'), 'UTF8'), true)"


def _claims(guard: Guarded) -> Iterable[str]:
    for action in ACTIONS:
        for element in iterate(getattr(guard, action)):
            if isinstance(element, Fact) and element.about == "claim":
                yield element.names[0]


# From rules to statements.


def put_up(table: str, rules: Enforced) -> list[str]:
    """The statements after which the server enforces *rules* on *table*, whatever it enforced before.

    Source: PostgreSQL's manual, "Row Security Policies" and "CREATE POLICY". A command that has no policy is refused,
    so nothing is open between these statements either.
    """
    sees, inserts, changes, deletes = (_condition(action, table, rules) for action in ACTIONS)
    return [
        f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY",
        f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY",
        *_forget(table),
        *(_function(action, table, rules) for action in rules.apart),
        f"CREATE POLICY toque_read ON {table} FOR SELECT USING ({_IS_SYSTEM} OR {sees})",
        f"CREATE POLICY toque_insert ON {table} FOR INSERT WITH CHECK ({_IS_SYSTEM} OR {inserts})",
        f"CREATE POLICY toque_change ON {table} FOR UPDATE "
        f"USING ({_IS_SYSTEM} OR ({sees} AND {changes})) WITH CHECK ({_IS_SYSTEM} OR {changes})",
        f"CREATE POLICY toque_delete ON {table} FOR DELETE USING ({_IS_SYSTEM} OR ({sees} AND {deletes}))",
        f"COMMENT ON POLICY toque_read ON {table} IS '{rules.digest}'",
    ]


def closed(table: str) -> list[str]:
    """The statements after which *table* has no rules, which closes it to all."""
    return _forget(table)


def freed(table: str) -> list[str]:
    """The statements after which the server enforces nothing on *table* any more."""
    return [
        *_forget(table),
        f"ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY",
        f"ALTER TABLE {table} DISABLE ROW LEVEL SECURITY",
    ]


def _forget(table: str) -> list[str]:
    policies = [f"DROP POLICY IF EXISTS toque_{action} ON {table}" for action in ACTIONS]
    return policies + [f"DROP FUNCTION IF EXISTS toque_may_{action}({table})" for action in ACTIONS]


def _condition(action: str, table: str, rules: Enforced) -> str:
    if action in rules.apart:
        # The row as a whole; written like this it cannot be taken for a column of the table's name.
        return f"toque_may_{action}({table}.*)"
    text: Any = getattr(rules, action)
    return f"({text})"


def _function(action: str, table: str, rules: Enforced) -> str:
    """The function that answers with the system let through, for this one question.

    Its switch is turned by hand: a setting of our own in the function's SET clause is a superuser's right (PostgreSQL's
    manual, "Customized Options"), and migrations run as the owner. An error undoes it as it undoes all else.
    """
    alias = table.rpartition(".")[2]
    holds = f"SELECT {getattr(rules, action)} FROM (SELECT ($1).*) AS {alias}"  # noqa: S608 - the model's own words
    return (
        f"CREATE FUNCTION toque_may_{action}({table}) RETURNS boolean LANGUAGE plpgsql STABLE "
        "SET search_path FROM CURRENT AS $toque$\n"
        "#variable_conflict use_column\n"
        f"DECLARE toque_before text := coalesce(current_setting('{SYSTEM}', true), ''); toque_holds boolean;\n"
        f"BEGIN PERFORM set_config('{SYSTEM}', 'on', true);\n"
        f"toque_holds := coalesce(({holds}), false);\n"
        f"PERFORM set_config('{SYSTEM}', toque_before, true);\n"
        "RETURN toque_holds; END $toque$"
    )
