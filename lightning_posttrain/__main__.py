"""The command line: ``lightning-posttrain serve FOLDER``, ``check FOLDER DATA``, ``show RUN`` and ``report RUN``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from lightning_posttrain.__about__ import __version__
from lightning_posttrain.core.output.console import write_line


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        arguments: those behind the program's name. Default: those it was called with.

    Returns:
        0 where all is well, 1 where a check fails, 2 where what was given is wrong.
    """
    given = _parser().parse_args(arguments)
    found: int = given.run(given)
    return found


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("lightning-posttrain", description="What comes after training with Lightning.")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_serve(commands.add_parser("serve", help="answer for an exported folder", description=_serve.__doc__))
    _add_check(commands.add_parser("check", help="see whether it answers here as tested", description=_check.__doc__))
    _add_show(commands.add_parser("show", help="say what a run's files show", description=_show.__doc__))
    _add_report(commands.add_parser("report", help="make a run's page once more", description=_report.__doc__))
    return parser


def _add_report(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", metavar="RUN", help="folder of the run, as trainer.log_dir")
    parser.add_argument("--stage", help="test or val. Default: each that is there")
    parser.set_defaults(run=_report)


def _add_serve(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", help="that ModelExport wrote, as posttrain/export")
    parser.add_argument("--host", default="127.0.0.1", help="others need LIGHTNING_POSTTRAIN_KEY. Default: %(default)s")
    parser.add_argument("--port", type=int, default=8000, help="0 for any that is free. Default: %(default)s")
    parser.add_argument("--threads", type=int, default=1, help="of the runtime. Default: %(default)s")
    parser.add_argument("--grace", type=float, default=0.0, help="seconds between /ready saying no and the end")
    parser.set_defaults(run=_serve)


def _add_check(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", help="that ModelExport wrote, as posttrain/export")
    parser.add_argument("data", nargs="+", help=".npz or .npy files of rows, or folders of them")
    parser.set_defaults(run=_check)


def _add_show(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", metavar="RUN", help="folder of the run, as trainer.log_dir")
    parser.add_argument("--stage", help="test, val or fit. Default: the first of these that is there")
    parser.add_argument("--all", action="store_true", help="all sentences; else the most important ones")
    parser.set_defaults(run=_show)


def _serve(given: argparse.Namespace) -> int:
    """Answer for an exported folder, until SIGTERM or SIGINT; what was accepted is answered before the end."""
    from lightning_posttrain.serving import command

    code: int = command(given.folder, host=given.host, port=given.port, threads=given.threads, grace=given.grace)
    return code


def _check(given: argparse.Namespace) -> int:
    """See whether an exported folder is whole, and gives here the answers that were tested."""
    from lightning_posttrain.export import check_command

    code, text = check_command(given.folder, given.data)
    write_line(sys.stderr if code == 2 else sys.stdout, text)
    return code


def _report(given: argparse.Namespace) -> int:
    """Make report.html and report.md of a run once more, from its files alone."""
    from lightning_posttrain.report import report_command

    code, text = report_command(given.folder, stage=given.stage)
    write_line(sys.stderr if code == 2 else sys.stdout, text)
    return code


def _show(given: argparse.Namespace) -> int:
    """Say in sentences what a run's files show, with its main figures and where the report is."""
    from lightning_posttrain.report import show_command

    code, text = show_command(given.folder, stage=given.stage, everything=given.all)
    write_line(sys.stderr if code == 2 else sys.stdout, text)
    return code


if __name__ == "__main__":
    sys.exit(main())
