"""What `chainwatch doctor cometbft` looks at, one file for each place where trouble sits."""
