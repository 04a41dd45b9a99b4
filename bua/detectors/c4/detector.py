"""``vg_c4``: regions from the paper's detector, with weights of any release."""

import logging
from pathlib import Path
from typing import Any

from bua.detectors.c4.weights import load_c4
from bua.detectors.frozen_detector import FrozenDetector, file_sha256
from bua.detectors.selection import SelectionRule
from bua.errors import InputError
from bua.text.names import read_names

log = logging.getLogger(__name__)


class C4Detector(FrozenDetector):
    """The Visual Genome detector of Anderson et al. 2018, frozen.

    Args:
        name: of the detector.
        weights: file of any release: MILVLG, airsplay, Hugging Face, jwyang style, ``.caffemodel``,
            or bua's own.
        selection: which proposals become regions.
        side: shorter side of a resized photograph; none for that of the release, 600.
        longest: longer side at most; none for that of the release, 1000.
        classes: file with a class a line, synonyms behind commas; none for numbers as names.
        attributes: the same for attributes.
        box_convention: ``caffe`` or ``modern``; none for that of the release.
        proposals: regions passed on by the proposal network; none for that of the release, 300.
        proposal_nms: overlap at which proposals suppress each other; none for 0.7. Raise it where
            photographs give fewer regions than a fixed number.
        device: to run on.
        precision: ``32-true``, ``bf16-mixed`` or ``16-mixed``.
        channels_last: lay maps out for convolutions in mixed precision.

    Raises:
        InputError: the weights are missing, damaged or of another network.
    """

    def __init__(
        self,
        *,
        name: str,
        weights: str | None,
        selection: SelectionRule,
        side: int | None = None,
        longest: int | None = None,
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
                f"detector={name} has no weights of its own: give weights=FILE, a released file "
                "(MILVLG .pth, airsplay .pkl, Hugging Face .bin, .caffemodel) or one made by bua ship"
            )
        options = {"box_convention": box_convention, "proposals": proposals, "proposal_nms": proposal_nms}
        model = load_c4(
            Path(weights),
            side=side,
            longest=longest,
            classes=read_names(classes, "label") if classes is not None else None,
            attributes=read_names(attributes, "attribute") if attributes is not None else None,
            **options,
        )
        used: dict[str, Any] = {
            "type": "C4Detector",
            "name": name,
            "side": model.resize.side,
            "longest": model.resize.longest,
            **{key: getattr(model.options, key) for key in options},
        }
        if not model.named:
            log.info(f"{weights}: no names of classes; give classes=FILE attributes=FILE to have them")
        super().__init__(
            name=name,
            model=model,
            selection=selection,
            weights_sha256=file_sha256(Path(weights)),
            configuration=used,
            device=device,
            precision=precision,
            channels_last=channels_last,
        )
        if not model.named:
            self.class_names = self.attribute_names = ()
