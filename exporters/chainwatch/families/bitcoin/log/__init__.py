"""The node's debug.log: how its lines look, what they say, and what is counted of it."""
