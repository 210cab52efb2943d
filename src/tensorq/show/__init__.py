"""What a person looks at: progress, curves, videos and tables. Nothing here imports TensorFlow."""
