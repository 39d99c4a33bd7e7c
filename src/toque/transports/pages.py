"""Pages: a query's answer as HTML, rendered by Jinja templates. A page is one more format of a query."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from toque.contract import schema
from toque.contract.operation import Operation
from toque.contract.signature import Signature
from toque.transports.replies import PAGE_HEADERS, Headers, Offer

__all__ = ["PAGE_TYPE", "Pages"]

PAGE_TYPE = "text/html; charset=utf-8"


class Pages:
    """The templates of an app, found in its modules' folders; the first folder that has a name wins.

    A template escapes everything unless it says `| safe`, and may not use a name that is not there.
    In development a changed template is read again, in production never.
    """

    def __init__(self, folders: Sequence[Path], is_development: bool) -> None:
        import jinja2

        self._loader = jinja2.FileSystemLoader(list(folders))
        self._environment = jinja2.Environment(
            loader=self._loader,
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            auto_reload=is_development,
            trim_blocks=True,
            lstrip_blocks=True,
        )

    def problem(self, name: str) -> str | None:
        """Why the template *name* cannot be used, with the nearest name, or None."""
        import jinja2

        try:
            self._environment.get_template(name)
        except jinja2.TemplateSyntaxError as error:
            return f"template {error.name or name!r} cannot be read, line {error.lineno}: {error.message}"
        except jinja2.TemplateNotFound as error:
            missing = str(error.name or name)
            near = get_close_matches(missing, self._environment.list_templates(), 1)
            return f"there is no template {missing!r}" + (f"; did you mean {near[0]!r}?" if near else "")
        return None

    def offer(self, operation: Operation, signature: Signature, headers: Headers | None = None) -> Offer:
        """The answers of *operation* as pages.

        Args:
            headers: what its answers carry in every format, caching say.
        """
        name = operation.page
        if name is None:
            raise ValueError(f"{operation.name} has no page; declare one with page=")
        if signature.is_stream:
            raise TypeError(f"{operation.name} answers a stream, and a page shows one answer")
        # get_template() is a look into a dict; in development it also asks whether the file has changed.
        environment = self._environment

        def render(value: Any) -> bytes:
            return environment.get_template(name).render(_variables(value)).encode()

        is_lasting = not environment.auto_reload and not self._is_by_chance(name)
        own = {key for key, _ in PAGE_HEADERS}
        others = [header for header in headers or () if header[0] not in own and header[0] != "content-type"]
        return Offer(PAGE_TYPE, [("content-type", PAGE_TYPE), *PAGE_HEADERS, *others], render, is_lasting=is_lasting)

    def _is_by_chance(self, name: str) -> bool:
        """Whether the template *name*, or one that it takes in, uses what Jinja chooses by chance."""
        from jinja2 import TemplateNotFound, meta, nodes

        waiting: list[str | None] = [name]
        seen = set()
        while waiting:
            name_or_any = waiting.pop()
            if name_or_any is None:
                return True  # Its name is found out when it is rendered.
            if name_or_any in seen:
                continue
            seen.add(name_or_any)
            try:
                source = self._loader.get_source(self._environment, name_or_any)[0]
            except TemplateNotFound:
                continue  # One of several, or `ignore missing`.
            tree = self._environment.parse(source)
            if any(each.name == "random" for each in tree.find_all(nodes.Filter)):
                return True
            if any(each.name == "lipsum" for each in tree.find_all(nodes.Name)):
                return True
            waiting += meta.find_referenced_templates(tree)
        return False


def _variables(value: Any) -> dict[str, Any]:
    """What a template sees: each field of the answer by its Python name, and the whole answer as `it`."""
    if isinstance(value, Mapping):
        return {"it": value, **value}
    fields = schema.fields_of(value.__class__)
    return {"it": value, **{field.attribute: getattr(value, field.attribute) for field in fields}}
