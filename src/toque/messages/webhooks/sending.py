"""One try to deliver one message to one endpoint."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from msgspec import Struct

from toque.http_client.failures import AddressRefused, BadAnswer, Interrupted, Unreachable
from toque.http_client.retry_after import retry_after_s
from toque.http_client.target import Target
from toque.messages.webhooks.keys import signing_key
from toque.messages.webhooks.outcome import KEPT_BYTES_MAX, Outcome, Verdict, verdict_of
from toque.messages.webhooks.signing import sign

if TYPE_CHECKING:
    from toque.http_client.outgoing import Outgoing

__all__ = ["Message", "deliver"]


class Message(Struct, frozen=True):
    """What is delivered."""

    id: str
    """Equal over all tries, and at all endpoints: `webhook-id`."""
    body: bytes


async def deliver(outgoing: Outgoing, url: str, keys: tuple[str, ...], message: Message, timeout_s: float) -> Outcome:
    """Send *message* to *url*, signed with each of *keys*, and say what became of it.

    It raises nothing: whatever a receiver does is an outcome. Redirects are not followed, retries are the schedule's,
    and of the answer no more is read than is kept.
    """
    try:
        headers = {
            "content-type": "application/json",
            "user-agent": "toque-webhooks",
            "accept-encoding": "identity",
            **sign(map(signing_key, keys), message.id, int(time.time()), message.body),
        }
        async with asyncio.timeout(timeout_s):
            answer = await outgoing.wire.exchange(
                "POST", Target.read(url), headers.items(), message.body, bytes_max=KEPT_BYTES_MAX, is_cut=True
            )
    except TimeoutError:
        return Outcome(Verdict.FAILED, reason=f"no answer within {timeout_s:g} s")
    except AddressRefused as error:
        # Where the name leads is for the app's own log: the endpoint's owner could search a network with it.
        return Outcome(Verdict.FAILED, reason=error.detail)
    except (Unreachable, Interrupted) as error:
        return Outcome(Verdict.FAILED, reason=error.reason)
    except BadAnswer as error:
        return Outcome(Verdict.FAILED, error.status, error.reason)
    except ValueError as error:
        return Outcome(Verdict.FAILED, reason=str(error))
    return Outcome(
        verdict_of(answer.status),
        answer.status,
        answer.body.decode("utf-8", "replace").replace("\0", ""),
        retry_after_s(answer.headers.get("retry-after")),
    )
