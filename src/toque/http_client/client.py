"""The HTTP client that an operation asks for by type: bounded by its call's deadline, part of its trace."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Mapping
from time import monotonic
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from toque.contract.conversion import dec_hook, enc_hook
from toque.contract.errors import DeadlineExceeded
from toque.http_client.failures import BadAnswer, Interrupted, Unreachable
from toque.http_client.request import HOP_S, Request, redirected
from toque.http_client.retry_after import retry_after_s
from toque.http_client.target import Query

if TYPE_CHECKING:
    from toque.call.context import Context
    from toque.http_client.outgoing import Outgoing
    from toque.http_client.wire import Answer

__all__ = ["HttpClient", "Response"]

log = logging.getLogger("toque.http_client")

T = TypeVar("T")

TRIES_MAX = 3
"""As the SRE book has it (chapter 21): whoever failed three times will hardly be saved by a fourth."""

PAUSE_S = 0.1
PAUSE_S_MAX = 2.0
"""Before the second try up to a tenth of a second, then twice as long: full jitter (AWS, "Exponential Backoff And
Jitter")."""

_ASKS_TO_WAIT = frozenset({429, 503})

_NOTHING: Any = msgspec.UNSET


class Response:
    """An answer, whole: its status is any, its body at most as large as allowed."""

    __slots__ = ("body", "headers", "status", "url")

    def __init__(self, answer: Answer, url: str) -> None:
        self.status = answer.status
        self.headers = answer.headers
        """By their names in lower case."""
        self.body = answer.body
        self.url = url
        """Where it came from in the end."""

    @property
    def is_success(self) -> bool:
        return 200 <= self.status <= 299

    def expect(self, *statuses: int) -> Response:
        """This answer, if its status is one of *statuses*; of success unless given. Raises: BadAnswer."""
        if self.status in statuses or (not statuses and self.is_success):
            return self
        raise self._bad(f"status {self.status}")

    def json(self, tp: type[T]) -> T:
        """The body as a *tp*. Raises: BadAnswer where it is none, or the status is not one of success."""
        self.expect()
        try:
            return msgspec.json.decode(self.body, type=tp, dec_hook=dec_hook)
        except (msgspec.DecodeError, RecursionError) as error:
            raise self._bad(f"a body that is no {getattr(tp, '__name__', tp)}: {error}") from error

    def _bad(self, reason: str) -> BadAnswer:
        log.warning("%s answered with %s", self.url.partition("?")[0], reason)
        return BadAnswer(reason, self.status)


class HttpClient:
    """Sends requests for one call.

    Each ends with the call's deadline at the latest, hands its trace on (`traceparent`) and what is left of its time
    (`x-timeout-ms`). It goes to the public internet's ports 80 and 443, and to what `http_client.allow` names.

    Tried again, up to three times and as long as few others are, is what cannot have been carried out: nothing was
    sent, or the answer asks to come again (429 or 503 with `Retry-After`); and, if the connection broke, what may be
    carried out twice: GET, HEAD, PUT, DELETE, or anything with an `Idempotency-Key`.
    """

    __slots__ = ("_context", "_outgoing")

    def __init__(self, context: Context, outgoing: Outgoing) -> None:
        self._context = context
        self._outgoing = outgoing

    async def get(self, url: str, **options: Any) -> Response:
        """`request("GET", ...)`."""
        return await self.request("GET", url, **options)

    async def post(self, url: str, **options: Any) -> Response:
        """`request("POST", ...)`."""
        return await self.request("POST", url, **options)

    async def put(self, url: str, **options: Any) -> Response:
        """`request("PUT", ...)`."""
        return await self.request("PUT", url, **options)

    async def patch(self, url: str, **options: Any) -> Response:
        """`request("PATCH", ...)`."""
        return await self.request("PATCH", url, **options)

    async def delete(self, url: str, **options: Any) -> Response:
        """`request("DELETE", ...)`."""
        return await self.request("DELETE", url, **options)

    async def request(
        self,
        method: str,
        url: str,
        *,
        query: Query | None = None,
        headers: Mapping[str, str] | None = None,
        json: Any = _NOTHING,
        body: bytes = b"",
        timeout_s: float | None = None,
        bytes_max: int | None = None,
        redirects_max: int = 0,
    ) -> Response:
        """Send a request, and return its answer, whatever its status.

        Args:
            query: fields to add to the URL's query string.
            json: the body as a value, instead of *body*; Content-Type is set.
            timeout_s: seconds for all of it, retries included; the settings' `http_client.timeout_s` unless given.
            bytes_max: the largest body of the answer; the settings' `http_client.answer_bytes_max` unless given.
            redirects_max: how many redirects are followed; else theirs is the answer.
        Raises: ValueError for a URL or a header that is none; AddressRefused; Unreachable, Interrupted (both
            Unavailable); BadAnswer for a body too large; DeadlineExceeded.
        """
        sent = dict(headers or {})
        if json is not _NOTHING:
            body = msgspec.json.encode(json, enc_hook=enc_hook)
            sent.setdefault("content-type", "application/json")
        request = Request.read(method, url, query, sent, body)
        settings = self._outgoing.settings
        seconds = settings.timeout_s if timeout_s is None else timeout_s
        until = min(monotonic() + seconds, self._context.deadline)
        bytes_max = settings.answer_bytes_max if bytes_max is None else bytes_max
        try:
            async with asyncio.timeout(until - monotonic()):
                return await self._followed(request, until, bytes_max, redirects_max)
        except TimeoutError:
            if self._context.remaining_s <= 0:
                raise DeadlineExceeded("the deadline passed while another service was asked") from None
            log.warning("%s did not answer within %g s", request.target.host, seconds)
            raise Interrupted(f"{request.target.host} did not answer within {seconds:g} s") from None
        except (Unreachable, Interrupted, BadAnswer) as error:
            log.warning("%s: %s", request.target.host, error.reason)
            raise

    async def _followed(self, request: Request, until: float, bytes_max: int, redirects_max: int) -> Response:
        answer = await self._tried(request, until, bytes_max)
        for _ in range(redirects_max):
            following = redirected(request, answer)
            if following is None:
                break
            request = following
            answer = await self._tried(request, until, bytes_max)
        return Response(answer, str(request.target))

    async def _tried(self, request: Request, until: float, bytes_max: int) -> Answer:
        budgets, origin = self._outgoing.budgets, request.target.origin
        for tried in range(1, TRIES_MAX + 1):
            try:
                answer = await self._send(request, until, bytes_max)
            except (Unreachable, Interrupted) as error:
                is_safe = isinstance(error, Unreachable) or request.is_repeatable
                pause = random.uniform(0, min(PAUSE_S_MAX, PAUSE_S * 2**tried))  # noqa: S311 - jitter guards nothing
                if tried == TRIES_MAX or not is_safe or not budgets.take(origin):
                    raise
            else:
                if answer.status < 500 and answer.status != 429:
                    budgets.succeed(origin)
                asked = retry_after_s(answer.headers.get("retry-after"))
                if answer.status not in _ASKS_TO_WAIT or asked is None or tried == TRIES_MAX:
                    return answer
                # Who asks for more time than there is gets no second request that cannot be answered.
                if monotonic() + asked >= until or not budgets.take(origin):
                    return answer
                pause = asked
            await asyncio.sleep(pause)
        raise AssertionError("the last try returns or raises")

    async def _send(self, request: Request, until: float, bytes_max: int) -> Answer:
        headers = {
            "accept": "*/*",
            "accept-encoding": "identity",
            "user-agent": "toque",
            **request.headers,
            "traceparent": self._context.trace.traceparent(),
            "x-timeout-ms": str(max(1, int((until - monotonic() - HOP_S) * 1000))),
        }
        return await self._outgoing.wire.exchange(
            request.method, request.target, headers.items(), request.body, bytes_max=bytes_max
        )
