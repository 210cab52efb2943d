"""The errors a user can cause: the command line prints them as one line and exits with code 2."""

from __future__ import annotations


class TensorqError(ValueError):
    """Something the user can put right: the message says what was received, expected, and how to fix it."""
