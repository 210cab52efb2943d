"""Output for people: curves, videos and tables."""
