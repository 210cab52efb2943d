"""Environments: compiled worlds, and those of Gymnasium."""
