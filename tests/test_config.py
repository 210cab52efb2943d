"""Config: what is refused and what the message says, presets, and the number of updates that are owed."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tensorq import presets
from tensorq.agents.settings import Algorithm, ExplorationSettings, LearningRateSettings
from tensorq.cli import COMMANDS
from tensorq.config import DEFAULT_PRESET, FIELD_NAMES, Config, RunSettings
from tensorq.errors import CALLED_ELSEWHERE, TensorqError, similar
from tensorq.heads.head import Head
from tensorq.networks.encoders.cnn import CNNEncoder
from tensorq.presets import load_preset, preset_names, resolve
from tensorq.replay.priorities import to_priority
from tensorq.replay.settings import ReplaySettings
from tensorq.settings import field_types, values_of

TYPES = field_types(Config)
NUMBERS = [field for field in dataclasses.fields(Config) if TYPES[field.name] in (int, float)]


def refusal(**settings: Any) -> str:
    with pytest.raises(TensorqError) as caught:
        Config(**settings)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_what_no_preset_says_is_what_the_papers_have() -> None:
    config = Config()
    # Vieillard et al. 2020; Farebrother 2024, Fortunato 2018 and Bellemare 2017, each et al.; Schaul et al. 2016.
    assert (config.munchausen_scale, config.munchausen_temperature, config.munchausen_clip) == (0.9, 0.03, -1)
    assert (config.hl_gauss_deviation, config.noisy_deviation, config.num_atoms) == (0.75, 0.5, 51)
    assert config.hl_gauss_spare_bins == 3  # ours
    assert (config.importance_exponent, config.importance_exponent_final) == (0.4, 1)


# The numbers that mean something below 0 and at 0; others are divided by, or counted to. Shares are at most 1, and more
# than a thousand million of the last would seem to hang.
NEGATIVE = {"initial_value", "value_min", "value_max", "munchausen_clip"}
ZERO = {
    "seed", "episodes", "reset_period_steps", "evaluation_episodes", "evaluation_period_steps", "learning_starts_steps",
    "gamma", "stagger_steps",
    "learning_rate_final", "learning_rate_anneal_updates", "max_gradient_norm", "epsilon_start", "epsilon_final",
    "epsilon_anneal_steps", "priority_exponent", "importance_exponent", "importance_exponent_final",
    "importance_anneal_updates", "munchausen_scale", "hl_gauss_spare_bins", "trace_decay", "averaging_rate",
}  # fmt: skip
SHARES = (
    "gamma", "epsilon_start", "epsilon_final", "target_sync_rate", "importance_exponent", "importance_exponent_final",
    "trace_decay",
)  # fmt: skip
ENDLESS = ("replay_ratio", "n_step", "rollout_epochs", "evaluation_episodes")


def test_numbers_that_mean_nothing_are_refused_by_name() -> None:
    names = {field.name for field in NUMBERS}
    refused = [(name, -1) for name in names - NEGATIVE] + [(name, 0) for name in names - NEGATIVE - ZERO]
    for name, value in (*refused, *((name, 1.5) for name in SHARES), *((name, 10**9) for name in ENDLESS)):
        assert refusal(**{name: value}).startswith(f"{name}: received {value}")
    for name in NEGATIVE:
        algorithm = "qtable" if name == "initial_value" else "dqn"
        assert getattr(Config(**{name: -0.5, "algorithm": algorithm}), name) == -0.5


def test_what_is_no_number_is_refused() -> None:
    for field in NUMBERS:
        kind = "a whole number" if TYPES[field.name] is int else "a number"
        for junk in ("3", None, True, math.nan, -math.inf, [3], *([2.5] if TYPES[field.name] is int else [])):
            assert refusal(**{field.name: junk}) == f"{field.name}: received {junk!r}, expected {kind}."
        for large in (10**19, 10**400):  # too large for 64 bits
            assert refusal(**{field.name: large}).startswith(f"{field.name}: received 1000")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        # Each wording of what is expected.
        ({"seed": 2**31}, "seed: received 2147483648, expected a whole number from 0 to 2,147,483,647."),
        ({"steps": 0}, "steps: received 0, expected a whole number of at least 1."),
        ({"gamma": 1.01}, "gamma: received 1.01, expected a number from 0 to 1."),
        ({"learning_rate": 0}, "learning_rate: received 0.0, expected a number above 0."),
        ({"replay_ratio": 0}, "replay_ratio: received 0.0, expected a number above 0 and at most 1,000."),
        ({"munchausen_clip": 0.1}, "munchausen_clip: received 0.1, expected a number of at most 0."),
        ({"double": 1}, "double: received 1, expected true or false."),
        ({"env": 3}, "env: received 3, expected text."),
        ({"loss": None}, "loss: received None, expected one of mse, huber."),
        (
            {"head": "c51"},
            "head: received 'c51', expected one of expected, categorical, quantile, implicit_quantile, hl_gauss.",
        ),
        ({"hidden_sizes": 256}, "hidden_sizes: received 256, expected whole numbers such as 256 256."),
        ({"hidden_sizes": "64 64"}, "hidden_sizes: received '64 64', expected whole numbers such as 256 256."),
        ({"hidden_sizes": (64.5,)}, "hidden_sizes: received (64.5,), expected whole numbers such as 256 256."),
        ({"hidden_sizes": (64, 0)}, "hidden_sizes: received (64, 0), expected whole numbers of at least 1."),
        # Settings that do not go with each other.
        *(
            (
                {"head": "categorical", "value_min": low, "value_max": high},
                f"value_min: received {low}, expected less than value_max {high}.",
            )
            for low, high in ((3.0, 3.0), (0.0, -1.0))
        ),
        *(
            (
                {"overlap_learning": True, name: value, "algorithm": algorithm, "batch_size": 32},
                f"{name} {value} with overlap_learning true: expected one of the two, because what {name} keeps would "
                "change during learning.",
            )
            for name, value, algorithm in (
                ("priority_exponent", 0.5, "dqn"),
                ("normalize_observations", True, "dqn"),
                ("averaging_rate", 0.1, "pqn"),
            )
        ),
        ({"head": "quantile", "num_atoms": 1}, "num_atoms: received 1, expected at least 2 for head quantile."),
        (
            {"head": "hl_gauss", "num_atoms": 7},
            "num_atoms: received 7, of which hl_gauss_spare_bins 3 lie on each side of the returns: expected at least "
            "8, or fewer spare bins.",
        ),
        (
            {"head": "hl_gauss", "num_atoms": 1, "hl_gauss_spare_bins": 0},
            "num_atoms: received 1, expected at least 2 for head hl_gauss.",
        ),
        (
            {"head": "quantile", "loss": "mse"},
            "loss: received 'mse', expected 'huber' with head quantile: it is a setting of head expected. Leave it "
            "out.",
        ),
        (
            {"n_step": 5, "num_envs": 13, "batch_size": 64, "replay_capacity": 64},
            "n_step 5 in num_envs 13 environments spans more than replay_capacity 64: lower the one or raise the "
            "other.",
        ),
        (
            {"batch_size": 65, "replay_capacity": 64},
            "batch_size 65 is larger than replay_capacity 64: lower the one or raise the other.",
        ),
        (
            {"learning_starts_steps": 1_000, "steps": 1_000},
            "learning_starts_steps 1000 is not before the end of training at 1000 steps, so nothing would be learned: "
            "lower it or raise steps.",
        ),
        (  # 1 099 - 1 000 is less than a period of 100
            {"steps": 1_099, "update_period_steps": 100},
            "replay_ratio 1 with update_period_steps 100 gives no update in the 99 steps after learning_starts_steps, "
            "so nothing would be learned: raise replay_ratio or steps, or lower the others.",
        ),
        *(
            ({"algorithm": "pqn", "num_envs": 16, "rollout_length": 32, "batch_size": 64, **settings}, message)
            for settings, message in [
                (
                    {"double": True},
                    "double: received True, expected False with algorithm pqn: it is a setting of dqn. Preset pqn "
                    "leaves it at that.",
                ),
                (
                    {"batch_size": 65},
                    "batch_size 65 does not divide the 512 steps of a rollout, num_envs 16 times rollout_length 32: "
                    "give a divisor, such as 64.",
                ),
                (
                    {"steps": 511},
                    "steps 511 end before the first rollout of 512, num_envs 16 times rollout_length 32, so nothing "
                    "would be learned: raise steps or lower the others.",
                ),
            ]
        ),
    ],
)
def test_refusals_name_received_and_expected(settings: dict[str, Any], message: str) -> None:
    assert refusal(**settings) == message


def another_value(field: dataclasses.Field[Any]) -> Any:
    """One that the field may have, and not its default."""
    default = field.default
    if among := values_of(field, TYPES[field.name]):
        return next(value for value in among if value != default)
    if isinstance(default, bool):
        return not default
    return default + 1 if isinstance(default, int) else 0.5


@pytest.mark.parametrize("algorithm", ["dqn", "pqn", "qtable"])
def test_a_setting_that_would_do_nothing_is_refused_and_left_out_of_old_runs(algorithm: str) -> None:
    plain = resolve("CartPole-v1", algorithm)
    used = {field.name for part in (RunSettings, *plain.parts) for field in dataclasses.fields(part)}
    unused = [field for field in dataclasses.fields(Config) if field.name not in used and not field.metadata["idle"]]
    assert len(unused) >= 4
    for field in unused:
        name, value = field.name, another_value(field)
        with pytest.raises(TensorqError) as caught:
            resolve("CartPole-v1", algorithm, **{name: value})
        of_encoder = name in {each.name for each in dataclasses.fields(CNNEncoder)} and algorithm != "qtable"
        chosen = "encoder mlp" if of_encoder else f"algorithm {algorithm}"
        expected = f"{name}: received {value!r}, expected {field.default!r} with {chosen}: "
        assert str(caught.value).startswith(expected) and str(caught.value).endswith(".")
        assert Config.from_saved({**dataclasses.asdict(plain), name: value}) == plain


def test_a_run_from_before_a_setting_was_there_has_what_was_done_then() -> None:
    hl_gauss = resolve("CartPole-v1", "hl_gauss")
    saved = dataclasses.asdict(hl_gauss)
    assert Config.from_saved(saved) == hl_gauss
    del saved["hl_gauss_spare_bins"]
    assert Config.from_saved(saved) == dataclasses.replace(hl_gauss, hl_gauss_spare_bins=0)
    assert Config.from_dict(saved) == hl_gauss


def test_the_support_reaches_beyond_the_returns_by_spare_bins_of_hl_gauss_alone() -> None:
    # 100 / (13 - 1 - 6) = 16.667 apart; without spare bins 100 / 12.
    config = Config(head="hl_gauss", num_atoms=13, value_min=0, value_max=100)
    assert config.part(Head).support == pytest.approx((-50, 150, 13))
    assert config.replace(hl_gauss_spare_bins=0).part(Head).support == (0, 100, 13)
    assert config.replace(head="categorical").part(Head).support == (0, 100, 13)


def test_sizes_that_are_not_used_do_not_matter() -> None:
    Config(algorithm="pqn", num_envs=4, rollout_length=32, batch_size=32, steps=512)  # learns from its first step on
    Config(algorithm="pqn", num_envs=8, batch_size=32, replay_capacity=4)
    Config(algorithm="qtable", num_envs=8, batch_size=32, replay_capacity=4, steps=10, hidden_sizes=(3,))
    assert Config(num_atoms=1, loss="mse").part(Head).outputs_per_action == 1


def test_priorities_stay_finite_and_above_0_up_to_the_largest_exponent() -> None:
    assert refusal(priority_exponent=2.01) == "priority_exponent: received 2.01, expected a number from 0 to 2."
    largest = Config(priority_exponent=2).priority_exponent
    small, large = (to_priority(np.float64(size), largest) for size in (1e-6, 1e6))
    assert small > 0
    total = 2.0**40 * large
    assert np.isfinite(total)
    assert np.isfinite((small / total) ** -1.0)  # an importance weight that corrects fully


def test_numbers_become_what_the_field_wants() -> None:
    config = Config(
        steps=5e4, gamma=1, batch_size=np.int64(32), learning_rate=np.float64(0.5), hidden_sizes=np.array([8, 8])
    )
    assert config == Config(steps=50_000, gamma=1.0, batch_size=32, learning_rate=0.5, hidden_sizes=(8, 8))
    values = (config.steps, config.gamma, config.batch_size, config.learning_rate)
    assert [type(value) for value in values] == [int, float, int, float]
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.steps = 1


def test_names_from_elsewhere_lead_to_names_that_there_are() -> None:
    assert set(CALLED_ELSEWHERE.values()) <= {*FIELD_NAMES, "progress"}
    assert not set(CALLED_ELSEWHERE) & set(FIELD_NAMES)


ANYWHERE = [*FIELD_NAMES, *preset_names(), *COMMANDS]


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        # A letter changed, dropped, added or swapped with its neighbour; two of them in a longer word.
        ("gama", ["gamma"]), ("seeds", ["seed"]), ("trian", ["train"]), ("dqm", ["dqn"]),
        ("learnign_rate", ["learning_rate"]), ("lerning_rat", ["learning_rate"]), ("batchSize", ["batch_size"]),
        ("qr-dqn", ["qrdqn"]), ("n_steps", ["n_step"]), ("setps", ["steps"]),
        # One begins the other, or is a whole part of it.
        ("reco", ["record"]), ("learning_start", ["learning_starts_steps"]), ("rainbow_dqn", ["rainbow"]),
        ("epsilon", ["epsilon_start", "epsilon_final", "epsilon_anneal_steps"]), ("capacity", ["replay_capacity"]),
        ("max_steps", ["steps"]), ("random_seed", ["seed"]),
        # Names of other libraries.
        ("lr", ["learning_rate"]), ("buffer_size", ["replay_capacity"]), ("ddqn", ["double"]),
        # Words that mean something else.
        ("nope", []), ("foo", []), ("bar", []), ("test", []), ("help", []), ("person", []), ("performance", []),
        ("ppo", []), ("a2c", []), ("td3", []), ("sac", []), ("x", []), ("zz", []), ("policy", []), ("list", []),
    ],
)  # fmt: skip
def test_a_guess_is_sensible_or_is_not_made(word: str, meant: list[str]) -> None:
    assert similar(word, ANYWHERE) == meant


def test_from_dict_reads_what_json_kept() -> None:
    config = Config(env="Acrobot-v1", hidden_sizes=(3, 4), learning_rate=1 / 3, double=True)
    assert Config.from_dict(json.loads(json.dumps(dataclasses.asdict(config)))) == config


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"learning_rat": 1}, "unknown setting 'learning_rat': did you mean learning_rate?"),
        ({"buffer_size": 1}, "unknown setting 'buffer_size': did you mean replay_capacity?"),
        ({"qqqq": 1}, "unknown setting 'qqqq': expected a field of tq.Config (`tensorq train --help` expl"),
    ],
)
def test_from_dict_refuses_unknown_names(values: Any, message: str) -> None:
    with pytest.raises(TensorqError) as caught:
        Config.from_dict(values)
    assert str(caught.value).startswith(message)


def test_from_dict_refuses_what_is_no_mapping() -> None:
    for read in (Config.from_dict, Config.from_saved):
        for junk in ([1, 2], None, 3, {1: 2}, {"algorithm": ["dqn"]}):
            with pytest.raises(TensorqError):
                read(junk)  # type: ignore[arg-type]


# 0.5 updates a step, owed at every fourth step after the tenth: nothing at 13, floor((14 - 10) / 4) * 4 / 2 = 2 at 14.
@pytest.mark.parametrize(("steps", "owed"), [(0, 0), (10, 0), (13, 0), (14, 2), (17, 2), (18, 4), (100, 44)])
def test_updates_owed(steps: int, owed: int) -> None:
    config = Config(replay_ratio=0.5, update_period_steps=4, learning_starts_steps=10)
    assert [config.part(Algorithm).updates_owed(steps, num_envs) for num_envs in (1, 4)] == [owed, owed]


def test_schedules_on_plain_numbers() -> None:
    config = Config(epsilon_start=1, epsilon_final=0.2, epsilon_anneal_steps=100, learning_rate=0.1)
    epsilon_at = config.part(ExplorationSettings).epsilon_at
    assert [epsilon_at(steps) for steps in (0, 50, 100, 900)] == pytest.approx([1, 0.6, 0.2, 0.2])
    annealed = config.replace(learning_rate_final=0.02, learning_rate_anneal_updates=4).part(LearningRateSettings)
    assert [annealed.learning_rate_at(updates) for updates in (0, 2, 4, 9)] == pytest.approx([0.1, 0.06, 0.02, 0.02])
    assert config.part(LearningRateSettings).learning_rate_at(9) == 0.1


def test_importance_exponent_anneals_in_updates() -> None:
    config = Config(importance_exponent=0.4, importance_exponent_final=1.0, importance_anneal_updates=100)
    replay = config.part(ReplaySettings)
    assert [replay.importance_exponent_at(n) for n in (0, 50, 100, 900)] == pytest.approx([0.4, 0.7, 1, 1])


# --- every pair of switches -------------------------------------------------------------------------------------------

PAIRED: list[tuple[str, Any]] = [
    ("double", True), ("dueling", True), ("noisy", True), ("munchausen", True), ("n_step", 3),
    ("priority_exponent", 0.6), ("layer_norm", True), ("scale_observations", True), ("optimizer", "rmsprop"),
    ("loss", "mse"), ("max_gradient_norm", 10.0), ("target_sync_rate", 0.5),
    *(("head", head) for head in ("expected", "categorical", "quantile", "implicit_quantile", "hl_gauss")),
]  # fmt: skip
# What docs/methods.md says goes with neither; whatever the algorithm, a head other than the first has its own loss.
REFUSED = {
    "dqn": set(),
    "pqn": {"double", "munchausen", "noisy", "priority_exponent", "n_step", "head", "target_sync_rate"},
    "qtable": {name for name, _ in PAIRED},
}


@pytest.mark.parametrize("algorithm", REFUSED)
def test_every_pair_of_switches_goes_together_or_is_refused_with_a_reason(algorithm: str) -> None:
    for pair in itertools.combinations(PAIRED, 2):
        settings = dict(pair)
        changed = {name for name, value in settings.items() if value != "expected"}
        wrong = REFUSED[algorithm] & changed or {"head", "loss"} <= changed
        if len(settings) < 2:  # two heads
            continue
        try:
            Config(algorithm=algorithm, num_envs=2, **settings)  # whose rollouts are a batch of PQN's
        except TensorqError as error:
            assert wrong, f"{settings}: {error}"
            assert any(name in str(error) for name in changed), f"{settings}: {error}"
        else:
            assert not wrong, f"{settings} were not refused"


# --- presets ----------------------------------------------------------------------------------------------------------


def test_presets_load_the_default_first() -> None:
    names = preset_names()
    assert names[0] == DEFAULT_PRESET == "dqn"
    assert "blog" in names
    for name in names:
        assert load_preset(name)["about"]
        assert resolve("CartPole-v1", name).preset == name
    with pytest.raises(TensorqError, match="unknown preset 'blok': did you mean blog?"):
        resolve("CartPole-v1", "blok")


def test_preset_blog_is_the_post() -> None:
    expected = Config(
        env="CartPole-v1",
        preset="blog",
        episodes=200,  # range(200)
        steps=200 * 500,  # no step limit: 200 episodes of at most 500
        num_envs=1,
        hidden_sizes=(256,),  # Dense(256)
        replay_capacity=32_000,  # REPLAY_SIZE
        batch_size=64,  # MINIBATCH_SIZE
        learning_starts_steps=500,  # REPLAY_START_SIZE
        epsilon_start=1.0,  # EPSILON_START
        epsilon_final=0.1,  # EPSILON_FINAL
        epsilon_anneal_steps=100,  # EPSILON_ANNEAL_FRAMES
        replay_ratio=1.0,  # UPDATE_FREQUENCY = 1
        update_period_steps=1,
        target_sync_updates=20,  # TARGET_UPDATE_FREQUENCY, set_weights
        target_sync_rate=1.0,
        gamma=0.99,  # DISCOUNT
        learning_rate=0.001,  # Adam(learning_rate=0.001), its epsilon Keras' default
        learning_rate_anneal_updates=0,
        optimizer_epsilon=1e-7,
        max_gradient_norm=0.0,
        loss="mse",  # losses.MSE
        double=False,
    )
    found, wanted = dataclasses.asdict(resolve("CartPole-v1", "blog")), dataclasses.asdict(expected)
    assert {name: found[name] for name in wanted} == wanted


def test_resolve_overrides_environment_section_overrides_preset(monkeypatch: pytest.MonkeyPatch) -> None:
    content = {"about": "x", "gamma": 0.5, "seed": 1, "batch_size": 7, "environments": {"A": {"seed": 2, "gamma": 0.6}}}
    monkeypatch.setattr(presets, "load_preset", lambda name: json.loads(json.dumps(content)))
    assert resolve("A", "p", gamma=0.7) == Config(env="A", preset="p", gamma=0.7, seed=2, batch_size=7)
    assert resolve("B", "p") == Config(env="B", preset="p", gamma=0.5, seed=1, batch_size=7)
    with pytest.raises(TensorqError, match="unknown setting 'gama': did you mean gamma"):
        resolve("A", "p", gama=1)


def test_the_section_of_an_id_comes_after_those_of_patterns(tmp_path: Path) -> None:
    sections = (
        '[environments."Corridor-v1"]\ngamma = 0.1', '[environments."Corridor-*"]\ngamma = 0.2\nseed = 3',
        '[environments."*-v1"]\nseed = 4',
    )  # fmt: skip
    (tmp_path / "p.toml").write_text("\n".join(sections))
    found = [resolve(env, str(tmp_path / "p.toml")) for env in ("Corridor-v1", "Corridor-v2", "Hall-v1", "Hall-v2")]
    usual = Config()
    assert [(each.gamma, each.seed) for each in found] == [(0.1, 4), (0.2, 3), (usual.gamma, 4), (usual.gamma, 0)]


def test_a_preset_that_extends_dqn_changes_what_it_names_and_nothing_else() -> None:
    for preset in preset_names():
        content = load_preset(preset)
        if content.get("extends") == "dqn":
            named = {"preset", *content, *content.get("environments", {}).get("CartPole-v1", {})}
            dqn, found = (dataclasses.asdict(resolve("CartPole-v1", name)) for name in ("dqn", preset))
            assert {name for name in found if found[name] != dqn[name]} <= named, preset


def test_every_preset_goes_with_every_environment_for_which_a_preset_has_a_section() -> None:
    envs = {env for preset in preset_names() for env in load_preset(preset).get("environments", {})}
    for preset, env in itertools.product(preset_names(), envs):
        config = resolve(env, preset)
        assert config.env == env
        if load_preset(preset).get("extends") == "dqn":
            assert config.steps == resolve(env).steps


def test_a_preset_s_loss_is_left_out_where_the_head_has_its_own() -> None:
    assert resolve("LunarLander-v3").loss == "mse"
    assert resolve("LunarLander-v3", head="quantile").loss == "huber"
    with pytest.raises(TensorqError, match="loss: received 'mse', expected 'huber' with head quantile"):
        resolve("LunarLander-v3", head="quantile", loss="mse")


def test_a_goal_wants_evaluations_of_a_hundred_episodes() -> None:
    assert Config(stop_return=475).stop_return == 475.0  # a float
    for wrong in ("475", True, float("nan"), float("inf")):
        with pytest.raises(TensorqError, match="stop_return: received .*, expected a number"):
            Config(stop_return=wrong)  # type: ignore[arg-type]
    with pytest.raises(TensorqError, match="stop_return: received 475 with evaluation_period_steps 0, expected eval"):
        Config(stop_return=475.0, evaluation_period_steps=0)
    # All at once in the compiled loop; the host loop plays the rest where a few have reached it.
    config = Config(stop_return=475.0, evaluation_episodes=20)
    assert [config.num_evaluation_episodes(loop) for loop in ("compiled", "host")] == [100, 20]
    config = Config(evaluation_episodes=20)
    assert [config.num_evaluation_episodes(loop) for loop in ("compiled", "host")] == [20, 20]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("extends = 5", "extends: received 5, expected the name of a preset"),
        ('extends = "mine.toml"', "preset 'mine.toml' extends itself: mine.toml extends mine.toml"),
        ("environments = 3", "environments: received 3, expected tables such as"),
        ("[environments]\nCartPole-v1 = 4", "environments: received {'CartPole-v1': 4}, expected tables such as"),
        ("gamma = 2.0", "mine.toml: gamma: received 2.0"),
    ],
)
def test_a_presets_file_of_another_form_is_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.toml").write_text(text)
    for settings in ({}, {"steps": 2_000}):
        with pytest.raises(TensorqError, match=re.escape(message)):
            resolve("CartPole-v1", "mine.toml", **settings)
