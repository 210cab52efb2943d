"""Several runs on the machines of a Ray cluster: the same results as alone, whatever is lost on the way."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import tensorq as tq
from tensorq import cli
from tensorq.errors import TensorqError
from tensorq.many import cluster as clusters
from tensorq.many import host as hosts
from tensorq.many.host import Host, Proof
from tensorq.many.pool import to_bytes
from tensorq.many.worker import Functions, Task
from tensorq.show.catalogue import print_diagnosis

# A table of Q-values, so that workers import no TensorFlow.
SETTINGS: dict[str, Any] = {
    "preset": "qtable", "steps": 30_000, "progress": "quiet", "evaluation_episodes": 3,
    "checkpoint_period_steps": 2_000, "evaluation_period_steps": 2_000,
}  # fmt: skip
FILES = ("metrics.csv", "episodes.csv", "checkpoints/best.safetensors")


def contents(run: Path) -> list[bytes]:
    return [(run / name).read_bytes() for name in FILES]


def alone(seed: int, folder: Path) -> list[bytes]:
    return contents(tq.train("FrozenLake-v1", seed=seed, run_dir=folder / f"alone{seed}", **SETTINGS).path)


def wait_for(path: Path) -> None:
    end = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < end, f"{path} did not come"
        time.sleep(0.02)


@pytest.fixture(scope="module")
def ray() -> Iterator[Any]:
    """A cluster whose one machine has no cores, as Ray counts them, to which others can be added."""
    pytest.importorskip("ray")
    import ray
    from ray.cluster_utils import Cluster

    os.environ.update(RAY_USAGE_STATS_ENABLED="0", RAY_AUTH_MODE="disabled")
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
    yield cluster
    ray.shutdown()
    cluster.shutdown()


def test_each_seed_has_the_run_that_it_has_alone(ray: Any, tmp_path: Path) -> None:
    node = ray.add_node(num_cpus=2)
    runs = tq.train_many("FrozenLake-v1", seeds=[0, 1], on="ray", run_dir=tmp_path / "runs", **SETTINGS)
    assert [contents(run.path) for run in runs] == [alone(seed, tmp_path) for seed in (0, 1)]
    assert sorted(path.name for path in runs.path.iterdir()) == ["compare.png", "lock", "runs.json", "seed0", "seed1"]
    assert [run.result["steps"] for run in tq.resume_many(runs, steps=32_000, on="ray", progress="quiet")] == [
        32_000
    ] * 2
    ray.remove_node(node)


@pytest.mark.parametrize("shared", [True, False])
def test_a_run_goes_on_when_its_machine_is_lost(
    shared: bool, ray: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(clusters.Cluster, "look_for_shared_storage", shared)
    node = ray.add_node(num_cpus=1)

    settings = {**SETTINGS, "progress": "plain"}
    train = partial(tq.train_many, "FrozenLake-v1", on="ray", jobs=1, run_dir=tmp_path / "runs", **settings)
    with ThreadPoolExecutor() as threads:
        training = threads.submit(train, seeds=[3])
        wait_for(tmp_path / "runs/seed3/checkpoints/step_000004000.safetensors")
        ray.remove_node(node, allow_graceful=False)
        other = ray.add_node(num_cpus=1)
        runs = training.result(90)
    assert "seed3: warning: its machine was lost" in capsys.readouterr().out
    assert contents(runs.path / "seed3") == alone(3, tmp_path)
    ray.remove_node(other)


def test_a_stopped_run_is_here_and_goes_on(ray: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clusters.Cluster, "look_for_shared_storage", False)
    node = ray.add_node(num_cpus=1)
    settings = {**SETTINGS, "steps": 60_000}

    def stop() -> None:
        wait_for(tmp_path / "runs/seed4/checkpoints/step_000004000.safetensors")
        os.kill(os.getpid(), signal.SIGTERM)

    with ThreadPoolExecutor() as threads:
        threads.submit(stop)
        with pytest.raises(tq.StoppedRuns, match="tensorq resume") as stopped:
            tq.train_many("FrozenLake-v1", seeds=[4], on="ray", run_dir=tmp_path / "runs", **settings)
    assert stopped.value.exit_code == 143
    assert not (tmp_path / "runs/seed4/result.json").exists()
    assert tq.open_run(tmp_path / "runs/seed4").metrics["steps"].max() < 60_000
    runs = tq.resume_many(tmp_path / "runs", progress="quiet")  # on this machine
    alone = tq.train("FrozenLake-v1", seed=4, run_dir=tmp_path / "alone", **settings)
    assert contents(runs.path / "seed4") == contents(alone.path)
    ray.remove_node(node)


def test_a_search_on_a_cluster_with_fewer_cores_than_jobs(ray: Any, tmp_path: Path) -> None:
    node = ray.add_node(num_cpus=1)
    settings = {**SETTINGS, "steps": 500, "evaluation_period_steps": 500}
    search = tq.tune(
        "FrozenLake-v1",
        trials=2,
        seeds_per_trial=1,
        fresh_seeds=0,
        jobs=2,
        on="ray",
        run_dir=tmp_path / "s",
        **settings,
    )
    assert [each["state"] for each in search.trials] == ["finished", "finished"]
    ray.remove_node(node)


def test_what_cannot_work_on_a_cluster_is_one_line(ray: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train = partial(tq.train_many, "FrozenLake-v1", seeds=[0], run_dir=tmp_path / "runs", on="ray", **SETTINGS)
    with pytest.raises(TensorqError, match="threads: received 64, expected at most 0, as any machine has cores"):
        train(threads=64)
    node = ray.add_node(num_cpus=1)
    monkeypatch.setattr(clusters, "versions", lambda: {"tensorq": "9.9", "python": "3", "tensorflow": "2"})
    with pytest.raises(
        TensorqError, match="a machine of the cluster has tensorq 0.* and this one 9.9: install the same"
    ):
        train()
    ray.remove_node(node)
    assert not (tmp_path / "runs").exists()


def test_ray_must_be_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    train = partial(tq.train_many, "FrozenLake-v1", seeds=[0], run_dir=tmp_path / "runs", **SETTINGS)
    for message, wrong in (
        (r"on \(--on\): received 'dask', expected 'ray', or None", {"on": "dask"}),
        (r"nobody answers at 127.0.0.1:1 \(.*refused\): start a cluster", {"on": "ray", "address": "127.0.0.1:1"}),
        (r"received '127.0.0.1:x', expected HOST:PORT", {"on": "ray", "address": "127.0.0.1:x"}),
        (r"address \(--address\): received 'auto', expected a text such as 'auto', with on='ray'", {"address": "auto"}),
    ):
        with pytest.raises(TensorqError, match=message):
            train(**wrong)
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(TensorqError, match="--on ray needs the ray extra: .*install"):
        train(on="ray")
    monkeypatch.setattr(clusters.sys, "version_info", (3, 10))
    with pytest.raises(TensorqError, match="Ray needs Python 3.11 or newer"):
        train(on="ray")
    assert not (tmp_path / "runs").exists()
    assert cli.run(["train", "FrozenLake-v1", "--on", "ray"]) == 2
    assert "--on: received ray for one run, expected it with --seeds" in capsys.readouterr().err


def test_a_machine_without_shared_storage_hands_over_what_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tq.Config(env="FrozenLake-v1", preset="qtable", algorithm="qtable", steps=1_000, evaluation_episodes=3)
    task = Task("train", tmp_path / "run", config.to_dict(), to_bytes(Functions(), "nothing"), tmp_path / "output.txt")
    host = Host()
    proof = Proof(tmp_path / "proof", "the text")
    own = host.begin(task, proof)  # which is not there
    assert own is not None
    host.start()
    answers: list[dict[str, Any]] = []
    while not answers or answers[-1]["event"] != "ended":
        answers += host.answers(1.0)
    assert answers[-1]["how"] == "finished"
    sizes, changed = host.changes()
    assert {"config.json", "result.json", "metrics.csv", "checkpoints/best.safetensors"} <= {*sizes} == {*changed}
    assert host.changes() == (sizes, {})
    [(offset, size)] = changed["config.json"]
    assert b'"FrozenLake-v1"' in host.get("config.json", offset, size)
    host.put("run/more.bin", 0, b"12345678")
    host.put("run/more.bin", 4, b"----")
    sizes, changed = host.changes()
    assert (sizes["more.bin"], changed) == (8, {"more.bin": [(0, 8)]})
    assert host.get("more.bin", 0, 99) == b"1234----"
    monkeypatch.setattr(hosts, "CHUNK_BYTES", 4)
    host.put("run/parts.bin", 0, b"123456789")
    host.changes()
    host.put("run/parts.bin", 4, b"----")
    sizes, changed = host.changes()
    assert (sizes["parts.bin"], changed) == (9, {"parts.bin": [(4, 4)]})
    proof.path.write_text("the text")
    assert host.begin(task, proof) is None
    assert not own.exists()
    host.close()


def test_the_doctor_tells_what_a_cluster_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("ray")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "token"))
    print_diagnosis()
    assert "cluster      `ray get-auth-token --generate` makes a token" in capsys.readouterr().out
    (tmp_path / "token").touch()
    print_diagnosis()
    assert "`export RAY_AUTH_MODE=token` before `ray start`" in capsys.readouterr().out
