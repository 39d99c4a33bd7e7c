"""The cache: answers that are kept, and when each of them may be given."""
