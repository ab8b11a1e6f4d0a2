"""Where compiled kernels are kept, for many workers and for images that nobody may write to.

Numba's own cache looks for a folder that it may write to, and fails where there is none; it trusts code as long as the
function's own file is the same, though code of other modules is compiled into it; and it numbers its files, so that
two workers that start together can keep one's code under the other's types. Here a file is named by all that its code
depends on, and folders are read in order whether they can be written to or not.
"""

from __future__ import annotations

import hashlib
import inspect
import os
import pickle
import re
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import numba
from numba.core import config, event
from numba.core.caching import CompileResultCacheImpl, FunctionCache, _CacheLocator
from numba.core.serialize import dumps

DIGEST_BYTES = 32
_PACKAGE = Path(__file__).parents[1]
_OWN_NAME = __name__.removeprefix(f"{_PACKAGE.name}.")
_IMPORT = re.compile(rf"^from {_PACKAGE.name}\.([\w.]+) import", re.MULTILINE)


def folders(source: str) -> list[Path]:
    """Return where code of a source file is looked for; it is kept in the first that can be written to.

    ``NUMBA_CACHE_DIR`` if it is set, ``__pycache__`` beside the source, and the user's cache.
    """
    places = [Path(config.CACHE_DIR, "connectome")] if config.CACHE_DIR else []
    places.append(Path(source).parent / "__pycache__")
    with suppress(RuntimeError):  # a container's user may have no home
        places.append(Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "connectome"))
    return places


def is_cold() -> bool:
    """Tell whether no code at all is kept, so that the first calls of a run compile for a minute or more."""
    return not any(found for folder in folders(__file__) for found in folder.glob("*.nbc"))


@cache
def digest_of_sources(source: str) -> str:
    """Return a digest of a module, and of the modules of this package that it imports: their code becomes its own."""
    text = Path(source).read_text()
    parts = [hashlib.sha256(text.encode()).hexdigest()]
    for name in sorted(set(_IMPORT.findall(text)) - {_OWN_NAME}):
        module = _PACKAGE.joinpath(*name.split("."))
        file = module.with_suffix(".py")
        parts.append(digest_of_sources(str(file if file.exists() else module / "__init__.py")))
    return hashlib.sha256(" ".join(parts).encode()).hexdigest()


def can_write(folder: Path) -> bool:
    """Tell whether code can be kept in a folder."""
    probe = folder / f"{uuid.uuid4().hex[:8]}.probe"
    is_written = _write(probe, b"")
    if is_written:
        probe.unlink(missing_ok=True)
    return is_written


class KernelFiles:
    """The code of one function, one file for each processor and each list of types."""

    def __init__(self, function: Callable[..., Any], source: str) -> None:
        self._folders = folders(source)
        name = re.sub(r"\W", "_", function.__qualname__)
        self._name = f"{Path(source).stem}.{name}.{sys.implementation.cache_tag}"
        self._made_of = f"numba {numba.__version__}, {digest_of_sources(source)}"

    def load(self, key: Any) -> Any:
        """Return the code for `key`, or None. What is not in the first folder is brought there."""
        name = self._file_name(key)
        for folder in self._folders:
            try:
                content = (folder / name).read_bytes()
            except OSError:
                continue
            digest, payload = content[:DIGEST_BYTES], content[DIGEST_BYTES:]
            if hashlib.sha256(payload).digest() != digest:
                continue  # damaged or not ours: machine code that is not whole kills the process
            stored, data = pickle.loads(payload)
            if stored == key:
                if folder != self._folders[0]:
                    _write(self._folders[0] / name, content)
                return data
        return None

    def save(self, key: Any, data: Any) -> None:
        """Keep code in the first folder that can be written to; go without where there is none."""
        payload = dumps((key, data))
        content = hashlib.sha256(payload).digest() + payload
        name = self._file_name(key)
        any(_write(folder / name, content) for folder in self._folders)

    def flush(self) -> None:
        """Do nothing: code that does not fit its sources has another name."""

    def _file_name(self, key: Any) -> str:
        return f"{self._name}.{hashlib.sha256(f'{self._made_of} {key}'.encode()).hexdigest()[:32]}.nbc"


def _write(path: Path, content: bytes) -> bool:
    """Write a file whole, or tell that its folder cannot be written to."""
    part = path.with_name(f"{path.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            part.write_bytes(content)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
    except OSError:
        return False
    return True


class _Locator(_CacheLocator):  # type: ignore[misc]
    """Satisfies numba, which wants one writable folder; `KernelFiles` knows better."""

    def __init__(self, source: str) -> None:
        self._py_file = source

    @classmethod
    def from_function(cls, function: Callable[..., Any], source: str) -> _Locator:  # noqa: ARG003
        return cls(source)

    def ensure_cache_path(self) -> None:
        pass

    def get_cache_path(self) -> str:
        return str(folders(self._py_file)[0])

    def get_source_stamp(self) -> str:
        return digest_of_sources(self._py_file)

    def get_disambiguator(self) -> str:
        return ""


class _Implementation(CompileResultCacheImpl):  # type: ignore[misc]
    _locator_classes = [_Locator]  # noqa: RUF012


class KernelCache(FunctionCache):  # type: ignore[misc]
    """The cache of one compiled function, in place of numba's."""

    _impl_class = _Implementation

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function)
        self._cache_file = KernelFiles(function, inspect.getfile(function))


@contextmanager
def compilations() -> Iterator[list[str]]:
    """Collect the names of our functions that are compiled meanwhile, one for each list of types."""
    names: list[str] = []

    class Listener(event.Listener):  # type: ignore[misc]
        def on_start(self, happened: Any) -> None:
            function = happened.data["dispatcher"].py_func
            if not function.__module__.startswith("numba."):
                names.append(f"{function.__module__}.{function.__qualname__}")

        def on_end(self, happened: Any) -> None:
            pass

    with event.install_listener("numba:compile", Listener()):
        yield names
