"""Q-networks: Keras models, called only while a function is traced, and the default network in NumPy."""
