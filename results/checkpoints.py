"""Checkpoints: a JSON manifest over content-addressed safetensors blobs. A tensor that did not change is stored once.

Nothing is ever unpickled. Every blob is named by the SHA-256 of its tensor and verified when it is read.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from results.files import StoreError, read_json, whole_file, write_json

_KEY = "tensor"
_HASH = re.compile(r"[0-9a-f]{64}")
MOST_THREADS = 8
"""Threads that hash tensors, at most."""

Item = TypeVar("Item")
Found = TypeVar("Found")


def tensor_hash(tensor: Tensor) -> str:
    """SHA-256 over the tensor's dtype, shape and bytes: 64 hex digits."""
    tensor = tensor.detach().cpu().contiguous()
    digest = hashlib.sha256(f"{tensor.dtype} {tuple(tensor.shape)} ".encode())
    digest.update(tensor.flatten().view(torch.uint8).numpy().data if tensor.numel() else b"")
    return digest.hexdigest()


def side_by_side(work: Callable[[Item], Found], items: Sequence[Item]) -> list[Found]:
    """Call `work` for each item, on as many threads as torch may use in this process; return its results in order.

    work: lets go of Python's lock, as hashing does, and opens no file: who watches files takes another thread for a method.
    """
    threads = min(MOST_THREADS, torch.get_num_threads(), len(items))
    if threads <= 1:
        return [work(item) for item in items]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(work, items))


@dataclass(frozen=True)
class Checkpoint:
    """One checkpoint.

    tensors: by name.
    values: by name, JSON.
    result: what the stage returned, JSON.
    """

    tensors: dict[str, Tensor]
    values: dict[str, Any] = field(default_factory=dict)
    result: Any = None


class Checkpoints:
    """The checkpoints of one run, by name, in `directory`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._whole: set[str] = set()
        """Blobs that this instance has written or read."""

    def _manifest(self, name: str) -> Path:
        return self.directory / f"{name}.json"

    def _blob(self, key: str) -> Path:
        return self.directory / "blobs" / f"{key}.safetensors"

    def names(self) -> list[str]:
        """The names of all checkpoints, sorted."""
        # Some file systems put files of their own beside others, with a dot before the name.
        return sorted(path.stem for path in self.directory.glob("*.json") if not path.name.startswith("."))

    def __contains__(self, name: str) -> bool:
        return self._manifest(name).exists()

    def save(self, name: str, checkpoint: Checkpoint) -> None:
        """Store the checkpoint. The manifest is written last, so it is there only if every blob is."""
        keys = side_by_side(tensor_hash, list(checkpoint.tensors.values()))
        blobs = dict(zip(checkpoint.tensors, keys, strict=True))
        for key, tensor in zip(keys, checkpoint.tensors.values(), strict=True):
            # A torn blob of the same name is written again: a task that is learned once more may end in the same tensors.
            if not self._is_whole(key):
                with whole_file(self._blob(key)) as temporary:
                    # As bytes, so that a full disk is an error of the system like any other.
                    temporary.write_bytes(save({_KEY: tensor.detach().cpu().contiguous().clone()}))
                self._whole.add(key)
        write_json(self._manifest(name), {"tensors": blobs, "values": checkpoint.values, "result": checkpoint.result})

    def load(self, name: str, device: torch.device | str = "cpu") -> Checkpoint:
        """The checkpoint, its tensors on `device`.

        Raises StoreError, naming the file, if the manifest or a blob is missing, truncated or exchanged.
        """
        manifest = self._read_manifest(name)
        keys = list(manifest["tensors"].values())
        read = self._read(keys)
        tensors = {name: tensor.to(device) for name, tensor in zip(manifest["tensors"], read, strict=True)}
        return Checkpoint(tensors, manifest["values"], manifest["result"])

    def _read_manifest(self, name: str) -> dict[str, Any]:
        """The manifest of a checkpoint. Raises StoreError if it is missing, truncated or no manifest."""
        manifest = read_json(self._manifest(name))
        parts = manifest if isinstance(manifest, dict) else {}
        tensors = parts.get("tensors")
        # The name of a blob is a part of a path: one that is no hash might lead anywhere.
        named = isinstance(tensors, dict) and all(
            isinstance(key, str) and _HASH.fullmatch(key) for key in tensors.values()
        )
        if not named or not isinstance(parts.get("values"), dict) or "result" not in parts:
            raise StoreError(f"{self._manifest(name)}: not the manifest of a checkpoint")
        return parts

    def _read(self, keys: Sequence[str]) -> list[Tensor]:
        """The tensors of blobs. Raises StoreError if one is missing, truncated or exchanged."""
        tensors = [self._open(key) for key in keys]
        for key, found in zip(keys, side_by_side(tensor_hash, tensors), strict=True):
            if found != key:
                raise StoreError(f"{self._blob(key)}: its content is not what its name says")
        self._whole.update(keys)
        return tensors

    def _open(self, key: str) -> Tensor:
        path = self._blob(key)
        try:
            return load_file(path)[_KEY]
        except (OSError, SafetensorError, KeyError) as error:
            raise StoreError(f"{path}: not readable ({str(error).splitlines()[0]})") from error

    def _is_whole(self, key: str) -> bool:
        """True if the blob is stored as it should be. Each is read once."""
        if key not in self._whole and self._blob(key).exists():
            with suppress(StoreError):
                self._read([key])
        return key in self._whole and self._blob(key).exists()

    def values(self, name: str) -> dict[str, Any]:
        """The JSON values of a checkpoint, without its tensors."""
        values: dict[str, Any] = self._read_manifest(name)["values"]
        return values

    def forget(self, names: list[str]) -> None:
        """Delete these checkpoints and the blobs that no other checkpoint needs.

        While a manifest is unreadable, nobody knows which blobs it needs: all of them stay.
        """
        for name in names:
            self._manifest(name).unlink(missing_ok=True)
        try:
            needed = {key for name in self.names() for key in self._read_manifest(name)["tensors"].values()}
        except StoreError:
            return
        for path in self.directory.glob("blobs/*.safetensors"):
            if path.stem not in needed:
                path.unlink()


def stored_bytes(tensors: Mapping[str, Tensor]) -> int:
    """Bytes that a deployment must keep for these tensors: equal tensors count once, bool counts one bit per entry."""
    distinct = {tensor_hash(tensor): tensor for tensor in tensors.values()}
    return sum(
        (tensor.numel() + 7) // 8 if tensor.dtype == torch.bool else tensor.numel() * tensor.element_size()
        for tensor in distinct.values()
    )
