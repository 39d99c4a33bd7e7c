"""Messages: events and who handles them, jobs, brokers, webhooks."""
