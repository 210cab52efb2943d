"""Keras layers for networks of your own: tq.layers.Conv2D is keras.layers.Conv2D, but fast in the compiled loop."""

from tensorq.process import load_tensorflow

load_tensorflow()  # before Keras does: quietly, and with oneDNN

from tensorq.networks.layers import Conv2D  # noqa: E402

__all__ = ["Conv2D"]
