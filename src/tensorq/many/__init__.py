"""Several runs in one folder: seeds of one setting, trained by worker processes beside each other."""
