"""Every test here runs torch on one thread."""

from tests.support.single_thread import one_thread

__all__ = ["one_thread"]
