"""One folder for each kind of node."""
