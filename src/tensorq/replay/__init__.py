"""Storage of experience for learning: tensors on the device, memory-mapped rows on the host."""
