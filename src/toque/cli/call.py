"""`toque call`: one operation from the shell, with the plan that every transport uses."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import msgspec
from msgspec import structs

from toque.call.context import Context
from toque.call.plan import Plan
from toque.call.receive import given
from toque.cli.failures import Failure
from toque.cli.operations import OperationName, Optional, Several, find_plan
from toque.cli.parameters import Target
from toque.cli.serve import settings_for
from toque.cli.target import load_app
from toque.codecs.codec import CODECS
from toque.codecs.problem import problem_document
from toque.contract import schema
from toque.contract.errors import Error
from toque.contract.principal import Principal
from toque.contract.signature import Place
from toque.contract.text import text_reader
from toque.serving import Serving

__all__ = ["call"]


def call(
    operation: OperationName,
    /,
    *inputs: str,
    app: Target = ".",
    sub: Optional = "",
    role: Several = (),
    scope: Several = (),
    tenant: Optional = "",
    idempotency_key: Optional = "",
) -> int:
    """Call OPERATION with inputs as key=value, and print its answer as JSON.

    It passes the same policies as over HTTP; you say who is calling. The fields of an object are given like
    inputs. A value that begins like JSON, with `{` or `[`, is read as JSON. A refusal is printed as a problem
    document, and the exit code is 1.

    - `toque call list_orders status=placed --app shop --sub ana --role waiter`
    - `toque call place_order table=4 'items=[{"dish_id": 1, "quantity": 2}]' --sub ana --role waiter`

    Args:
        inputs: key=value, one for each input.
        sub: Call as this principal instead of as nobody.
        role: A role of that principal; may be given several times.
        scope: A scope of that principal; may be given several times.
        tenant: Whose data the principal works on.
        idempotency_key: Names this call of an idempotent command: done once, however often it is tried.
    """
    loaded = load_app(app)
    settings = settings_for(loaded)
    # What waits is for processes that stay: a job that is begun here is cut off with the call, or ends it.
    serving = loaded.serve(structs.replace(settings, messages=structs.replace(settings.messages, work=False)))
    plan = find_plan(serving.system.plans, operation)
    words = _pairs(inputs)
    principal = Principal(subject=sub, roles=frozenset(role), scopes=frozenset(scope), tenant=tenant)
    serving.prepare()
    try:
        asyncio.run(_call(serving, plan, words, principal, idempotency_key))
    except Error as error:
        print(_pretty(msgspec.json.encode(problem_document(error.problem()))), file=sys.stderr)
        return 1
    return 0


async def _call(serving: Serving, plan: Plan, words: dict[str, Any], principal: Principal, key: str) -> None:
    context = Context.within(plan.operation.name, plan.deadline_s, principal)
    context.idempotency_key = plan.key(key) if key else None
    context.sink = _printer_of_items(plan)
    await serving.start()
    try:
        value = await plan.call(context, given(plan, lambda: plan.arguments(_gathered(plan, words), strict=False)))
        if plan.signature.output is not None and not plan.signature.is_stream:
            _print(plan, _shaped(plan, value))
    finally:
        await serving.stop()


def _shaped(plan: Plan, value: Any) -> Any:
    try:
        return plan.shape(value) if plan.shape else value
    except TypeError as error:
        raise Failure(f"{plan.operation.name} answered what it does not declare: {error}") from error


def _print(plan: Plan, value: Any) -> None:
    """An answer for people: bytes as they are, all else as indented JSON."""
    if plan.signature.output is bytes:
        sys.stdout.buffer.write(value)
    else:
        print(_pretty(_encoder(plan)(value)))


def _printer_of_items(plan: Plan) -> Callable[[Any], Awaitable[None]]:
    """What prints each item of a streamed answer on a line of its own, as it comes."""
    encode = bytes if plan.signature.output is bytes else _encoder(plan)
    end = b"" if plan.signature.output is bytes else b"\n"

    async def show(item: Any) -> None:
        sys.stdout.buffer.write(encode(item) + end)
        sys.stdout.buffer.flush()

    return show


def _encoder(plan: Plan) -> Callable[[Any], bytes]:
    encode = CODECS["json"].encoder(plan.signature.output)
    if encode is None:
        raise Failure(f"the answer of {plan.operation.name} cannot be written as JSON")
    return encode


def _pretty(encoded: bytes) -> str:
    return msgspec.json.format(encoded).decode()


def _gathered(plan: Plan, words: dict[str, Any]) -> dict[str, Any]:
    """*words* as values, and those that are fields of a body or of a query's object put into it, as over HTTP."""
    inputs = {found.name: found for found in plan.signature.inputs}
    objects = {found.name: schema.fields_of(found.type) for found in plan.signature.places(Place.BODY, Place.QUERY)}
    types = {field.name: field.text_type for fields in objects.values() for field in fields}
    types |= {name: found.type for name, found in inputs.items()}
    values = {name: _value(types.get(name), f"$.{name}", word) for name, word in words.items()}
    for object_name, fields in objects.items():
        names = {field.name for field in fields} & values.keys() - inputs.keys()
        if names and object_name not in values:
            values[object_name] = {name: values.pop(name) for name in names}
    return values


def _value(tp: Any, path: str, word: Any) -> Any:
    """What a *word* stands for where it is not JSON: the same as in a query string. Raises: Invalid."""
    if not isinstance(word, str) or tp is None:
        return word
    try:
        read = text_reader(tp, place="input", path=path)
    except TypeError:
        return word  # No text can stand for it, and the plan says what it takes.
    return read(word)


def _pairs(words: Iterable[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for word in words:
        name, value = _pair(word)
        if name in found:
            raise Failure(f"{name} is given twice; several values are a JSON array, as {name}='[1, 2]'", code=2)
        found[name] = value
    return found


def _pair(word: str) -> tuple[str, Any]:
    name, equals, text = word.partition("=")
    if not equals or not name:
        raise Failure(f"expected key=value, got {word!r}", code=2)
    if text[:1] in ("{", "["):
        try:
            return name, msgspec.json.decode(text)
        except msgspec.DecodeError as error:
            raise Failure(f"the value of {name} begins like JSON and is none: {error}", code=2) from None
    return name, text
