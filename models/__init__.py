"""Architectures, training, evaluation, export, decision rules, runtimes. Imports schemas alone."""
