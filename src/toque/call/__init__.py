"""How one call runs: the single path that every transport enters by the same door."""
