"""Feature files of others: what each is called here, how it is read and how it is written.

The formats are described for users in ``docs/formats.md``, exactly in the module of each.
"""

from collections.abc import Callable, Generator
from dataclasses import dataclass

from bua.errors import InputError
from bua.store.formats import (
    caffe_tsv,
    cocobu,
    grid,
    hengyuan,
    m2,
    mmf,
    mmf_lmdb,
    nocaps,
    npz,
    oscar,
    vinvl,
    vqa_counting,
)
from bua.store.formats.export import Export
from bua.store.formats.isolated_reader import IsolatedReader
from bua.store.formats.item import Item, Source

_CLASSES = frozenset(["class_id", "class_score"])
_LABELS = _CLASSES | {"attribute_id", "attribute_score"}


@dataclass(frozen=True)
class Format:
    """One foreign format.

    Attributes:
        what: one line for users.
        read: yields the images of a source; in a process of its own where the library may crash.
        write: writes a store.
        columns: of the optional columns of a store, those that it holds.
        sizes: it tells how large the images are.
        boxes: it holds boxes.
        named: classes and attributes stand in it as names, not as numbers, and sizes in a ``.hw.tsv``
            beside it.
    """

    what: str
    read: Callable[[Source], Generator[Item, None, None]]
    write: Callable[[Export], None]
    columns: frozenset[str] = frozenset()
    sizes: bool = True
    boxes: bool = True
    named: bool = False


FORMATS = {
    "pa_tsv": Format("Anderson's Caffe TSV", caffe_tsv.read_pa, caffe_tsv.write_pa),
    "lxmert_tsv": Format("LXMERT's TSV", caffe_tsv.read_lxmert, caffe_tsv.write_lxmert, _LABELS),
    "mil_npz": Format("bottom-up-attention.pytorch, an npz an image", npz.read_mil, npz.write_mil, _LABELS),
    "openvqa_npz": Format("openvqa and mcan-vqa, an npz an image", npz.read_openvqa, npz.write_openvqa),
    "cocobu": Format("self-critical.pytorch, three folders", cocobu.read, cocobu.write, sizes=False),
    "hengyuan_hdf5": Format(
        "bottom-up-attention-vqa, 36 regions", IsolatedReader(hengyuan.read), hengyuan.write_fixed
    ),
    "ban_hdf5": Format("ban-vqa, 10 to 100 regions", IsolatedReader(hengyuan.read), hengyuan.write_adaptive),
    "vqa_counting_hdf5": Format("vqa-counting", IsolatedReader(vqa_counting.read), vqa_counting.write),
    "m2_hdf5": Format(
        "M2 and Show, Control and Tell", IsolatedReader(m2.read), m2.write, _CLASSES, sizes=False
    ),
    "nocaps_hdf5": Format("nocaps and updown-baseline", IsolatedReader(nocaps.read), nocaps.write, _CLASSES),
    "mmf_npy": Format("mmf, two npy an image", mmf.read, mmf.write, _CLASSES),
    "mmf_lmdb": Format("mmf, one LMDB", IsolatedReader(mmf_lmdb.read), mmf_lmdb.write, _CLASSES),
    "vinvl_tsv": Format(
        "VinVL's predictions.tsv", vinvl.read_predictions, vinvl.write_predictions, _LABELS, named=True
    ),
    "oscar_tsv": Format(
        "Oscar's features.tsv", oscar.read_features, oscar.write_features, _LABELS, named=True
    ),
    "grid_feats_pth": Format(
        "grid-feats-vqa, a pth an image", grid.read, grid.write, sizes=False, boxes=False
    ),
}


def find_format(name: str) -> Format:
    """Return a format by name.

    Raises:
        InputError: there is none of this name; those that there are are listed.
    """
    if name not in FORMATS:
        raise InputError(f"format={name}: there is {', '.join(FORMATS)}")
    return FORMATS[name]
