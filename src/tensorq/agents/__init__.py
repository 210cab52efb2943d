"""What decides and learns."""
