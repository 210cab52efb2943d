"""Playing without learning, and statistics over seeds."""
