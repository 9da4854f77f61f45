"""Adversarial images of a stranger are read, or refused in a line, whatever their file holds."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from safetensors.torch import save

from benchmark.commands.verify.submit.file import read_submission
from benchmark.errors import ConfigError
from tests.fuzz.exploring import explore, told
from tests.fuzz.near import near_bytes

IMAGES = np.random.default_rng(0).random((4, 1, 3, 3), dtype=np.float32)
KINDS = ["u1", "i8", "f2", "f4", ">f4", "f8", "c8", "O", "U3", "S2", "M8[s]", "V5", "?", [("a", "u1")]]
SHAPES: list[tuple[int, ...]] = [(), (0,), (4,), (4, 1, 3, 3), (4, 1, 3, 0), (1, 1, 1, 1), (4, 9)]


def as_npz(zipped: bool = False, **arrays: np.ndarray) -> bytes:
    stream = io.BytesIO()
    (np.savez_compressed if zipped else np.savez)(stream, **arrays)
    return stream.getvalue()


@st.composite
def odd_arrays(draw: st.DrawFn) -> bytes:
    """A whole file with arrays of any types, shapes and names."""
    arrays = {}
    for name in draw(st.lists(st.sampled_from(["images", "samples", "name", "classifier", "x/y"]), max_size=4)):
        arrays[name] = np.zeros(draw(st.sampled_from(SHAPES)), dtype=draw(st.sampled_from(KINDS)))
    return as_npz(draw(st.booleans()), **arrays)


@st.composite
def headers(draw: st.DrawFn) -> bytes:
    """An array's header as text: a type, an order, and a shape of any size."""
    kind = draw(st.sampled_from(["'<f4'", "'|O'", "'|u1'", "'<U9'", "[('a', '<f4')]", "'|V0'", "''", "1", "(" * 99]))
    sizes = st.sampled_from(["4", "0", "-1", "2**3", str(2**31), str(2**62), "9" * 30, "'4'", "None", "4.0"])
    shape = ", ".join(draw(st.lists(sizes, max_size=5)))
    text = (
        f"{{'descr': {kind}, 'fortran_order': {draw(st.sampled_from(['True', 'False', '3']))}, 'shape': ({shape},), }}"
    )
    whole = as_npz(images=IMAGES, samples=np.arange(4))
    start = whole.index(b"{'descr'")
    return whole[:start] + text.encode().ljust(whole.index(b"\n", start) - start) + whole[whole.index(b"\n", start) :]


WHOLE = {"images": IMAGES, "samples": np.arange(4), "name": np.array("mine")}
TENSORS = {name: torch.from_numpy(array) for name, array in WHOLE.items() if name != "name"}
FILES: dict[str, SearchStrategy[bytes]] = {
    "a.npz": near_bytes(as_npz(**WHOLE)) | near_bytes(as_npz(zipped=True, **WHOLE)) | odd_arrays() | headers(),
    "a.safetensors": near_bytes(save(TENSORS, {"name": "mine"})),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", FILES)
def test_any_submitted_file(tmp_path: Path, name: str) -> None:
    def check(content: bytes) -> None:
        (tmp_path / name).write_bytes(content)
        with told(ConfigError):
            read = read_submission(tmp_path / name)
            assert (read.images.dtype, read.images.dim(), len(read.images)) == (torch.float32, 4, len(read.samples))
            assert 0 <= float(read.images.min()) <= float(read.images.max()) <= 1

    explore(check, FILES[name], 120)
