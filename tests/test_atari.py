"""Atari games: preprocessed once, with their own defaults, and what is refused in one line."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.wrappers import AtariPreprocessing, FrameStackObservation
from PIL import Image

import tensorq as tq
from forked import run as command
from tensorq.envs.description import describe
from tensorq.envs.gymnasium_ids import gymnasium_maker
from tensorq.envs.host import make_host_environments
from tensorq.errors import TensorqError
from tensorq.extras import missing_modules
from tensorq.presets import load_preset, preset_names, resolve

PONG = "ALE/Pong-v5"
needs_games = pytest.mark.skipif(bool(missing_modules("atari")), reason="needs the atari extra: make extras")


def own_pong(**keywords: Any) -> gym.Env:
    import ale_py

    gym.register_envs(ale_py)
    return AtariPreprocessing(gym.make(PONG, frameskip=1, **keywords))


@needs_games
def test_a_game_is_preprocessed_once() -> None:
    """The same pictures, rewards and ends as by hand; also those of a function of one's own, which is used as it is."""
    ours, plain, own = gymnasium_maker(PONG)(), own_pong(), make_host_environments(own_pong, 1)
    assert isinstance(ours, gym.Env)
    assert ours.observation_space == plain.observation_space == gym.spaces.Box(0, 255, (84, 84), np.uint8)
    assert str(ours).count("AtariPreprocessing") == 1
    ale: Any = ours.unwrapped.ale  # type: ignore[attr-defined]
    assert ale.getFloat("repeat_action_probability") == 0.25
    expected, _ = plain.reset(seed=3)
    np.testing.assert_array_equal(ours.reset(seed=3)[0], expected)
    own.reset([3])
    before = ale.getEpisodeFrameNumber()
    for action in np.random.default_rng(0).integers(0, 6, 60).tolist():
        expected, *results = plain.step(action)[:4]
        obs, *found = ours.step(action)[:4]
        assert found == results
        np.testing.assert_array_equal(obs, expected)
        np.testing.assert_array_equal(own.step(np.array([action], np.int32)).next_obs[0], expected)
    assert ale.getEpisodeFrameNumber() - before == 60 * 4
    for each in (ours, plain, own):
        each.close()


@needs_games
def test_arguments_of_the_game_and_the_time_limit() -> None:
    given = {"frameskip": 2, "repeat_action_probability": 0.0, "full_action_space": True, "max_episode_steps": 5}
    env = gymnasium_maker(PONG, given)()
    assert isinstance(env, gym.Env) and env.action_space == gym.spaces.Discrete(18)
    ale = env.unwrapped.ale  # type: ignore[attr-defined]
    assert ale.getFloat("repeat_action_probability") == 0
    env.reset(seed=0)
    before = ale.getEpisodeFrameNumber()
    assert [env.step(0)[3] for _ in range(5)] == [False] * 4 + [True]
    assert ale.getEpisodeFrameNumber() - before == 5 * 2
    assert env.metadata["render_fps"] == 30
    limits = [describe(PONG, None, env_args).max_episode_steps for env_args in (given, {"frameskip": 2}, {})]
    assert limits == [5, 54_000, 27_000]
    assert describe(PONG, None, {"max_num_frames_per_episode": 400}).max_episode_steps == 100


@needs_games
@pytest.mark.parametrize(
    ("env", "env_args", "message"),
    [
        (PONG, {"frameskip": 0}, "received frameskip 0 for ALE/Pong-v5, expected a whole number of at least 1"),
        (PONG, {"frameskip": [2, 5]}, r"received frameskip \[2, 5\] .*, expected a whole number of at least 1"),
        (
            PONG,
            {"obs_type": "ram"},
            "ALE/Pong-v5 takes no obs_type, its pictures are grey: for other observations",
        ),
        (PONG, {"frame_skip": 4}, "ALE/Pong-v5 takes no 'frame_skip': did you mean frameskip"),
        (PONG, {"mode": 77}, "'ALE/Pong-v5' with mode=77 cannot be made"),
        ("ALE/Pnog-v5", {}, "'ALE/Pnog-v5' cannot be made: .*Pong"),
    ],
)
def test_what_a_game_cannot_be_made_with_is_said_in_one_line(env: str, env_args: dict[str, Any], message: str) -> None:
    with pytest.raises(TensorqError, match=message) as error:
        gymnasium_maker(env, env_args)()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("module", ["ale_py", "cv2"])
def test_a_missing_package_is_named_with_its_command(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == module else find(name))
    with pytest.raises(TensorqError, match=rf"^environment '{PONG}' needs the atari extra: .* install .*\S$"):
        tq.train(PONG)


@pytest.mark.parametrize("preset", preset_names())
def test_games_have_defaults_that_yield_to_preset_and_user(preset: str, tmp_path: Path) -> None:
    config = resolve(PONG, preset)
    if config.algorithm == "qtable":  # it has no frames and no encoder
        assert config == resolve("Other-v0", preset, reset_period_steps=54_000).replace(env=PONG)
        return
    own = load_preset(preset).get("encoder")
    assert (config.frame_stack, config.encoder) == (4, own or "nature")
    assert (resolve("Other-v0", preset).frame_stack, resolve("Other-v0", preset).encoder) == (1, own or "auto")
    assert resolve("ale_py:" + PONG, preset).frame_stack == 4
    given = resolve(PONG, preset, frame_stack=1, encoder="cnn", channels=(8,), kernel_sizes=(8,), strides=(8,))
    assert (given.frame_stack, given.encoder) == (1, "cnn")
    file = tmp_path / "mine.toml"
    file.write_text(f'extends = "{preset}"\nframe_stack = 2\n')
    assert (resolve(PONG, str(file)).frame_stack, resolve(PONG, str(file)).encoder) == (2, own or "nature")


@needs_games
def test_a_run_from_the_command_to_the_film(tmp_path: Path) -> None:
    settings: dict[str, Any] = {
        "steps": 240, "learning-starts-steps": 100, "replay-capacity": 200, "batch-size": 8, "update-period-steps": 20,
        "replay-ratio": 0.05, "hidden-sizes": 16, "evaluation-episodes": 1, "evaluation-max-episode-steps": 20,
    }  # fmt: skip
    # A small network, because XLA takes half a minute to compile that of encoder nature.
    settings |= {"encoder": "cnn", "channels": 4, "kernel-sizes": 8, "strides": 8}
    options = [text for name, value in settings.items() for text in (f"--{name}", str(value))]
    run_dir = tmp_path / "run"
    done = command("train", PONG, *options, "--run-dir", str(run_dir), cwd=tmp_path)
    assert "Stella" not in done.output + done.errors
    run = tq.open_run(run_dir)
    assert (run.config.frame_stack, run.config.encoder) == (4, "cnn")
    assert run.result["updates"] == 7  # 0.05 * 140
    replay = (run_dir / "replay.bin").stat().st_size
    assert 200 * 84 * 84 < replay < 210 * 84 * 84  # single frames
    env = FrameStackObservation(own_pong(), 4)
    obs, _ = env.reset(seed=1)
    assert run.agent().q_values(obs).shape == (6,)
    env.close()
    with Image.open(run_dir / "video.gif") as picture:
        frame = np.asarray(picture.convert("RGB"))
    assert (frame[..., 0] != frame[..., 1]).mean() > 0.3  # of Pong's brown, and not grey
