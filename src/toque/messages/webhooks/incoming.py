"""Webhooks in: who signed a message is known before anything of it is decoded."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Iterator, Mapping
from difflib import get_close_matches
from typing import TYPE_CHECKING

from toque.call.context import Context
from toque.call.receive import Sealed
from toque.contract.complaints import Complaint
from toque.contract.errors import Unauthenticated
from toque.contract.principal import Principal, WebhookSender
from toque.messages.webhooks.keys import VerifyingKey, verifying_key
from toque.messages.webhooks.signing import SIGNATURE, Unverified, verify

if TYPE_CHECKING:
    from toque.settings.tree import Webhooks

__all__ = ["Keyring", "Prover"]

log = logging.getLogger("toque.webhooks")


class Keyring:
    """The keys of the webhooks that an app takes, by their names: the setting `webhooks.keys`, read once."""

    def __init__(self, settings: Webhooks) -> None:
        self._tolerance_s = settings.tolerance_s
        self._wrong: list[Complaint] = []
        self._keys: dict[str, list[VerifyingKey]] = {}
        for entry in settings.keys:
            name, _, text = entry.reveal().partition("=")
            try:
                self._keys.setdefault(name.strip(), []).append(verifying_key(text.strip()))
            except ValueError as error:
                # Before the equals sign there may be the key itself.
                shown = name.strip() if text else "an entry"
                remedy = "write NAME=whsec_... or NAME=whpk_..., once for each key of a webhook"
                self._wrong.append(Complaint("webhooks.keys", f"{shown}: {error}", remedy))

    def problems(self, operations: Mapping[str, Collection[str]]) -> Iterator[Complaint]:
        """What is wrong with the keys, or lacks for *operations*: the webhooks that each of them takes."""
        yield from self._wrong
        for operation, webhooks in operations.items():
            for name in sorted(set(webhooks) - self._keys.keys()):
                near = get_close_matches(name, self._keys, 1)
                hint = f"did you mean {near[0]!r}? Or " if near else ""
                yield Complaint(
                    operation,
                    f"it takes the webhook {name!r}, which has no key",
                    f"{hint}set TOQUE_WEBHOOKS_KEYS={name}=whsec_...",
                )

    def prover(self, webhooks: Collection[str]) -> Prover:
        """Proves senders of *webhooks*."""
        return Prover({name: self._keys[name] for name in sorted(webhooks)}, self._tolerance_s)


class Prover:
    """Tells who of some webhooks' senders signed a message."""

    def __init__(self, keys: Mapping[str, Collection[VerifyingKey]], tolerance_s: float) -> None:
        self._keys = keys
        self._tolerance_s = tolerance_s

    def __call__(self, context: Context, message: Sealed) -> Principal | None:
        """The sender; None where the message claims to have none. Its id becomes the call's idempotency key.

        Raises: Unauthenticated where the signature, the id or the time does not hold.
        """
        if message.header(SIGNATURE) is None:
            return None
        reasons = []
        for name, keys in self._keys.items():
            try:
                id = verify(keys, message.header, message.body, now=time.time(), tolerance_s=self._tolerance_s)
            except Unverified as error:
                reasons.append(f"{name}: {error}")
                continue
            context.idempotency_key = id
            return WebhookSender.of(name)
        log.warning("%s: a message was refused (%s)", context.operation, "; ".join(reasons))
        raise Unauthenticated("the message is not signed as it should be")
