"""Loops compiled by Numba, kept on disk under all that they were made of."""

import hashlib
import pickle
from collections.abc import Callable
from contextlib import suppress
from types import CodeType
from typing import Any

import numpy as np
from numba import njit
from numba.core.caching import FunctionCache
from numba.core.dispatcher import Dispatcher

_MADE_OF: dict[int, bytes] = {}
"""By the id of a compiled function."""


def kernel(cache: bool = True, **options: Any) -> Callable[[Callable[..., Any]], Any]:
    """`numba.njit` without Python's lock, cached on disk where a folder is writable.

    Numba alone compiles anew when the file of the function changes; this one also when a constant or another kernel
    that it takes from elsewhere does, which would go unnoticed and give numbers of the old ones.
    """

    def decorate(function: Callable[..., Any]) -> Any:
        compiled = njit(function, nogil=True, **options)
        made_of = _made_of(function, options)
        _MADE_OF[id(compiled)] = made_of
        if cache:
            with suppress(RuntimeError):  # "cannot cache function: no locator available"
                compiled._cache = _Cache(function, made_of)
        return compiled

    return decorate


class _Cache(FunctionCache):
    def __init__(self, function: Callable[..., Any], made_of: bytes) -> None:
        super().__init__(function)  # type: ignore[no-untyped-call]
        self.made_of = made_of

    def _index_key(self, sig: Any, codegen: Any) -> Any:
        return (*super()._index_key(sig, codegen), self.made_of)  # type: ignore[no-untyped-call]


def _made_of(function: Any, options: dict[str, Any]) -> bytes:
    """A digest of the options, the code, and every constant and kernel that it names."""
    code = function.__code__
    plain = [const for const in code.co_consts if not isinstance(const, CodeType)]
    chosen = [(name, sorted(value) if isinstance(value, set) else value) for name, value in sorted(options.items())]
    digest = hashlib.sha256(code.co_code + repr((plain, chosen)).encode())
    for name in code.co_names:
        value = function.__globals__.get(name)
        if isinstance(value, Dispatcher):
            digest.update(_MADE_OF.get(id(value), b""))
        elif isinstance(value, bool | int | float | str | tuple | np.ndarray | np.generic):
            digest.update(name.encode() + pickle.dumps(value))
    return digest.digest()
