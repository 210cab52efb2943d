"""Imports run one way, and whoever only looks at runs never waits for TensorFlow."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import tensorq

SOURCE = Path(tensorq.__file__).parent
# From low to high; a module may import from its own package and from lower layers.
LAYERS: list[set[str]] = [
    {"errors", "core", "paths", "process", "streams", "extras"},
    {"plugins"},
    {"settings"},
    {"heads"},
    {"networks", "replay"},
    {"agents", "envs"},
    {"config", "events", "worlds", "layers"},
    {"presets", "runs", "evaluation"},
    {"loops", "observers", "show", "stopped"},
    {"training", "preflight", "options"},
    {"trainer"},
    {"api"},
    {"many"},
    {"search"},
    {"cli"},
    {"__main__"},
]
RANK = {package: rank for rank, layer in enumerate(LAYERS) for package in layer}
# Within a layer, (package, what it may import of another).
SIDEWAYS = {
    ("process", "errors"),
    ("paths", "errors"),
    ("agents", "envs.observations"),
    ("agents", "envs.spaces"),
    ("events", "config"),
    ("evaluation", "runs"),
    ("observers", "show.numbers"),
}
LIGHT = (
    "agents.qtable", "agents.settings", "api", "cli", "config", "envs.description", "errors",
    "evaluation.compare", "evaluation.load", "evaluation.play", "evaluation.statistics", "events",
    "extras", "heads", "loops.build", "loops.table", "many", "networks.build", "networks.encoders",
    "networks.settings", "observers", "options", "paths", "preflight", "presets", "process", "replay.host",
    "replay.settings", "runs", "search", "settings", "show", "stopped", "trainer", "training",
)  # fmt: skip


def modules() -> dict[str, ast.Module]:
    """Every module but the package itself, by its name without `tensorq.`."""
    paths = [path for path in SOURCE.rglob("*.py") if path != SOURCE / "__init__.py"]
    names = [".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__") for path in paths]
    return {name: ast.parse(path.read_text("utf-8")) for name, path in zip(names, paths, strict=True)}


def runtime_nodes(tree: ast.AST) -> Iterator[ast.AST]:
    """All nodes but those below `if TYPE_CHECKING:`."""
    yield tree
    for child in ast.iter_child_nodes(tree):
        if isinstance(tree, ast.If) and "TYPE_CHECKING" in ast.unparse(tree.test) and child in tree.body:
            continue
        yield from runtime_nodes(child)


def imported(name: str, trees: dict[str, ast.Module]) -> set[str]:
    """The modules of tensorq that a module imports, at its top or inside a function."""
    found = set()
    for node in runtime_nodes(trees[name]):
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{name}: imports are absolute"
            whole = [f"{node.module}.{alias.name}" for alias in node.names]
            targets = [each if each.removeprefix("tensorq.") in trees else str(node.module) for each in whole]
        else:
            continue
        found |= {target.removeprefix("tensorq.") for target in targets if target.split(".")[0] == "tensorq"}
    return found - {"tensorq"}  # the package itself: its version


def package(module: str) -> str:
    return module.split(".")[0]


def test_every_package_has_a_layer() -> None:
    assert {package(name) for name in modules()} <= set(RANK)


def test_no_import_runs_upward() -> None:
    trees = modules()
    edges = {(name, target) for name in trees for target in imported(name, trees) if package(target) != package(name)}
    assert len(edges) > 40  # the parser sees them
    wrong = [
        f"{name} -> {target}"
        for name, target in sorted(edges)
        if RANK[package(target)] >= RANK[package(name)]
        and not {(package(name), target), (package(name), package(target))} & SIDEWAYS
    ]
    assert wrong == []


def test_no_circles() -> None:
    trees = modules()
    TopologicalSorter({name: imported(name, trees) for name in trees}).prepare()  # raises CycleError
    TopologicalSorter({above: {below.split(".")[0] for a, below in SIDEWAYS if a == above} for above in RANK}).prepare()


def test_whoever_only_looks_imports_no_tensorflow() -> None:
    names = [name for name in sorted(modules()) if name in LIGHT or package(name) in LIGHT]
    assert len(names) > 12
    program = (
        "import importlib, sys\n"
        f"for name in ['tensorq', *('tensorq.' + name for name in {names!r})]:\n"
        "    importlib.import_module(name)\n"
        "    heavy = {'tensorflow', 'keras', 'matplotlib', 'imageio'} & set(sys.modules)\n"
        "    assert not heavy, f'{name} imports {heavy}'\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
