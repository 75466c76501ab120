"""What `chainwatch doctor bitcoin` looks at, one file for each place where trouble sits."""
