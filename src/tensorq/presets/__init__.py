"""Presets: named settings as TOML, one file each, and how they become a Config."""

from __future__ import annotations

import fnmatch
import sys
from importlib import resources
from pathlib import Path
from typing import Any

from tensorq.config import DEFAULT_PRESET, Config, without_use
from tensorq.envs.atari import GAME_SETTINGS, is_game
from tensorq.errors import TensorqError, nearest
from tensorq.plugins import Registry

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


_OTHERS = Registry("preset", {})


def preset_names() -> list[str]:
    """The presets that come with tensorq, the default first."""
    folder = resources.files(__name__)
    names = (entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml"))
    return sorted(names, key=lambda name: (name != DEFAULT_PRESET, name))


def register_preset(name: str, file: str) -> None:
    """Register a preset under a name. `file` is the path of a TOML file, for example beside the package's module."""
    _OTHERS.register(name, str(file))


def load_preset(name: str) -> dict[str, Any]:
    """A preset's TOML: `about`, settings, a table `environments` of settings for single environments, and `extends`.

    A section's name is an environment's id, or a pattern of ids such as "tensorq/MinAtar-*".
    `name` is that of a preset or, if it ends in .toml, a file.
    """
    if name in preset_names():
        return tomllib.loads((resources.files(__name__) / f"{name}.toml").read_text(encoding="utf-8"))
    if not name.endswith(".toml") and name not in _OTHERS:
        raise TensorqError(f"unknown preset {name!r}: {nearest(name, [*preset_names(), *_OTHERS])}")
    file = name if name.endswith(".toml") else _OTHERS.home(name)
    try:
        content = {"about": name, **tomllib.loads(Path(file).read_text(encoding="utf-8"))}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise TensorqError(
            f"preset {name!r}: cannot read {file}: {getattr(error, 'strerror', None) or error}."
        ) from error
    base, sections = content.get("extends", ""), content.get("environments", {})
    if not isinstance(base, str):
        raise TensorqError(f"preset {name!r}: extends: received {base!r}, expected the name of a preset.")
    if not isinstance(sections, dict) or not all(isinstance(section, dict) for section in sections.values()):
        raise TensorqError(
            f"preset {name!r}: environments: received {sections!r}, expected tables such as "
            '[environments."CartPole-v1"].'
        )
    return content


def preset_settings(env: str, preset: str, above: tuple[str, ...] = ()) -> dict[str, Any]:
    """The settings of a preset for env: those of the preset that it extends, then its own, then its sections for env.

    If several patterns match, later ones in the file replace earlier ones; the section of the id itself replaces them
    all, wherever it stands.
    `above` are the presets that extend this one.
    """
    if preset in above:
        raise TensorqError(f"preset {preset!r} extends itself: {' extends '.join([*above, preset])}.")
    content = load_preset(preset)
    content.pop("about", None)
    base = content.pop("extends", None)
    sections = content.pop("environments", {})
    found = preset_settings(env, base, (*above, preset)) if base else {}
    found |= content
    for pattern, section in sections.items():
        if fnmatch.fnmatchcase(env, pattern):
            found |= section
    return found | sections.get(env, {})


def resolve(env: str, preset: str = DEFAULT_PRESET, **overrides: Any) -> Config:
    """The Config of `preset` for `env`: defaults for env, then the preset's settings for env, then the overrides.

    If the overrides choose another head, for example, the preset's settings that this head does not have are left out.
    """
    is_file = preset.endswith(".toml")
    try:
        own = {**preset_settings(env, preset), **overrides}
        usual = GAME_SETTINGS if is_game(env) else {}
        settings = {**usual, **own, "env": env, "preset": Path(preset).stem if is_file else preset}
        unused = without_use(settings) - overrides.keys()
        unused |= without_use(settings, across_algorithms=True) & usual.keys() - own.keys()
        return Config.from_dict({name: value for name, value in settings.items() if name not in unused})
    except TensorqError as error:
        if is_file and overrides:
            resolve(env, preset)  # raises if the mistake is in the file
        if is_file and not overrides and preset not in str(error):
            raise TensorqError(f"{preset}: {error}") from error
        raise
