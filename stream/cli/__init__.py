"""The command: a file per command group, each with an `app` (typer.Typer) or a `register(app)` function."""
