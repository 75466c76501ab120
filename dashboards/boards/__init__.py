"""Where it is seen: one file for each board, with a constant `BOARD`."""
