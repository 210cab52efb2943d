"""Agents: how they act, and how they learn."""
