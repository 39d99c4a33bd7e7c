"""Who is calling: credentials, and what they prove."""
