"""chainwatch watches blockchain nodes and the networks they take part in."""

__version__ = "0.1.0"
