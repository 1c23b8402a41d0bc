"""The command line: synthmed-clip fit | predict | evaluate | protocol | prepare | duplicates."""

from __future__ import annotations

import sys
import warnings

import tyro

from synthmed_clip.cli.duplicates import Duplicates
from synthmed_clip.cli.evaluate import Evaluate
from synthmed_clip.cli.fit import Fit
from synthmed_clip.cli.predict import Predict
from synthmed_clip.cli.prepare import Prepare
from synthmed_clip.cli.protocol import RunProtocol


def main(args: list[str] | None = None) -> int:
    """Run the command line; a warning or a foreseeable error is one line on stderr, the latter with
    exit status 1.
    """
    command = tyro.extras.subcommand_cli_from_dict(
        {
            "fit": Fit,
            "predict": Predict,
            "evaluate": Evaluate,
            "protocol": RunProtocol,
            "prepare": Prepare,
            "duplicates": Duplicates,
        },
        prog="synthmed-clip",
        args=args,
        description="Few-shot anomaly detection on medical images.",
    )
    with warnings.catch_warnings():
        warnings.showwarning = _show
        try:
            return command.run()
        except (MemoryError, ModuleNotFoundError, OSError, TypeError, ValueError) as error:
            print(f"synthmed-clip: {error}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            goes_on = isinstance(command, RunProtocol) or getattr(command, "checkpoint", None)
            hint = "; the same command goes on where it stopped" if goes_on else ""
            print(f"synthmed-clip: interrupted{hint}", file=sys.stderr)
            return 130


def _show(message: Warning | str, *_: object, **__: object) -> None:
    print(f"synthmed-clip: {message}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
