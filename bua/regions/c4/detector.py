"""``vg_c4``: regions from the paper's detector, with weights of any release."""

from pathlib import Path
from typing import Any

from bua.errors import InputError
from bua.regions.c4.weights import load_c4
from bua.regions.frozen import FrozenDetector, file_sha256
from bua.regions.resize import Resize
from bua.regions.select import SelectionRule
from bua.text.names import read_names


class C4Detector(FrozenDetector):
    """The Visual Genome detector of Anderson et al. 2018, frozen.

    Args:
        name: of the detector.
        weights: file of any release: MILVLG, airsplay, Hugging Face, jwyang style, ``.caffemodel``,
            or bua's own.
        selection: which proposals become regions.
        resize: of photographs.
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
        resize: Resize,
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
            resize=resize,
            classes=read_names(classes, "label") if classes is not None else None,
            attributes=read_names(attributes, "attribute") if attributes is not None else None,
            **options,
        )
        used: dict[str, Any] = {
            "_target_": "bua.regions.c4.detector.C4Detector",
            "name": name,
            "resize": resize.configuration(),
            **{key: getattr(model.options, key) for key in options},
        }
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
