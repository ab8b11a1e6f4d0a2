"""Where things lie: URLs, names inside containers, and the key-value stores behind them.

A location is a path or URL (plain path, ``file://``, ``memory://``, ``gs://``, ``s3://``,
``http(s)://``), with ``#name`` for an array inside a container. Everything that touches a key goes
through the functions here, with one TensorStore context in the process, so that ``memory://`` is one
store for all of it.
"""

from __future__ import annotations

import functools
import os
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import tensorstore as ts

from connectome.errors import DiskFullError, InputError
from connectome.store.retries import reason_of, retry_settings
from connectome.store.url_secrets import secret_in

Spec = dict[str, Any]

READ_ONLY = ("http", "https")
STORE_ERRORS = (ValueError, NotImplementedError, OSError)
"""What TensorStore raises when a store says no."""
SCHEMES = ("file", "memory", "gs", "s3", *READ_ONLY)


class StoreError(InputError):
    """A volume, array or location cannot be used as asked; the message is one clear sentence."""


@dataclass(frozen=True)
class Location:
    """A container (absolute path, or URL, without a slash at the end) and a name inside it."""

    container: str
    name: str | None = None

    @classmethod
    def parse(cls, text: str | os.PathLike[str]) -> Location:
        """Read ``URL`` or ``URL#name``; local paths become absolute.

        A URL with a password or a signature is refused without repeating it. A name cannot lead out of its
        container, nor a URL out of its bucket.
        """
        if refusal := secret_in(os.fspath(text)):
            raise StoreError(refusal)
        container, _, name = os.fspath(text).partition("#")
        scheme, rest = scheme_of(container), container.partition("://")[2]
        if ".." in name.split("/"):
            raise StoreError(f"#{name} leads out of {container}: name an array inside it")
        if scheme != "file" and ".." in unquote(rest).split("/"):
            raise StoreError(f"{container} has '..' in it, which may lead out of its bucket: write where it leads")
        if not container or (scheme != "file" and not rest.strip("/")):
            raise StoreError(f"{text!r} names no place: give a path, or a URL such as gs://bucket/volume")
        container = _absolute(container) if scheme == "file" else f"{scheme}://{rest}"
        return cls(container.rstrip("/") or "/", name.strip("/") or None)

    @property
    def local_path(self) -> Path | None:
        """The path of the container where it is on this machine's file system."""
        return Path(self.container) if scheme_of(self.container) == "file" else None

    @property
    def url(self) -> str:
        """The URL of the array: names are folders, and a dataset keeps its artifacts in ``volumes``."""
        if self.name is None:
            return self.container
        if is_dataset(self.container):
            return f"{self.container}/volumes/{self.name}"
        return f"{self.container}/{self.name}"

    def __str__(self) -> str:
        return self.container if self.name is None else f"{self.container}#{self.name}"


def _absolute(path: str) -> str:
    """Make a local path absolute without ``..``, which key-value stores refuse."""
    place = path.partition("://")[2] if "://" in path else path
    return os.path.abspath(Path(place).expanduser())  # noqa: PTH100


def scheme_of(url: str) -> str:
    """Return the URL's scheme in lower case; a plain path is ``file``."""
    scheme, separator, _ = url.partition("://")
    if not separator:
        return "file"
    if scheme.lower() not in SCHEMES:
        raise StoreError(f"{url!r} has the scheme {scheme!r}; wanted is a path or one of {', '.join(SCHEMES)}")
    return scheme.lower()


def is_dataset(container: str) -> bool:
    """Say whether `container` is one of our datasets: a folder with ``dataset.json``."""
    return read_key(container, "dataset.json") is not None


@functools.cache
def context() -> Any:
    """Return the process's TensorStore context. Nothing is cached: each voxel is wanted once."""
    return ts.Context({"cache_pool": {"total_bytes_limit": 0}, **retry_settings()})


def kvstore_spec(url: str, path: str = "") -> Spec:
    """Return TensorStore's description of the keys below ``url/path``."""
    scheme = scheme_of(url)
    if scheme == "file":
        root = _absolute(url)
        return {"driver": "file", "path": _folder(root, path)}
    if scheme == "memory":
        return {"driver": "memory", "path": _folder(url.removeprefix("memory://"), path)}
    parts = urlsplit(url)
    if scheme in READ_ONLY:
        host = f"{parts.scheme}://{parts.netloc}"
        return {"driver": "http", "base_url": host, "path": "/" + _folder(parts.path.lstrip("/"), path)}
    spec: Spec = {"driver": {"gs": "gcs", "s3": "s3"}[scheme], "bucket": parts.netloc}
    if scheme == "s3" and (endpoint := os.environ.get("AWS_ENDPOINT_URL")):
        spec |= {"endpoint": endpoint.rstrip("/"), "aws_region": os.environ.get("AWS_REGION", "us-east-1")}
    if scheme == "s3" and "AWS_ACCESS_KEY_ID" in os.environ:
        spec["aws_credentials"] = {"type": "environment"}  # else files are looked for, and complained about
    return spec | {"path": _folder(parts.path.lstrip("/"), path)}


def _folder(root: str, path: str) -> str:
    joined = "/".join(part for part in (root.rstrip("/"), path.strip("/")) if part)
    return f"{joined}/" if joined else ""


def open_keys(url: str) -> Any:
    """Open the key-value store below `url`."""
    if scheme_of(url) == "file":
        return _open_folder(_absolute(url))
    try:
        return ts.KvStore.open(kvstore_spec(url), context=context()).result()
    except STORE_ERRORS as error:
        raise StoreError(f"cannot open {url}: {reason_of(error)}") from error


@functools.lru_cache(maxsize=256)
def _open_folder(url: str) -> Any:
    """Open keys on disk once: to open takes as long as to read one. Of others the address may change meanwhile."""
    return ts.KvStore.open(kvstore_spec(url), context=context()).result()


def read_key(url: str, key: str) -> bytes | None:
    """Return the bytes of `key` below `url`, or None where there is no such key."""
    return read_keys([(url, key)])[0]


def read_keys(keys: Sequence[tuple[str, str]]) -> list[bytes | None]:
    """Return the bytes of several (url, key), asked for together: a store far away answers each in its time."""
    asked = deque((url, key, open_keys(url).read(key)) for url, key in keys)
    return [_answer(*asked.popleft()) for _ in keys]  # an answer is let go when it is taken


def _answer(url: str, key: str, future: Any) -> bytes | None:
    try:
        answer = future.result()
    except STORE_ERRORS as error:
        if _is_absence(url, error):
            return None
        raise StoreError(f"cannot read {url}/{key}: {reason_of(error)}") from error
    return bytes(answer.value) if answer.state == "value" else None


def write_key(url: str, key: str, value: bytes) -> None:
    """Write `value` at `key` below `url`."""
    write_keys([(url, key, value)])


def write_keys(items: Sequence[tuple[str, str, bytes]]) -> None:
    """Write several (url, key, value) together, and wait for all of them whatever becomes of one."""
    for url, _, _ in items:
        if scheme_of(url) in READ_ONLY:
            raise StoreError(f"cannot write {url}: http is read only; write to a path, gs:// or s3://")
    # Without raising, since an error that is kept with its traceback would keep the stores open.
    causes = [(url, cause) for url, future in _sent(items) if (cause := future.exception()) is not None]
    if causes:  # a full disk stops the run: it is told before what is tried again
        url, cause = max(causes, key=lambda each: isinstance(write_error(*each), DiskFullError))
        raise write_error(url, cause) from cause


def _sent(items: Sequence[tuple[str, str, bytes]]) -> list[tuple[str, Any]]:
    """Open all stores, and then send: what cannot be opened is told before anything is under way."""
    opened = [(url, open_keys(url), key, value) for url, key, value in items]
    return [(url, store.write(key, value)) for url, store, key, value in opened]


def list_keys(url: str) -> list[str]:
    """Return every key below `url`; meant for places that hold little."""
    try:
        return [key.decode() for key in open_keys(url).list().result()]
    except STORE_ERRORS as error:
        raise StoreError(f"cannot list {url}: {reason_of(error)}") from error


def create_key(url: str, key: str, value: bytes) -> bool:
    """Write `value` at `key` below `url` if nothing is there, and say whether it is ours that is there.

    Of many that create one key at the same time, one is told yes. `value` must be like no other's: it is read
    back, because the answer to a write that did succeed may get lost, and trying it again then finds the key.
    """
    if scheme_of(url) in READ_ONLY:
        raise StoreError(f"cannot write {url}: http is read only; write to a path, gs:// or s3://")
    if scheme_of(url) == "gs":
        _create_in_google(url, key, value)
    else:
        try:
            store = open_keys(url)
            before = store.read(key).result()
            if before.state != "value":
                store.write(key, value, if_equal=before.stamp.generation).result()
        except STORE_ERRORS as error:
            raise write_error(url, error) from error
    return read_key(url, key) == value


def _create_in_google(url: str, key: str, value: bytes) -> None:
    # Through gcsfs, since fake-gcs-server heeds conditions in multipart uploads alone, which TensorStore does
    # not send. gcsfs tries again by itself, as TensorStore does.
    os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")  # its probes hang with emulators
    import gcsfs

    emulator = os.environ.get("TENSORSTORE_GCS_HTTP_URL")
    system = gcsfs.GCSFileSystem(endpoint_url=emulator, token="anon" if emulator else None, use_listings_cache=False)
    try:
        system.pipe_file(f"{url.removeprefix('gs://')}/{key}", value, mode="create")
    except FileExistsError:
        return
    except (OSError, ValueError, gcsfs.retry.HttpError) as error:
        raise write_error(url, error) from error


def delete_key(url: str, key: str) -> None:
    """Delete `key` below `url`; there need not be one."""
    _delete(url, ts.KvStore.KeyRange(key, key + "\0"))


def delete_keys(url: str) -> None:
    """Delete every key below `url`."""
    _delete(url, ts.KvStore.KeyRange())


def _delete(url: str, keys: Any) -> None:
    try:
        open_keys(url).delete_range(keys).result()
    except STORE_ERRORS as error:
        raise StoreError(f"cannot delete {url}: {reason_of(error)}") from error


def write_error(url: str, error: Exception) -> InputError:
    """Turn a failed write into one sentence; a full disk has its own."""
    text = str(error)
    if any(word in text for word in ("No space left", "ENOSPC", "Disk quota")):
        return DiskFullError(f"the disk is full: writing {url} failed; free space and run the command again")
    return StoreError(f"cannot write {url}: {reason_of(error)}")


def _is_absence(url: str, error: Exception) -> bool:
    # Buckets on the web that cannot be listed answer 403 for a key that is not there.
    if scheme_of(url) in READ_ONLY and "PERMISSION_DENIED" in str(error):
        return True
    # A file where a folder is wanted is an absence too: `volume.h5/zarr.json`.
    return any(word in str(error) for word in ("NOT_FOUND", "Not a directory", "ENOTDIR"))
