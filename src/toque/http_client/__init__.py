"""Outgoing HTTP: an operation asks for `HttpClient` by type; it never reaches an address that nobody opened."""
