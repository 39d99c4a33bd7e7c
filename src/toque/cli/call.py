"""`toque call`: one operation from the shell, with the plan that every transport uses."""

from __future__ import annotations

import asyncio
import sys
from typing import Annotated, Any

import msgspec
from cyclopts import Parameter

from toque.call.context import Context
from toque.call.receive import given
from toque.cli.failures import Failure
from toque.cli.operations import find_plan
from toque.cli.run import settings_for
from toque.cli.target import load_app
from toque.codecs.codec import CODECS
from toque.contract.errors import Error
from toque.contract.principal import Principal
from toque.serving import Serving

__all__ = ["call"]


def call(
    operation: str,
    *inputs: str,
    app: str = ".",
    sub: str = "",
    role: Annotated[tuple[str, ...], Parameter(negative=())] = (),
    scope: Annotated[tuple[str, ...], Parameter(negative=())] = (),
    tenant: str = "",
) -> int:
    """Call OPERATION with inputs as key=value, and print its answer as JSON.

    A value that is JSON is taken as such: `toque call restaurant.place_order table=4 'items=[{"dish_id": 1}]'`.

    Parameters
    ----------
    operation: its name; the part before the dot may be left out where that is clear.
    inputs: key=value, one for each input.
    app: `package.module:app`, a file or a folder.
    sub: call as this principal instead of as nobody.
    role: a role of that principal; may be given several times.
    scope: a scope of that principal; may be given several times.
    tenant: whose data the principal works on.
    """
    loaded = load_app(app)
    serving = loaded.serve(settings_for(loaded))
    serving.prepare()
    principal = Principal(subject=sub, roles=frozenset(role), scopes=frozenset(scope), tenant=tenant)
    values = dict(_pair(word) for word in inputs)
    try:
        asyncio.run(_call(serving, operation, values, principal))
    except Error as error:
        print(msgspec.json.format(msgspec.json.encode(error.problem())).decode(), file=sys.stderr)
        return 1
    return 0


async def _call(serving: Serving, name: str, values: dict[str, Any], principal: Principal) -> None:
    plan = find_plan(serving.system.plans, name)
    context = Context.within(plan.operation.name, plan.deadline_s, principal)
    arguments = given(plan, lambda: plan.arguments(values, strict=False))
    await serving.start()
    try:
        if plan.signature.is_stream:
            context.sink = _print_item(plan.signature.output)
            await plan.call(context, arguments)
            return
        value = await plan.call(context, arguments)
        if plan.signature.output is not None:
            _print(plan.signature.output, plan.shape(value) if plan.shape else value)
    finally:
        await serving.stop()


def _print_item(tp: Any) -> Any:
    async def show(item: Any) -> None:
        _print(tp, item)

    return show


def _print(tp: Any, value: Any) -> None:
    if tp is bytes:
        sys.stdout.buffer.write(value)
        return
    encode = CODECS["json"].encoder(tp)
    if encode is None:
        raise Failure(f"the answer ({tp}) cannot be written as JSON")
    print(msgspec.json.format(encode(value)).decode())


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
