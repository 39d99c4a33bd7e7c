"""Jobs: operations that are started later, by whichever process is free."""
