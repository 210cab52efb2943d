"""TensorFlow, imported when it is first used. So modules can be imported for their settings without waiting for it."""

from __future__ import annotations

from typing import Any


class _TensorFlow:
    def __getattr__(self, name: str) -> Any:
        import tensorflow

        value = getattr(tensorflow, name)
        setattr(self, name, value)  # the next access finds it without this function
        return value


tf: Any = _TensorFlow()
