"""The command `reelsort`: finds the command groups, and turns every error into a sentence and an exit code."""

from __future__ import annotations

import importlib
import os
import pkgutil
import sys
import tempfile
import traceback
from importlib.metadata import version
from typing import Annotated, NoReturn

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.markup import escape

import stream.cli
from deploy.local.errors import StackError
from schemas.errors import ExitCode, UserError


def build_app() -> typer.Typer:
    """One Typer application out of every module in stream/cli.

    A module offers commands either as `app` and `NAME` (a group) or as `register(app)` (commands at the top).
    """
    app = typer.Typer(
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode="rich",
        help="Labels every short video the moment it is published.",
    )
    app.callback()(_options)
    for found in sorted(pkgutil.iter_modules(stream.cli.__path__), key=lambda module: module.name):
        if found.name == "main":
            continue
        module = importlib.import_module(f"stream.cli.{found.name}")
        if register := getattr(module, "register", None):
            register(app)
        elif group := getattr(module, "app", None):
            app.add_typer(group, name=module.NAME)
    return app


def _options(
    config: Annotated[str | None, typer.Option(help="Settings file (TOML); the same as REELSORT_CONFIG.")] = None,
    show_version: Annotated[bool, typer.Option("--version", is_eager=True, help="Print the version.")] = False,
) -> None:
    if show_version:
        typer.echo(version("reelsort"))
        raise typer.Exit
    if config is not None:
        os.environ["REELSORT_CONFIG"] = config  # child processes read the same file


def main() -> NoReturn:
    """Entry point. Exit codes: schemas.errors.ExitCode."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run the command line and return its exit code; nothing but the code leaves this function."""
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    try:
        returned = build_app()(arguments, prog_name="reelsort", standalone_mode=False)
        sys.stdout.flush()  # here a reader that has gone is an exception; at the interpreter's end it would be an error
        code = returned if isinstance(returned, int) else ExitCode.OK
        if code == ExitCode.INTERRUPTED:
            console.print("interrupted")
        return code
    except (UserError, StackError) as error:
        return _explain(console, error)
    except typer.Exit as leave:
        return leave.exit_code
    except (KeyboardInterrupt, typer.Abort):
        console.print("interrupted")
        return ExitCode.INTERRUPTED
    except typer.TyperException as error:
        if message := error.format_message():  # empty where the help was asked for by giving nothing
            console.print(f"[red]error:[/red] {escape(message)}")
            console.print("[dim]  fix:[/dim] see the command's --help")
        return ExitCode.USAGE
    except BrokenPipeError:
        # the reader of our output (head, less) has gone: nothing is wrong, and nothing can be said
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.OK
    except SystemExit as leave:  # rich's way of saying the same, once it has done the same
        if isinstance(leave.__context__, BrokenPipeError):
            return ExitCode.OK
        raise
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        return _explain(console, UserError(f"{error.title}: {where}: {first['msg']}"))
    except Exception as error:  # a defect of ours: a person gets a sentence, the developer a file
        return _report_defect(console, error)


def _explain(console: Console, error: UserError | StackError) -> int:
    console.print(f"[red]error:[/red] {escape(error.message)}")
    if error.remedy:
        console.print(f"[dim]  fix:[/dim] {escape(error.remedy)}")
    return int(error.code) if isinstance(error, UserError) else ExitCode.UNREACHABLE


def _report_defect(console: Console, error: Exception) -> int:
    with tempfile.NamedTemporaryFile("w", prefix="reelsort-defect-", suffix=".log", delete=False) as report:
        report.write("".join(traceback.format_exception(error)))
    console.print(f"[red]internal error:[/red] {escape(type(error).__name__)}: {escape(str(error)[:300])}")
    console.print(f"[dim]  this is a defect of reelsort; please report it with {report.name}[/dim]")
    return ExitCode.INTERNAL


if __name__ == "__main__":
    main()
