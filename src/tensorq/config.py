"""Config: all settings of a run. They are flat by name, as people write them; code asks for the part that it needs.

The fields are those of the run itself, defined here, and those of every part that a run can have, defined in the folder
of their subject: algorithms, replay, networks, heads.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from tensorq.agents.settings import ALGORITHMS
from tensorq.errors import TensorqError, nearest
from tensorq.settings import Part, all_parts, choices_of, chosen_parts, default_of, field_types, setting, take

P = TypeVar("P", bound=Part)

DEFAULT_PRESET = "dqn"
SOLVED_EPISODES = 100  # greedy episodes whose mean decides whether an environment is solved
DEFAULT_EVALUATION_EPISODES = {"compiled": 100, "host": 10}
MOST_EVALUATION_EPISODES = 1_000_000  # more would seem to hang


@dataclass(frozen=True, repr=False)
class RunSettings(Part):
    """The settings of the run itself. Counts have their unit: `_steps` are environment steps over all environments."""

    subject = "run"

    env: str = setting(
        "CartPole-v1",
        "Environment id, as in gymnasium.make; `tensorq envs` lists the ids, and which have a compiled world.",
        hidden=True,
    )
    env_args: Mapping[str, Any] = setting(
        {},
        "Keywords for gymnasium.make: numbers, text, true or false, null, and lists and tables of these.",
        hidden=True,
    )
    preset: str = setting(DEFAULT_PRESET, "Named settings to start from; `tensorq presets` lists them.")
    algorithm: str = setting(
        "dqn",
        "Deep Q-learning from replay (dqn); from many environments at once, without replay or target network (pqn); or "
        "Q-learning with a table for Discrete observations, without TensorFlow (qtable).",
        choices=ALGORITHMS,
    )
    loop: Literal["auto", "compiled", "host"] = setting(
        "auto",
        "Where the environment runs: in one XLA program (compiled) or in Python (host); auto compiles if it can.",
    )
    seed: int = setting(0, "Seed of everything random in the run.", at_least=0, at_most=2**31 - 1)
    steps: int = setting(50_000, "Environment steps to train for.", at_least=1)
    episodes: int = setting(
        0,
        "Stop after this many finished training episodes, if that comes first; 0 means no such limit.",
        at_least=0,
    )
    stop_return: float | None = setting(
        None,
        "Stop at the first greedy evaluation whose mean return over at least 100 episodes reaches this value. `tensorq "
        "resume` then continues until an evaluation reaches it again or the run ends.",
    )
    num_envs: int = setting(1, "Environments stepped side by side.", at_least=1)
    stagger_steps: int = setting(
        0,
        "Environment i of N cuts its episode once, as a time limit does, after (i + 1) / N of these steps: then games "
        "of equal length do not all end together. In the host loop, this is repeated after each reset_period_steps.",
        at_least=0,
    )
    single_environment: bool = setting(
        False,
        "Make only one environment, for a robot or a licensed simulator. Greedy evaluations use it too, and end the "
        "training episode that is in progress; no video is made.",
    )
    log_period_steps: int = setting(
        1_000,
        "Environment steps between two rows of metrics.csv; evaluations and checkpoints add rows of their own.",
        at_least=1,
    )
    evaluation_period_steps: int = setting(
        2_500, "Environment steps between two greedy evaluations; 0 evaluates only at the end.", at_least=0
    )
    evaluation_episodes: int = setting(
        0,
        "Greedy episodes in one evaluation; 0 takes 100 in the compiled loop and 10 in the host loop.",
        at_least=0,
        at_most=MOST_EVALUATION_EPISODES,
    )
    evaluation_max_episode_steps: int = setting(
        27_000, "Steps after which a greedy episode is cut and scored as it stands.", at_least=1
    )
    checkpoint_period_steps: int = setting(
        10_000,
        "Environment steps between two checkpoints, from which a run can be resumed.",
        at_least=1,
    )
    reset_period_steps: int = setting(
        0,
        "Environment steps after which all environments of the host loop are reset, so that a resume repeats only the "
        "actions since then; 0 takes checkpoint_period_steps.",
        at_least=0,
    )
    threads: int = setting(
        1, "Threads that TensorFlow uses within one operation, and NumPy within one matrix product.", at_least=1
    )
    tensor_float_32: bool = setting(
        False, "Let a GPU multiply matrices in TensorFloat-32: faster, with three decimal digits instead of seven."
    )

    def __post_init__(self) -> None:
        """Check every field and combination; raises TensorqError."""
        super().__post_init__()
        parts = chosen_parts(RunSettings, vars(self))[1:]
        object.__setattr__(self, "_parts", tuple(take(part, vars(self)) for part in parts))
        names = _names(parts)
        for field in dataclasses.fields(self):
            if field.name not in names and not field.metadata["idle"]:
                _refuse_unused(self, field)
        if self.stop_return is not None and not self.evaluation_period_steps:
            raise TensorqError(
                f"stop_return: received {self.stop_return:g} with evaluation_period_steps 0, expected evaluations at "
                "which it can be reached: give evaluation_period_steps (--evaluation-period-steps) above 0."
            )
        for each in self.parts:
            each.check(self)  # type: ignore[arg-type]  # it is a Config

    @property
    def environment_name(self) -> str:
        """The environment's id with its arguments, such as tensorq/Snake-v0 width=5 height=4."""
        return environment_name(self.env, self.env_args)

    @property
    def parts(self) -> tuple[Part, ...]:
        """The parts of the run, each with its settings."""
        found: tuple[Part, ...] = vars(self)["_parts"]
        return found

    def __repr__(self) -> str:
        """The fields that are not at their defaults, as code that makes an equal Config."""
        changed = {
            field.name: value
            for field in dataclasses.fields(self)
            if (value := getattr(self, field.name)) != default_of(field)
        }
        return f"Config({', '.join(f'{name}={value!r}' for name, value in {'env': self.env, **changed}.items())})"

    def find(self, kind: type[P]) -> P | None:
        """The part of this kind, with its settings; None if this run has none."""
        return next((part for part in self.parts if isinstance(part, kind)), None)

    def part(self, kind: type[P]) -> P:
        """The part of this kind, which this run has."""
        found = self.find(kind)
        if found is None:
            raise LookupError(f"a run with algorithm {self.algorithm} has no {kind.__name__}")
        return found

    def replace(self, **settings: Any) -> Config:
        """A copy with some settings changed."""
        return dataclasses.replace(self, **settings)  # type: ignore[return-value]  # it is a Config

    def to_dict(self) -> dict[str, Any]:
        """Every setting by its name, as config.json has it."""
        return dataclasses.asdict(self)

    @property
    def stagger(self) -> list[int] | None:
        """The steps after which each environment cuts its episode once; None if they do not."""
        count = self.num_envs
        return [-(-self.stagger_steps * (index + 1) // count) for index in range(count)] if self.stagger_steps else None

    def num_evaluation_episodes(self, loop: str) -> int:
        """Greedy episodes in one evaluation; the compiled loop plays all at once, so enough for stop_return."""
        episodes = self.evaluation_episodes or DEFAULT_EVALUATION_EPISODES[loop]
        return episodes if loop == "host" or self.stop_return is None else max(episodes, SOLVED_EPISODES)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Config:
        """A Config from plain values, as read from JSON; raises TensorqError for unknown settings or wrong values."""
        if not isinstance(values, Mapping):
            raise TensorqError(f"received {values!r}, expected settings by name.")
        kind = config_class(values)
        check_names(values, known=[field.name for field in dataclasses.fields(kind)])
        return kind(**values)

    @classmethod
    def from_saved(cls, values: Mapping[str, Any]) -> Config:
        """from_dict for a run's config.json, perhaps of a version that lacked settings or allowed unused ones."""
        kept: Any = values
        if isinstance(values, Mapping):
            fields = {field.name: field.metadata["before"] for field in dataclasses.fields(config_class(values))}
            before = {name: value for name, value in fields.items() if value is not dataclasses.MISSING}
            kept = {**before, **values}
            unused = without_use(kept, across_algorithms=True)
            kept = {name: value for name, value in kept.items() if name not in unused}
        try:
            return cls.from_dict(kept)
        except TensorqError as error:
            raise TensorqError(f"in the run's config.json, {error}") from error


def environment_name(env: str, env_args: Any) -> str:
    """An environment's id with its arguments. Other arguments make another environment, whose returns differ."""
    given = env_args.items() if isinstance(env_args, Mapping) else ()
    return " ".join([env, *(f"{name}={value}" for name, value in given)])


def without_use(flat: Mapping[str, Any], across_algorithms: bool = False) -> set[str]:
    """The settings that would be refused because no chosen part has them.

    Settings that no part of the algorithm can have are among them only with across_algorithms.
    """
    algorithm = flat.get("algorithm", RunSettings.algorithm)
    try:
        used = _names(chosen_parts(RunSettings, flat))
        possible = set(FIELD_NAMES) if across_algorithms else _names(all_parts(ALGORITHMS.part(algorithm)))
    except (KeyError, TypeError):  # an unknown choice, which is reported later
        return set()
    idle = {field.name for field in dataclasses.fields(config_class(flat)) if field.metadata["idle"]}
    return possible - used - idle


def _names(parts: Iterable[type[Part]]) -> set[str]:
    """The settings of the run and of these parts."""
    everything: list[type[Part]] = [RunSettings, *parts]
    return {field.name for part in everything for field in dataclasses.fields(part)}


def _refuse_unused(config: RunSettings, field: dataclasses.Field[Any]) -> None:
    """Refuse a setting that no part of the run has, unless it is at its default."""
    value, usual = getattr(config, field.name), default_of(field)
    if value == usual:
        return
    choice, subject = "", ""
    for owner in chosen_parts(RunSettings, vars(config)):  # the last is the innermost
        for name, choices in choices_of(owner):
            for other in (part for alternative in choices for part in all_parts(choices.part(alternative))):
                if any(each.name == field.name for each in dataclasses.fields(other)):
                    choice, subject = name, other.subject
    own = choice != "algorithm" or config.algorithm in (DEFAULT_PRESET, config.preset)
    hint = "Leave it out." if own else f"Preset {config.algorithm} leaves it at that."
    chosen = f"{choice} {getattr(config, choice)}"
    raise TensorqError(
        f"{field.name}: received {value!r}, expected {usual!r} with {chosen}: it is a setting of {subject}. {hint}"
    )


def config_class(values: Mapping[str, Any]) -> type[Config]:
    """Config; if these values choose parts of other packages, with their settings too."""
    try:
        parts = chosen_parts(RunSettings, values)
    except (KeyError, TypeError):  # an unknown choice, which is reported later
        return Config
    known = set(FIELD_NAMES)
    others = tuple(part for part in parts if any(field.name not in known for field in dataclasses.fields(part)))
    return _flat(others, Config) if others else Config  # type: ignore[return-value]


@functools.cache
def _flat(parts: tuple[type[Part], ...], base: type[RunSettings]) -> type[RunSettings]:
    """A run's dataclass with the fields of these parts too."""
    own = {field.name for field in dataclasses.fields(base)}
    fields = {
        field.name: (field.name, field_types(part)[field.name], setting(default_of(field), **field.metadata))
        for part in parts
        for field in dataclasses.fields(part)
        if field.name not in own
    }
    namespace = {"__module__": __name__, "__doc__": "One training run: " + (RunSettings.__doc__ or "")}
    return dataclasses.make_dataclass(
        "Config", fields.values(), bases=(base,), namespace=namespace, frozen=True, repr=False
    )


if TYPE_CHECKING:

    class Config(RunSettings):
        """A run's settings, and those of its parts, by name."""

        def __init__(self, **settings: Any) -> None: ...
        def __getattr__(self, name: str) -> Any: ...

else:
    Config = _flat(tuple(all_parts(RunSettings)[1:]), RunSettings)

FIELD_NAMES = tuple(field.name for field in dataclasses.fields(Config))


def check_names(values: Iterable[str], others: Iterable[str] = (), known: Iterable[str] = FIELD_NAMES) -> None:
    """Refuse names that are not Config fields; `others` are further names that may have been meant."""
    fields = [*known]
    for name in values:
        if name not in fields:
            expected = ", ".join(["a field of tq.Config (`tensorq train --help` explains each)", *others])
            hint = nearest(str(name), [*fields, *others], f"expected {expected}.")
            raise TensorqError(f"unknown setting {name!r}: {hint}")
