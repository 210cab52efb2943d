"""What the benchmarks share: running a command, the machine's description, writing results."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
RESULTS = HERE / "results"


def peer_python(variable: str, default: str) -> str:
    """The interpreter of a peer's own virtual environment."""
    return os.environ.get(variable, str(HERE.parent / default / "bin" / "python"))


SB3_PYTHON = peer_python("SB3_PYTHON", ".venv-sb3")
JAX_PYTHON = peer_python("JAX_PYTHON", ".venv-jax")


def machine() -> dict[str, Any]:
    """The processor, cores, memory, and versions of this environment."""
    model = next(
        (line.split(":")[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")),
        platform.processor(),
    )
    kilobytes = next((int(line.split()[1]) for line in _lines("/proc/meminfo") if line.startswith("MemTotal")), 0)
    versions = {name: metadata.version(name) for name in ("tensorq", "tensorflow", "keras", "numpy", "gymnasium")}
    return {
        "processor": model,
        "cores": os.cpu_count(),
        "memory_gib": round(kilobytes / 2**20),
        "python": platform.python_version(),
        **versions,
    }


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines() if Path(path).exists() else []


def write(name: str, result: dict[str, Any]) -> Path:
    """Save a result with the command that gave it, the machine and the date."""
    path = RESULTS / name
    RESULTS.mkdir(exist_ok=True)
    script = Path(sys.argv[0]).resolve().relative_to(HERE.resolve())
    arguments = [Path(given).name if "/" in given else given for given in sys.argv[1:]]  # no machine's paths
    command = " ".join([f"python benchmarks/{script}", *arguments])
    header = {"command": command, "date": time.strftime("%Y-%m-%d"), **machine()}
    path.write_text(json.dumps({"measured": header, **result}, indent=2) + "\n")
    return path


def last_json_line(command: list[str], environment: dict[str, str] | None = None) -> dict[str, Any]:
    """Run a command and return the JSON object that it prints last."""
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, **(environment or {})}
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
    result: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return result


def has_module(python: str, module: str) -> bool:
    """Whether an interpreter can import a module, without importing it."""
    code = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({module!r}) is None)"
    return Path(python).exists() and subprocess.run([python, "-c", code], check=False).returncode == 0
