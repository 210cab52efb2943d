"""Keras layers for networks of your own: tq.layers.Conv2D is keras.layers.Conv2D, but fast in the compiled loop."""

from tensorq.networks.layers import Conv2D

__all__ = ["Conv2D"]
