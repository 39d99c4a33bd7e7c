"""Message brokers behind one small port: NATS JetStream, RabbitMQ, Kafka, Redis or Valkey, MQTT."""

from __future__ import annotations

from toque.messages.brokers.broker import Broker, Incoming, Message, Refused, Subscription, open_broker

__all__ = ["Broker", "Incoming", "Message", "Refused", "Subscription", "open_broker"]
