"""Presets: named settings as TOML, one file each, and how they become a Config."""

from __future__ import annotations

import sys
from importlib import resources
from typing import Any

from tensorq.config import DEFAULT_PRESET, Config, without_use
from tensorq.errors import TensorqError, nearest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def preset_names() -> list[str]:
    """The presets that come with tensorq, the default first."""
    folder = resources.files(__name__)
    names = sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml"))
    return sorted(names, key=lambda name: name != DEFAULT_PRESET)


def load_preset(name: str) -> dict[str, Any]:
    """A preset's TOML: `about`, settings, a table `environments` of settings for single environments, and `extends`."""
    if name not in preset_names():
        raise TensorqError(f"unknown preset {name!r}: {nearest(name, preset_names())}")
    return tomllib.loads((resources.files(__name__) / f"{name}.toml").read_text(encoding="utf-8"))


def preset_settings(env: str, preset: str) -> dict[str, Any]:
    """What a preset sets for env: the settings of the one that it extends, then its own, then its section for env."""
    content = load_preset(preset)
    content.pop("about", None)
    base = content.pop("extends", None)
    sections = content.pop("environments", {})
    return {**(preset_settings(env, base) if base else {}), **content, **sections.get(env, {})}


def resolve(env: str, preset: str = DEFAULT_PRESET, **overrides: Any) -> Config:
    """The Config of `preset` for `env`: defaults, then the preset's settings for env, then the overrides.

    What the preset sets of a head, say, goes where the overrides choose another that does not have it.
    """
    settings = {**preset_settings(env, preset), **overrides, "env": env, "preset": preset}
    unused = without_use(settings) - overrides.keys()
    return Config.from_dict({name: value for name, value in settings.items() if name not in unused})
