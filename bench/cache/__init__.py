"""Programs that measure answers from memory: each does one turn, as `bench/messages/turn.py` says."""
