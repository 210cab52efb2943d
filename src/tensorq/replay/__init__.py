"""Storage of experience for learning: columns of tensors on the device, of arrays on the host."""
