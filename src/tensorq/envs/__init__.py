"""Where experience comes from: compiled worlds, and Gymnasium's environments."""
