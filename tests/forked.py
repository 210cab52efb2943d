"""Processes that start at once: the `tensorq` command, from a server that has imported TensorFlow; and plain forks."""

from __future__ import annotations

import multiprocessing
import os
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path

# The server imports TensorFlow and uses none of it, so that its children may.
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["tensorflow", "keras", "matplotlib.figure", "tensorq.cli", "tensorq.trainer"])


@dataclass
class Command:
    """A command that runs, or has run."""

    process: BaseProcess
    output_path: Path
    errors_path: Path

    def wait(self, seconds: float = 120) -> int:
        """Wait for the end and return the exit code."""
        self.process.join(seconds)
        assert self.process.exitcode is not None, "still running"
        return self.process.exitcode

    @property
    def output(self) -> str:
        return self.output_path.read_text()

    @property
    def errors(self) -> str:
        return self.errors_path.read_text()


def start(*arguments: object, cwd: Path) -> Command:
    """Start `tensorq ARGUMENTS` in the folder cwd."""
    outputs = cwd.with_name(f"{cwd.name}.stdout"), cwd.with_name(f"{cwd.name}.stderr")
    process = CONTEXT.Process(target=_main, args=([str(word) for word in arguments], cwd, outputs))
    process.start()
    return Command(process, *outputs)


def run(*arguments: object, cwd: Path, code: int = 0) -> Command:
    """Run `tensorq ARGUMENTS`, expecting this exit code and no traceback."""
    command = start(*arguments, cwd=cwd)
    assert command.wait() == code, command.errors
    assert "Traceback" not in command.errors
    return command


def in_a_fork(function: Callable[[], str]) -> str:
    """What the function returns in a child that is forked from this process here and now."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.write(writer, function().encode())
            code = 0
        except BaseException:
            os.write(writer, traceback.format_exc().encode())
        os._exit(code)
    os.close(writer)
    with os.fdopen(reader, encoding="utf-8") as output:
        text = output.read()
    assert os.waitpid(child, 0)[1] == 0, text
    return text


def _main(arguments: list[str], cwd: Path, outputs: tuple[Path, Path]) -> None:
    os.chdir(cwd)
    for descriptor, path in enumerate(outputs, start=1):
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, descriptor)
    sys.argv = ["tensorq", *arguments]
    from tensorq.cli import main

    main()
