"""What an operator looks at during a halt: who has voted, who is missing, and since when; as JSON, page, terminal."""
