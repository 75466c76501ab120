"""What happens between scrapes: streams are followed, gaps filled, and a silent chain told from a silent node."""
