"""The extras, which are optional packages, and the exact command that installs them."""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import sys
from importlib import metadata
from pathlib import Path

# Name of the extra -> what it adds, and the modules that tell whether it is installed.
EXTRAS = {
    "video": ("MP4 videos", ("imageio", "imageio_ffmpeg")),
    "box2d": ("LunarLander-v3", ("Box2D",)),
    "tune": ("`tensorq tune`, which searches settings", ("optuna",)),
    "ray": ("many runs on a cluster: `--on ray`", ("ray",)),
    "atari": ("Atari games such as ALE/Pong-v5", ("ale_py", "cv2")),
}


def install_command(*requirements: str) -> str:
    """The command that installs packages into the Python that runs this, whichever `pip` a shell would find."""
    python = sys.executable or "python"
    words = [python, "-m", "pip", "install", *requirements]
    if importlib.util.find_spec("pip") is None:  # uv makes virtual environments without pip
        words = ["uv", "pip", "install", "--python", python, *requirements]
    if sys.platform == "win32":  # its shell redirects at < and >
        return " ".join(f'"{word}"' if re.search(r"[^\w\\/:.-]", word) else word for word in words)
    return shlex.join(words)


def missing_modules(extra: str) -> list[str]:
    """The modules of an extra that are not installed."""
    return [module for module in EXTRAS[extra][1] if importlib.util.find_spec(module) is None]


def extra_command(extra: str) -> str:
    """The command that installs the packages of an extra; it works wherever tensorq was installed from."""
    condition = re.compile(rf"""extra\s*==\s*['"]{extra}['"]""")
    try:
        lines = metadata.requires("tensorq") or []
    except metadata.PackageNotFoundError:
        lines = []
    found = [line.partition(";")[0].strip() for line in lines if condition.search(line)]
    return install_command(*(found or [f"tensorq[{extra}]"]))


def token_file() -> Path:
    """Where Ray keeps the token that the machines of a cluster share; without Ray, the file is not there."""
    return Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token")
