"""`reelsort bench NAME`: each benchmark beside its peers, in one run. A file in stream/bench adds one."""

from __future__ import annotations

import importlib
import pkgutil

import typer

import stream.bench

NAME = "bench"
app = typer.Typer(no_args_is_help=True, help="Benchmarks, each beside its peers in one run.")

for _found in sorted(pkgutil.iter_modules(stream.bench.__path__), key=lambda module: module.name):
    _module = importlib.import_module(f"stream.bench.{_found.name}")
    if _register := getattr(_module, "register", None):
        _register(app)
