"""Webhooks by Standard Webhooks 1.0: signed events out to others' endpoints, and others' events in."""
