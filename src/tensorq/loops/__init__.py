"""The loops that train an agent: with a compiled world in one XLA program, or with Gymnasium in Python."""
