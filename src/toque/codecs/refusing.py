"""The one place where a parser's exceptions become answers that a caller understands."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from toque.contract.errors import Fault, Malformed
from toque.contract.faults import refusal

__all__ = ["refusing"]


def refusing(
    format_name: str, decode: Callable[[bytes], Any], look_again: Callable[[bytes], list[Fault]] = lambda _: []
) -> Callable[[bytes], Any]:
    """*decode*, with Invalid for a wrong shape and Malformed for bytes that are not *format_name* at all.

    Args:
        look_again: finds all faults of a wrong shape, where *decode* stops at the first.
    """

    def read(data: bytes) -> Any:
        try:
            return decode(data)
        except msgspec.ValidationError as error:
            raise refusal(error, "body", faults=look_again(data)) from error
        except RecursionError:
            # The depth is Python's own, about 1 000 levels: deeper than any document that people write.
            raise Malformed(f"The body is nested too deeply for {format_name}.") from None
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise Malformed(f"The body is not {format_name}: {error}.") from error

    return read
