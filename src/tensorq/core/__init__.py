"""Pure functions of tensors: targets, losses, optimizers, exploration, random numbers."""
