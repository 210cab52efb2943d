"""Environments: those of Gymnasium, and our own, which are registered in Gymnasium when this is imported."""

from tensorq.envs.world import register_own_worlds

register_own_worlds()
