"""Observers of a run's events: progress in a terminal or a pipe, and the files of TensorBoard."""
