"""The log: what every transaction wrote for others to follow, and how they follow it."""
