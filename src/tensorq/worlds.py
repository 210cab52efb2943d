"""Importing this registers tensorq's own worlds in Gymnasium: gymnasium.make("tensorq.worlds:tensorq/Snake8x8-v0")."""

from tensorq.envs.world import register_own_worlds

register_own_worlds()
