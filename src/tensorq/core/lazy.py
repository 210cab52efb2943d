"""TensorFlow, imported when something in it is first used: for modules that are also read for their settings."""

from __future__ import annotations

from typing import Any


class _TensorFlow:
    def __getattr__(self, name: str) -> Any:
        import tensorflow

        value = getattr(tensorflow, name)
        setattr(self, name, value)  # the next time this function is not called
        return value


tf: Any = _TensorFlow()
