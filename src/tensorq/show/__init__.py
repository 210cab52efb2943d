"""What a person looks at: curves, videos and tables."""
