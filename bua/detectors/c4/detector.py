"""``vg_c4``: regions from the paper's detector, with the weights of any release."""

import logging
from pathlib import Path
from typing import Any

from bua.detectors.c4.weights import load_c4
from bua.detectors.detector import FrozenDetector
from bua.detectors.selection import SelectionRule
from bua.errors import InputError
from bua.io.files import file_sha256
from bua.text.names import read_names

log = logging.getLogger(__name__)


class C4Detector(FrozenDetector):
    """The frozen Visual Genome detector of Anderson et al. 2018.

    Args:
        name: Name of the detector.
        weights: Weight file of any release: MILVLG, airsplay, Hugging Face, jwyang style, ``.caffemodel``,
            or bua's own.
        selection: Rule that selects which proposals become regions.
        min_size: Length of the shorter side of resized images. Default: that of the release, 600.
        max_size: Maximum length of the longer side. Default: that of the release, 1000.
        classes: File with one class per line, synonyms separated by commas. Default: numbers as names.
        attributes: File with one attribute per line, in the same format. Default: numbers as names.
        box_convention: ``caffe`` or ``modern``. Default: that of the release.
        proposals: Number of proposals that the proposal network passes on. Default: that of the release, 300.
        proposal_nms: Overlap at which proposals suppress each other. Raise it if images have fewer regions
            than a fixed number asks for. Default: 0.7.
        device: Device to run on. Default: ``cpu``.
        precision: ``32-true``, ``bf16-mixed`` or ``16-mixed``. Default: ``32-true``.
        channels_last: Whether to use the channels-last memory format, which is faster in mixed precision.

    Raises:
        InputError: If the weights are not given, missing, damaged, or of another network.
    """

    def __init__(
        self,
        *,
        name: str,
        weights: str | None,
        selection: SelectionRule,
        min_size: int | None = None,
        max_size: int | None = None,
        classes: str | None = None,
        attributes: str | None = None,
        box_convention: str | None = None,
        proposals: int | None = None,
        proposal_nms: float | None = None,
        device: str = "cpu",
        precision: str = "32-true",
        channels_last: bool = False,
    ) -> None:
        if weights is None:
            raise InputError(
                f"detector={name} does not ship with weights; pass weights=FILE, a released file "
                "(MILVLG .pth, airsplay .pkl, Hugging Face .bin, .caffemodel) or one of bua export-detector"
            )
        options = {"box_convention": box_convention, "proposals": proposals, "proposal_nms": proposal_nms}
        model = load_c4(
            Path(weights),
            min_size=min_size,
            max_size=max_size,
            classes=read_names(classes, "label") if classes is not None else None,
            attributes=read_names(attributes, "attribute") if attributes is not None else None,
            **options,
        )
        configuration: dict[str, Any] = {
            "class": "C4Detector",
            "name": name,
            "min_size": model.resize.min_size,
            "max_size": model.resize.max_size,
            **{key: getattr(model.options, key) for key in options},
        }
        super().__init__(
            name=name,
            model=model,
            selection=selection,
            weights_sha256=file_sha256(Path(weights)),
            configuration=configuration,
            device=device,
            precision=precision,
            channels_last=channels_last,
        )
        if not model.has_names:
            log.info(f"{weights}: has no class names; pass classes=FILE attributes=FILE to add them")
            self.class_names = self.attribute_names = ()
