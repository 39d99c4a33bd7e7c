"""What a database and its app can say about themselves: statements that repeat or are slow, missing indexes,
sizes and locks."""
