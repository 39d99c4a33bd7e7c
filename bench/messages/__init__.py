"""Works on messages: events and jobs, each done by a program of its own that reports one turn (see `turn`)."""
