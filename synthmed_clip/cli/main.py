"""The command line, `synthmed-clip`: one command a file."""

from __future__ import annotations

import importlib
import sys
import warnings
from io import TextIOWrapper
from pathlib import Path
from typing import Protocol

import tyro

from synthmed import __version__


class Command(Protocol):
    """A command with its arguments."""

    def run(self) -> int:
        """Run it, and return the exit status."""


def main(args: list[str] | None = None) -> int:
    """Run the command line; a warning or a foreseeable error is one line on stderr, the latter with
    exit status 1.
    """
    if isinstance(sys.stdout, TextIOWrapper):  # a file's name may be of another encoding
        sys.stdout.reconfigure(errors="backslashreplace")
    arguments, modules = _split_imports(sys.argv[1:] if args is None else args)
    if arguments == ["--version"]:
        print(f"synthmed-clip {__version__}")
        return 0
    command: Command | None = None
    with warnings.catch_warnings():
        warnings.showwarning = _show
        try:
            for module in modules:
                importlib.import_module(module)
            command = _parse(arguments)
            return command.run()
        except (MemoryError, ModuleNotFoundError, OSError, TypeError, ValueError) as error:
            print(f"synthmed-clip: {error}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            goes_on = getattr(command, "goes_on", False)
            hint = "; the same command goes on where it stopped" if goes_on else ""
            print(f"synthmed-clip: interrupted{hint}", file=sys.stderr)
            return 130


def _parse(arguments: list[str]) -> Command:
    from synthmed_clip.cli.calibrate import Calibrate
    from synthmed_clip.cli.duplicates import Duplicates
    from synthmed_clip.cli.evaluate import Evaluate
    from synthmed_clip.cli.export import Export
    from synthmed_clip.cli.fit import Fit
    from synthmed_clip.cli.options import values
    from synthmed_clip.cli.predict import Predict
    from synthmed_clip.cli.prepare import Prepare
    from synthmed_clip.cli.protocol import RunProtocol

    with values:
        return tyro.extras.subcommand_cli_from_dict(
            {
                "fit": Fit,
                "calibrate": Calibrate,
                "predict": Predict,
                "evaluate": Evaluate,
                "export": Export,
                "protocol": RunProtocol,
                "prepare": Prepare,
                "duplicates": Duplicates,
            },
            prog="synthmed-clip",
            args=arguments,
            description="Few-shot anomaly detection on medical images. Methods of your own are "
            "known after --import MODULE. --version says which version it is.",
        )


def _split_imports(arguments: list[str]) -> tuple[list[str], list[str]]:
    """Take `--import MODULE` out of the arguments: what a module defines, the others may name."""
    kept, modules, rest = [], [], iter(arguments)
    for argument in rest:
        if argument == "--import":
            modules.append(next(rest, ""))
        elif argument.startswith("--import="):
            modules.append(argument.partition("=")[2])
        else:
            kept.append(argument)
    if modules and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    return kept, modules


def _show(message: Warning | str, *_: object, **__: object) -> None:
    print(f"synthmed-clip: {message}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
