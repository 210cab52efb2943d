"""Lists of environments and presets, and the state of this installation."""

from __future__ import annotations

import contextlib
import platform
from importlib import metadata

from tensorq.config import DEFAULT_PRESET, FIELD_NAMES, Config
from tensorq.envs.world import WORLDS
from tensorq.errors import TensorqError
from tensorq.extras import EXTRAS, extra_command, missing_modules, token_file
from tensorq.paths import shown
from tensorq.presets import load_preset, preset_names, resolve
from tensorq.process import usable_cores
from tensorq.runs.history import short

OTHER = "another"  # stands for an environment without a section
SCANNED = ("gymnasium.envs.classic_control", "gymnasium.envs.toy_text", "gymnasium.envs.box2d")


def print_environments() -> None:
    """Print environments by name: how they run, their time limit, and when they count as solved."""
    import gymnasium as gym
    from rich.console import Console
    from rich.table import Table

    from tensorq.envs.description import describe

    table = Table("environment", "loop", "time limit (steps)", "solved at", box=None, pad_edge=False)
    specs = [spec for spec in gym.registry.values() if str(spec.entry_point).startswith(SCANNED)]
    newest = {spec.name: spec.id for spec in sorted(specs, key=lambda spec: spec.version or 0)}
    for env in [*WORLDS, *sorted(set(newest.values()) - {*WORLDS})]:
        with contextlib.suppress(TensorqError):  # continuous actions, or the box2d extra is missing
            # To describe a world that is not in Gymnasium takes TensorFlow, which loads for seconds.
            found = describe(env) if env in newest.values() else None
            limits = (found.max_episode_steps, found.solved_return) if found else ()
            loop = "compiled, host" if env in [*WORLDS] else "host"
            table.add_row(env, loop, *("" if limit is None else f"{limit:g}" for limit in limits))
    Console(highlight=False).print(table)
    if missing_modules("box2d"):
        print(f"\nLunarLander-v3 needs the box2d extra: {extra_command('box2d')}")
    need = f", which need the atari extra: {extra_command('atari')}" if missing_modules("atari") else ""
    print(f"\nAtari games are ALE/NAME-v5, such as ALE/Pong-v5{need}")
    print("\nAny other Gymnasium id runs in the host loop, if its actions are Discrete or MultiDiscrete.")


def print_presets() -> None:
    """Print the presets, what each sets everywhere, and its sections for environments."""
    contents = {name: load_preset(name) for name in preset_names()}
    for name, content in contents.items():
        extends = content.get("extends")
        print(f"{name}: {content['about']}" + (" (the default)" if name == DEFAULT_PRESET else ""))
        _print_differences(resolve(OTHER, name), resolve(OTHER, extends) if extends else Config(env=OTHER))
        for env, section in content.get("environments", {}).items():
            print(f"  for {env}" + (f", on top of {extends}'s" if extends else ""))
            for field, value in section.items():
                print(f"    {field:<30} {short(value)}")
    alone = ", ".join(name for name in contents if "extends" not in contents[name] and name != DEFAULT_PRESET)
    print(f"\nAll but {alone} use {DEFAULT_PRESET}'s sections too; their own settings replace those.")
    print("`tensorq presets NAME` shows one in full.")


def print_preset(name: str) -> None:
    """Print a preset in full: what it sets everywhere, and what it changes in environments that have a section."""
    content = load_preset(name)
    base = load_preset(content["extends"]) if "extends" in content else {}
    print(f"{name}: {content['about']}" + (f"\n\nextends {content['extends']}" if base else ""))
    everywhere = resolve(OTHER, name)
    print("\neverywhere")
    _print_differences(everywhere, Config(env=OTHER))
    for env in {**content.get("environments", {}), **base.get("environments", {})}:
        print(f"\nfor {env}")
        _print_differences(resolve(env, name), everywhere)


def _print_differences(config: Config, usual: Config) -> None:
    for field in FIELD_NAMES:
        value, before = getattr(config, field), getattr(usual, field)
        if value != before and field not in ("env", "preset"):
            print(f"    {field:<30} {short(value):<17} instead of {short(before)}")


def print_diagnosis() -> None:
    """Print versions, devices, threads and extras. TensorFlow must have been imported."""
    import tensorflow as tf

    print(f"python       {platform.python_version()} on {platform.system()} {platform.machine()}")
    for name in ("tensorq", "tensorflow", "keras", "gymnasium", "numpy", "matplotlib", "safetensors"):
        print(f"{name:<12} {metadata.version(name)}")
    devices = ", ".join(device.name.removeprefix("/physical_device:") for device in tf.config.list_physical_devices())
    print(f"devices      {devices}")
    if "GPU" in devices:
        print("             not tested on a GPU; there, a seed or a resume need not give the same bits")
    else:
        print(f"             no GPU; if there is one: {extra_command('gpu')}")
    used = usable_cores()
    print(f"threads      {used} available; a run uses --threads 1 unless told otherwise")
    for name, (purpose, _) in EXTRAS.items():
        missing = ", ".join(missing_modules(name))
        state = f"missing {missing}: {extra_command(name)}" if missing else "installed"
        print(f"extra        {name} ({purpose}): {state}")
    if not missing_modules("ray"):
        print(f"cluster      {_cluster_needs()}")


def _cluster_needs() -> str:
    """What a Ray cluster needs on this machine: one token on all of its machines, and the same versions."""
    same = "all machines need the versions above"
    if not token_file().exists():
        return f"`ray get-auth-token --generate` makes a token, which all machines need; {same}"
    return f"the token is in {shown(token_file())}: `export RAY_AUTH_MODE=token` before `ray start`; {same}"
