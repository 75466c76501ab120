"""Long-lived connections to a node, and how sound they are."""
