"""Where experience waits to be learned from: on the device as tensors, on the host as memory-mapped rows."""
