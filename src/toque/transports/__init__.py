"""Bytes in, bytes out: one file a protocol. HTTP speaks RSGI inside; ASGI and the tests adapt to it."""
