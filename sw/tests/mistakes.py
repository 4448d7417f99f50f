"""Mistakes in the project's own code, for tests that must find them."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Iterable, Iterator
from types import FunctionType, ModuleType
from unittest import mock


@contextlib.contextmanager
def changed(module: ModuleType, old: str, new: str, users: Iterable[ModuleType]) -> Iterator[None]:
    """The functions and methods of ``module`` with ``new`` in the place of ``old``, which must stand in it once.

    Functions are replaced in ``users``, which imported them. Constructors stay as they are.
    """
    source = inspect.getsource(module)
    if source.count(old) != 1:
        raise LookupError(f"{module.__name__} has {old!r} {source.count(old)} times")
    wrong = dict(vars(module))
    exec(compile(source.replace(old, new), f"<wrong {module.__name__}>", "exec"), wrong)
    with contextlib.ExitStack() as stack:
        for name, right in vars(module).items():
            if getattr(right, "__module__", None) != module.__name__:
                continue
            if isinstance(right, FunctionType):
                for user in users:
                    if vars(user).get(name) is right:
                        stack.enter_context(mock.patch.object(user, name, wrong[name]))
            elif isinstance(right, type):
                for method, body in vars(wrong[name]).items():
                    if isinstance(body, FunctionType) and method != "__init__":
                        stack.enter_context(mock.patch.object(right, method, body))
        yield
