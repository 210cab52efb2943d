"""The two ways to run an agent: with a compiled world in one XLA program, or with Gymnasium in Python."""
