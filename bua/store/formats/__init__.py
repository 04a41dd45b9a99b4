"""Feature file formats of other projects: the name of each, its reader and its writer.

``docs/formats.md`` describes the formats for users; the module of each format specifies it in detail.
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
    own_npz,
    vinvl,
    vqa_counting,
)
from bua.store.formats.export import Export
from bua.store.formats.isolated_reader import IsolatedReader
from bua.store.formats.source import Source, SourceImage

_CLASSES = frozenset(["class_id", "class_score"])
_LABELS = _CLASSES | {"attribute_id", "attribute_score"}


@dataclass(frozen=True)
class Format:
    """The feature file format of another project.

    Attributes:
        description: Description in one line.
        read: Reader that yields the images of a source, in a separate process if its library may crash.
        write: Writer of a store.
        columns: Optional columns of a store that the format can hold.
        has_sizes: Whether the format holds the sizes of the images.
        has_boxes: Whether the format holds boxes.
        uses_names: Whether the format holds classes and attributes as names instead of ids, and sizes in
            a separate ``.hw.tsv`` file.
    """

    description: str
    read: Callable[[Source], Generator[SourceImage, None, None]]
    write: Callable[[Export], None]
    columns: frozenset[str] = frozenset()
    has_sizes: bool = True
    has_boxes: bool = True
    uses_names: bool = False


FORMATS = {
    "pa_tsv": Format("Anderson's Caffe TSV", caffe_tsv.read_pa, caffe_tsv.write_pa),
    "lxmert_tsv": Format("LXMERT's TSV", caffe_tsv.read_lxmert, caffe_tsv.write_lxmert, _LABELS),
    "mil_npz": Format("bottom-up-attention.pytorch, one npz per image", npz.read_mil, npz.write_mil, _LABELS),
    "openvqa_npz": Format("openvqa and mcan-vqa, one npz per image", npz.read_openvqa, npz.write_openvqa),
    "cocobu": Format("self-critical.pytorch, three folders", cocobu.read, cocobu.write, has_sizes=False),
    "hengyuan_hdf5": Format(
        "bottom-up-attention-vqa, 36 regions", IsolatedReader(hengyuan.read), hengyuan.write_fixed
    ),
    "ban_hdf5": Format("ban-vqa, 10 to 100 regions", IsolatedReader(hengyuan.read), hengyuan.write_adaptive),
    "vqa_counting_hdf5": Format("vqa-counting", IsolatedReader(vqa_counting.read), vqa_counting.write),
    "m2_hdf5": Format(
        "M2 and Show, Control and Tell", IsolatedReader(m2.read), m2.write, _CLASSES, has_sizes=False
    ),
    "nocaps_hdf5": Format("nocaps and updown-baseline", IsolatedReader(nocaps.read), nocaps.write, _CLASSES),
    "mmf_npy": Format("mmf, two npy per image", mmf.read, mmf.write, _CLASSES),
    "mmf_lmdb": Format("mmf, one LMDB", IsolatedReader(mmf_lmdb.read), mmf_lmdb.write, _CLASSES),
    "vinvl_tsv": Format(
        "VinVL's predictions.tsv", vinvl.read_predictions, vinvl.write_predictions, _LABELS, uses_names=True
    ),
    "oscar_tsv": Format(
        "Oscar's features.tsv", oscar.read_features, oscar.write_features, _LABELS, uses_names=True
    ),
    "npz": Format("arrays of your own, one npz per image", own_npz.read, own_npz.write, _LABELS),
    "grid_feats_pth": Format(
        "grid-feats-vqa, one pth per image", grid.read, grid.write, has_sizes=False, has_boxes=False
    ),
}


def get_format(name: str) -> Format:
    """Return a format by name.

    Raises:
        InputError: If there is no format of this name; the message lists the available ones.
    """
    if name not in FORMATS:
        raise InputError(f"format={name}: must be one of {', '.join(FORMATS)}")
    return FORMATS[name]
