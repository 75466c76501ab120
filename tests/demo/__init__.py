"""`make demo`: real nodes in trouble, watched by what an operator would run, told on the terminal."""
