"""What happens in consensus: votes, rounds and heights as they come, and who signed in the end."""
