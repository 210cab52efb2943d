"""An observer that counts events into a file."""

from collections import Counter
from pathlib import Path


class Counts:
    """Writes how many events of each kind there were, when the run is finished."""

    def __init__(self) -> None:
        self.counts = Counter()

    def __call__(self, event) -> None:
        self.counts[type(event).__name__] += 1
        if type(event).__name__ == "Finished":
            Path("counts.txt").write_text(" ".join(f"{name}={count}" for name, count in sorted(self.counts.items())))
