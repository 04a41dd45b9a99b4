"""Pickles and torch files are read as plain values and arrays; nothing in them is executed."""

import ast
import io
import os
import pickle
import pickletools
import subprocess
import sys
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as stn

from bua.errors import InputError
from bua.store.pickles import load_pickle, read_pickled
from tests.helpers.parity import ROOT

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=3) | st.integers(), inner, max_size=3)
        | st.tuples(inner, inner)
        | st.sets(st.integers(), max_size=3)
    ),
    max_leaves=8,
)
KINDS = st.sampled_from(["f2", "f4", "f8", "i1", "i4", "i8", "u1", "?", "U5", "S3", ">f4", ">i8"])
ARRAYS = KINDS.flatmap(lambda kind: stn.arrays(kind, stn.array_shapes(min_dims=0, max_dims=3, min_side=0)))


def same(a: object, b: object) -> bool:
    if isinstance(b, np.ndarray):
        assert isinstance(a, np.ndarray)  # other byte orders may become native
        native = b.astype(b.dtype.newbyteorder("="))
        return (
            a.dtype.newbyteorder("=") == native.dtype and a.astype(native.dtype).tobytes() == native.tobytes()
        )
    return type(a) is type(b) and a == b


@settings(max_examples=60, deadline=None)
@given(value=PLAIN, protocol=st.integers(0, 5))
def test_plain_values_survive_every_protocol(value, protocol) -> None:
    assert load_pickle(io.BytesIO(pickle.dumps(value, protocol)), "x") == value


@settings(max_examples=60, deadline=None)
@given(array=ARRAYS, protocol=st.integers(0, 5), fortran=st.booleans())
def test_arrays_survive_every_protocol(array, protocol, fortran) -> None:
    array = np.asfortranarray(array) if fortran else array
    found = load_pickle(io.BytesIO(pickle.dumps({"a": [array]}, protocol)), "x")
    assert same(found["a"][0], array)


@pytest.mark.parametrize("protocol", range(6))
def test_scalars_and_object_arrays_survive(protocol: int) -> None:
    info = np.array({"ids": np.arange(3), "n": np.float32(0.5), "k": np.int64(7)}, dtype=object)
    found = load_pickle(io.BytesIO(pickle.dumps(info, protocol)), "x")
    assert found.shape == ()
    assert found.item()["ids"].tolist() == [0, 1, 2]
    assert found.item()["n"] == np.float32(0.5)
    assert found.item()["k"].dtype == np.int64


def test_a_pickle_of_python_2_is_read(tmp_path) -> None:
    """Protocol 0 of cPickle, with numpy.core names and raw bytes as strings."""
    content = (
        b"(dp0\nS'x'\np1\ncnumpy.core.multiarray\n_reconstruct\np2\n(cnumpy\nndarray\np3\n(I0\ntS'b'\ntRp4\n"
        b"(I1\n(I2\ntcnumpy\ndtype\np5\n(S'f4'\nI0\nI1\ntRp6\n(I3\nS'<'\nNNNI-1\nI-1\nI0\ntbI00\n"
        b"S'\\x00\\x00\\x80?\\x00\\x00\\x00\\xc0'\ntbsL42L\nI7\ns."
    )
    (tmp_path / "x.pkl").write_bytes(content)
    found = read_pickled(tmp_path / "x.pkl")
    assert found["x"].tolist() == [1.0, -2.0]
    assert found[42] == 7


class Evil:
    """Runs a command when it is unpickled without precautions."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (os.system, (f"touch {self.path}",))


def test_a_pickle_that_would_run_a_command_is_refused_by_name(tmp_path) -> None:
    for protocol in range(6):
        content = pickle.dumps({"model": [Evil(tmp_path / "witness")]}, protocol)
        (tmp_path / "x.pkl").write_bytes(content)
        with pytest.raises(InputError, match=r"x.pkl: contains \w+.system, which is not a plain value"):
            read_pickled(tmp_path / "x.pkl")
    assert not (tmp_path / "witness").exists()


@pytest.mark.parametrize("zipped", [True, False])
def test_a_torch_file_that_would_run_a_command_is_refused(zipped: bool, tmp_path) -> None:
    torch.save({"a": Evil(tmp_path / "witness")}, tmp_path / "x.pth", _use_new_zipfile_serialization=zipped)
    with pytest.raises(InputError, match=r"x.pth: contains \w+.system, which is not a plain value"):
        read_pickled(tmp_path / "x.pth")
    assert not (tmp_path / "witness").exists()


NAMES = [
    ("builtins", "eval"),
    ("builtins", "getattr"),
    ("builtins", "__import__"),
    ("builtins", "object"),
    ("os", "system"),
    ("subprocess", "Popen"),
    ("numpy", "load"),
    ("numpy", "memmap"),
    ("numpy.core.multiarray", "fromfile"),
    ("copyreg", "_reconstructor"),
    ("torch", "load"),
    ("torch.storage", "_load_from_bytes"),
    ("bua.store.unpickle", "_rebuild_tensor"),
]


@pytest.mark.parametrize(("module", "name"), NAMES)
def test_every_other_name_is_refused(module: str, name: str) -> None:
    old = f"c{module}\n{name}\n.".encode()
    new = b"\x80\x04\x8c" + bytes([len(module)]) + module.encode()
    new += b"\x8c" + bytes([len(name)]) + name.encode() + b"\x93."
    for content in (old, new):
        with pytest.raises(InputError, match=f"{name}, which is not a plain value"):
            load_pickle(io.BytesIO(content), "x")


BOMBS = {
    "bytes of a number": b"cbuiltins\nbytearray\n(I99999999999\ntR.",
    "list of a number": b"cbuiltins\nlist\n(I99999999999\ntR.",
    "array by its class": b"cnumpy\nndarray\n((I999999\nI999999\nttR.",
    "array of a shape": (
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR"
        b"(I1\n(I999999\nI999999\ntcnumpy\ndtype\n(S'f4'\nI0\nI1\ntR(I3\nS'<'\nNNNI-1\nI-1\nI0\ntbI00\nS''\ntb."
    ),
    "objects out of bytes": (
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR"
        b"(I1\n(I1\ntcnumpy\ndtype\n(S'O8'\nI0\nI1\ntR(I3\nS'|'\nNNNI-1\nI-1\nI0\ntbI00\nS'AAAAAAAA'\ntb."
    ),
    "fields": b"cnumpy\ndtype\n(S'V8'\nI0\nI1\ntR(I3\nS'|'\nN(S'a'\nt(dI8\nI1\nI0\ntb.",
    "long text": b"\x80\x04\x8d\xff\xff\xff\xff\xff\xff\xff\x0f.",
}


@pytest.mark.parametrize("name", sorted(BOMBS))
def test_pickles_that_would_exhaust_memory_or_forge_objects_are_refused(name: str) -> None:
    code = (
        "import io, resource, sys\n"
        "resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))\n"
        "from bua.errors import InputError\n"
        "from bua.store.pickles import load_pickle\n"
        "try:\n    load_pickle(io.BytesIO(sys.stdin.buffer.read()), 'x')\n"
        "except InputError as error:\n    print('refused:', error)"
    )
    result = subprocess.run([sys.executable, "-c", code], input=BOMBS[name], capture_output=True, check=False)
    assert result.returncode == 0, result.stderr
    # a dtype with fields is refused where it is used; on its own it is harmless
    assert b"refused: x: " in result.stdout


TENSORS = {
    "floats": torch.arange(12.0).reshape(3, 4),
    "transposed": torch.arange(12.0).reshape(3, 4).T,
    "slice": torch.arange(12.0).reshape(3, 4)[1:, ::2],
    "halves": torch.arange(6).half(),
    "doubles": torch.arange(6).double(),
    "numbers": torch.arange(6),
    "small": torch.arange(6, dtype=torch.uint8),
    "bools": torch.tensor([True, False]),
    "empty": torch.zeros(0, 4),
    "scalar": torch.tensor(2.5),
    "bfloat": torch.tensor([1.5, -2.0, 3e38]).bfloat16(),
}


@pytest.mark.parametrize("zipped", [True, False])
def test_torch_files_are_read_as_arrays_without_torch(zipped: bool, tmp_path) -> None:
    shared = torch.arange(10.0)
    state = OrderedDict({**TENSORS, "view": shared[2:4], "whole": shared})
    content = {"model": state, "iteration": 7, "parameter": torch.nn.Parameter(torch.ones(2))}
    torch.save(content, tmp_path / "x.pth", _use_new_zipfile_serialization=zipped)
    found = read_pickled(tmp_path / "x.pth")
    assert found["iteration"] == 7
    assert found["parameter"].tolist() == [1, 1]
    assert list(found["model"]) == list(state)
    for name, tensor in state.items():
        expected = tensor.float().numpy() if name == "bfloat" else tensor.numpy()
        assert same(np.asarray(found["model"][name]), expected), name
    code = (
        "import sys; from bua.store.pickles import read_pickled; read_pickled(sys.argv[1])\n"
        "print('torch' in sys.modules)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "x.pth")], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "False"


@pytest.mark.parametrize("order", [b"big", b"other"])
def test_a_torch_file_of_another_byte_order_is_refused(order: bytes, tmp_path) -> None:
    torch.save(torch.arange(3.0), tmp_path / "x.pth")
    with zipfile.ZipFile(tmp_path / "x.pth") as old, zipfile.ZipFile(tmp_path / "y.pth", "w") as new:
        for name in old.namelist():
            new.writestr(name, order if name.endswith("byteorder") else old.read(name))
    with pytest.raises(InputError, match="on a big-endian machine"):
        read_pickled(tmp_path / "y.pth")


def test_a_state_dict_of_a_module_is_read(tmp_path) -> None:
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    torch.save({"model": model.state_dict()}, tmp_path / "x.pth")
    found = read_pickled(tmp_path / "x.pth")["model"]
    assert all(np.array_equal(found[k], v.numpy()) for k, v in model.state_dict().items())


def good(kind: str) -> bytes:
    buffer = io.BytesIO()
    value = {"a": torch.arange(4.0), "b": [1, "x"]}
    if kind == "pickle":
        return pickle.dumps({"a": np.arange(4.0), "b": [1, "x"]}, 2)
    torch.save(value, buffer, _use_new_zipfile_serialization=kind == "zip")
    return buffer.getvalue()


GOOD = {kind: good(kind) for kind in ("pickle", "zip", "legacy")}


@settings(max_examples=300, deadline=None)
@given(kind=st.sampled_from(sorted(GOOD)), at=st.floats(0, 0.9999), value=st.integers(1, 255))
@example(kind="zip", at=0.0, value=1)
def test_a_damaged_file_is_read_or_refused_in_one_line(kind, at, value, tmp_path_factory) -> None:
    content = bytearray(GOOD[kind])
    content[int(at * len(content))] ^= value
    path = tmp_path_factory.mktemp("p") / "x.pkl"
    path.write_bytes(content)
    message = ""
    try:
        read_pickled(path)
    except InputError as error:
        message = str(error)
    assert message == "" or message.startswith(f"{path}: ")


@settings(max_examples=60, deadline=None)
@given(kind=st.sampled_from(sorted(GOOD)), fraction=st.floats(0, 0.99))
def test_a_truncated_file_is_refused(kind, fraction, tmp_path_factory) -> None:
    path = tmp_path_factory.mktemp("p") / "x.pkl"
    path.write_bytes(GOOD[kind][: int(fraction * len(GOOD[kind]))])
    with pytest.raises(InputError, match=r"x.pkl: not readable"):
        read_pickled(path)


def test_a_missing_file_is_named(tmp_path) -> None:
    with pytest.raises(InputError, match="nothing.pkl: cannot be read"):
        read_pickled(tmp_path / "nothing.pkl")


def test_nothing_in_the_package_unpickles_untrusted_data() -> None:
    """The only unpickler is bua.store.unpickle; numpy and torch must not unpickle."""
    files = sorted((ROOT / "bua").rglob("*.py"))
    assert len(files) > 50
    for file in files:
        text = file.read_text()
        assert "allow_pickle=True" not in text, file
        used = {ast.unparse(n) for n in ast.walk(ast.parse(text)) if isinstance(n, ast.Attribute)}
        unsafe = {"pickle.load", "pickle.loads", "pickle.Unpickler"}
        assert not used & unsafe or file.name == "unpickle.py", file


def test_the_lists_of_attacks_are_not_empty() -> None:
    assert len(NAMES) >= 10
    assert len(BOMBS) >= 7
    assert pickletools.optimize(pickle.dumps(1))
