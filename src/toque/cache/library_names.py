"""What is known of the names of libraries: which of them answer the same again, and which do not."""

from __future__ import annotations

__all__ = ["CLOCKS", "CONSTANT", "LIBRARIES", "MOVING", "SESSIONS", "STILL"]

LIBRARIES = frozenset(
    """
    abc attrs attr base64 bisect builtins collections contextlib copy dataclasses decimal enum fractions functools
    hashlib heapq html inspect itertools json logging math msgspec numbers operator pydantic pydantic_core re
    sqlalchemy statistics string struct textwrap toque types typing typing_extensions unicodedata warnings zlib
    _bisect _collections _collections_abc _decimal _functools _heapq _json _operator _statistics _struct _weakrefset
    annotated_types asyncio datetime uuid zoneinfo
    """.split()  # noqa: SIM905 - a list of words is read more easily so
)
"""Whose functions answer the same again for the same arguments, but for those below."""

MOVING = {
    "datetime": {"now", "utcnow", "today", "fromtimestamp"},
    "uuid": {"uuid1", "uuid4", "uuid6", "uuid7", "uuid8", "getnode"},
    "builtins": {"open", "input", "eval", "exec", "compile", "__import__", "globals", "locals", "vars", "id", "hash"},
    "operator": {"attrgetter", "methodcaller"},
    "functools": {"dispatch"},
    "inspect": {"stack", "currentframe"},
    "logging": set(),
    "sqlalchemy": {"create_engine", "create_async_engine", "engine_from_config", "async_engine_from_config"},
    "toque": {"HttpClient", "CURRENT"},
}
"""Names of theirs that answer otherwise each time: the clock, chance, files, the network, memory. Where
`functools.singledispatch` sends a call, nobody looks."""

STILL = {
    "asyncio": {"CancelledError", "TaskGroup", "TimeoutError", "create_task", "gather", "shield", "sleep", "to_thread"},
}
"""Of a library that does much with the world, the names that do not. What waits for so long, or for whoever comes
first, lets the clock decide what the answer is."""

CLOCKS = frozenset({"astimezone", "fromtimestamp", "now", "today", "utcnow"})
"""Attributes that tell the time, or the place, wherever they are found: an object's class is not in the code."""

CONSTANT = frozenset(
    """
    dataclasses datetime decimal fractions logging re sqlalchemy typing uuid zoneinfo
    """.split()  # noqa: SIM905 - as above
)
"""Whose objects nobody changes, but for those below."""

SESSIONS = ("sqlalchemy.engine", "sqlalchemy.orm.session", "sqlalchemy.orm.scoping", "sqlalchemy.ext.asyncio")
"""Where SQLAlchemy's classes are that have a database behind them."""
