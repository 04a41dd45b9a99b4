"""What decoders complain of is told in one line, also by worker processes, and so are lost colors."""

import io
import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bua.detectors.extract import ExtractionOptions, extract
from bua.detectors.photo import map_photos, read_photo
from bua.detectors.photo_files import PhotoFile, find_photos
from bua.detectors.photo_remarks import KINDS, Remark, describe_remarks
from bua.detectors.random_detector import RandomDetector
from bua.errors import InputError
from bua.io.orientation import read_header
from bua.store import FeatureStore

THERMAL = np.random.default_rng(0).integers(7301, 8207, (40, 50)).astype(np.uint16)


def damaged_fax() -> bytes:
    """Return a TIFF of which libtiff decodes all lines, complaining about dozens of them."""
    bars = np.full((400, 300), 255, np.uint8)
    bars[50:350:7, 40:260] = 0
    bars[:, 100:110] = 0
    file = io.BytesIO()
    Image.fromarray(bars).convert("1").save(file, "TIFF", compression="tiff_ccitt")
    content = bytearray(file.getvalue())
    content[len(content) // 10 + 20] ^= 0xFF
    return bytes(content)


def damaged_exif() -> bytes:
    """Return a JPEG that decodes, with EXIF data that end too early, about which Pillow warns."""
    file = io.BytesIO()
    exif = b"Exif\0\0II*\0\x08\0\0\0\x05\0\x12\x01\x03\0\x01\0\0\0\x01\0\0\0"
    Image.new("RGB", (30, 20), "red").save(file, "JPEG", exif=exif)
    return file.getvalue()


def damaged_lzw() -> bytes:
    """Return a TIFF that libtiff cannot decode."""
    file = io.BytesIO()
    pixels = np.linspace(0, 255, 18000).reshape(60, 100, 3).astype(np.uint8)
    Image.fromarray(pixels).save(file, "TIFF", compression="tiff_lzw")
    content = bytearray(file.getvalue())
    for n in range(len(content) // 3, len(content) // 3 + 40):
        content[n] ^= 0x5A
    return bytes(content)


def thermal(**options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(THERMAL).save(file, "PNG", **options)
    return file.getvalue()


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def remarks_of(path: Path, **options: bool) -> list[Remark]:
    remarks: list[Remark] = []
    read_photo(path, report=remarks.append, **options)
    return remarks


def test_complaints_of_libtiff_become_one_remark_that_counts_them(tmp_path, capfd) -> None:
    [remark] = remarks_of(write(tmp_path / "fax.tif", damaged_fax()))
    assert remark.kind == "decoder"
    assert remark.detail.startswith("Fax3DecodeRLE: ")
    assert remark.detail.endswith("and 42 more messages")
    assert capfd.readouterr().err == ""


def test_warnings_of_pillow_become_one_remark(tmp_path, capfd) -> None:
    path = write(tmp_path / "exif.jpg", damaged_exif())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        [remark] = remarks_of(path)
        read_header(path)
    assert remark.detail.startswith("Corrupt EXIF data")
    assert capfd.readouterr().err == ""


def test_the_reason_of_libtiff_is_in_the_line_about_an_undecodable_image(tmp_path, capfd) -> None:
    with pytest.raises(InputError, match=r"lzw\.tif: damaged image .*code not yet in table"):
        read_photo(write(tmp_path / "lzw.tif", damaged_lzw()))
    assert capfd.readouterr().err == ""


def test_the_standard_error_is_as_before_after_a_damaged_image(tmp_path, capfd) -> None:
    remarks_of(write(tmp_path / "fax.tif", damaged_fax()))
    os.write(2, b"still there")
    assert capfd.readouterr().err == "still there"


def test_images_are_decoded_without_a_standard_error(tmp_path) -> None:
    write(tmp_path / "fax.tif", damaged_fax())
    script = f"from bua.detectors.photo import read_photo; read_photo({str(tmp_path / 'fax.tif')!r})"
    command = ["sh", "-c", 'exec "$0" -c "$1" 2>&-', sys.executable, script]
    assert subprocess.run(command, check=False).returncode == 0


@pytest.mark.parametrize("num_workers", [0, 2])
def test_an_extraction_tells_every_kind_of_remark_in_one_line(num_workers: int, tmp_path, capfd) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for n in range(6):
        write(folder / f"{n}.tif", damaged_fax())
        write(folder / f"{n}.jpg", damaged_exif())
        write(folder / f"{n}.png", thermal())
    options = ExtractionOptions(
        batch_size=8, shard_size=20, num_workers=num_workers, dtype="float16", max_errors=0
    )
    detector = RandomDetector(feature_size=8, min_regions=2, max_regions=6, seed=0)
    result = extract(find_photos(folder), detector, tmp_path / "f.h5", options)
    assert result.num_images == 18
    assert len(result.remarks) == 2
    decoder, gray = result.remarks
    assert decoder.startswith(f"12 images {KINDS['decoder']}: {folder}/0.jpg (Corrupt EXIF data")
    assert decoder.endswith(" and 9 others")
    assert gray.startswith(f"6 images {KINDS['gray']}: {folder}/0.png (grays 7,301 to 8,206 became 28 to 31")
    assert "Fax3" not in capfd.readouterr().err


def test_a_command_over_images_tells_remarks_at_the_end(tmp_path, capfd) -> None:
    files = [PhotoFile(name, write(tmp_path / name, damaged_fax())) for name in ("a.tif", "b.tif")]
    assert len(list(map_photos(lambda file, photo: None, files, "bua detect"))) == 2
    [line] = capfd.readouterr().err.splitlines()
    assert line.startswith(f"bua detect: 2 images {KINDS['decoder']}: {files[0].path} (")


def test_without_a_function_to_report_to_a_remark_is_logged(tmp_path, caplog) -> None:
    read_photo(write(tmp_path / "t.png", thermal()))
    assert "t.png (grays 7,301 to 8,206" in caplog.text


def test_one_image_and_the_first_of_many_are_named() -> None:
    named = [(f"{n}.png", Remark("gray", "x")) for n in range(1234)]
    assert list(describe_remarks(named[:1])) == [f"1 image {KINDS['gray']}: 0.png (x)"]
    names = "0.png (x), 1.png (x), 2.png (x)"
    assert list(describe_remarks(named)) == [f"1,234 images {KINDS['gray']}: {names} and 1,231 others"]


@pytest.mark.parametrize("hot", [False, True])
def test_16_bit_grays_that_become_nearly_one_are_told(hot: bool, tmp_path) -> None:
    gray = np.tile(THERMAL, (5, 5))
    gray[0, 0] = 65535 if hot else gray[0, 0]
    Image.fromarray(gray).save(tmp_path / "t.png")
    assert [remark.kind for remark in remarks_of(tmp_path / "t.png")] == ["gray"]


@pytest.mark.parametrize(
    "gray",
    [
        np.full((9, 9), 300, np.uint16),
        np.where(np.arange(10000).reshape(100, 100) < 5, 65535, 0).astype(np.uint16),
        np.arange(0, 60000, 600).reshape(10, 10).astype(np.uint16),
        np.arange(5, 14).reshape(3, 3).astype(np.int32),
        np.linspace(0, 1, 16).reshape(4, 4).astype(np.float32),
    ],
    ids=["one gray", "a mask", "ordinary", "8 bits in 32", "0 to 1"],
)
def test_grays_that_are_not_lost_are_not_told(gray, tmp_path) -> None:
    Image.fromarray(gray).save(tmp_path / "x.tif")
    assert remarks_of(tmp_path / "x.tif") == []


@pytest.mark.parametrize("lowest", [-1000, 0])
def test_grays_that_are_clipped_are_told(lowest: int, tmp_path) -> None:
    gray = np.linspace(lowest, 90000, 400).reshape(20, 20).astype(np.int32)
    Image.fromarray(gray).save(tmp_path / "x.tif")
    assert remarks_of(tmp_path / "x.tif") == [Remark("clipped", f"grays {lowest:,} to 90,000")]


def test_a_white_drawing_on_a_transparent_ground_is_told(tmp_path) -> None:
    drawing = np.full((20, 20, 4), 255, np.uint8)
    drawing[:, :15, 3] = 0
    Image.fromarray(drawing).save(tmp_path / "x.png")
    assert [remark.kind for remark in remarks_of(tmp_path / "x.png")] == ["transparent"]
    drawing[10, 17, :3] = 0
    Image.fromarray(drawing).save(tmp_path / "x.png")
    assert remarks_of(tmp_path / "x.png") == []


def test_stretched_grays_range_from_black_to_white(tmp_path) -> None:
    path = write(tmp_path / "t.png", thermal())
    assert remarks_of(path, stretch_gray=True) == []
    pixels = read_photo(path, stretch_gray=True)
    expected = (THERMAL.astype(float) - 7301) / (8206 - 7301) * 255
    assert (np.abs(pixels - expected[..., None]) <= 1).all()
    assert (pixels.min(), pixels.max()) == (0, 255)


def test_stretching_changes_no_image_of_8_bits(tmp_path) -> None:
    Image.fromarray((THERMAL // 64).astype(np.uint8)).save(tmp_path / "x.png")
    assert (read_photo(tmp_path / "x.png", stretch_gray=True) == read_photo(tmp_path / "x.png")).all()


def test_stretching_is_part_of_the_identity_of_features(tmp_path) -> None:
    photos = [PhotoFile(1, write(tmp_path / "t.png", thermal()))]
    detector = RandomDetector(feature_size=8, min_regions=2, max_regions=6, seed=0)
    for stretch_gray in (False, True):
        options = ExtractionOptions(
            batch_size=8,
            shard_size=20,
            num_workers=0,
            dtype="float16",
            max_errors=0,
            stretch_gray=stretch_gray,
        )
        extract(photos, detector, tmp_path / f"{stretch_gray}.h5", options)
    plain, stretched = (FeatureStore(tmp_path / f"{flag}.h5").metadata for flag in (False, True))
    assert plain.configuration == detector.configuration()
    assert stretched.configuration == {**detector.configuration(), "stretch_gray": True}
    with pytest.raises(InputError, match="with other options"):
        extract(photos, detector, tmp_path / "False.h5", options)


def test_decoding_takes_a_few_bytes_a_pixel(tmp_path) -> None:
    gray = np.zeros((4000, 5000), np.uint16)
    gray[::7] = 30000
    Image.fromarray(gray).save(tmp_path / "g.png")
    Image.new("RGB", (5000, 4000), "red").save(tmp_path / "c.jpg")
    script = (
        "import resource, sys; from bua.detectors.photo import read_photo\n"
        "def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "before = peak(); [read_photo(path) for path in sys.argv[1:]]; print(peak() - before)"
    )
    command = [sys.executable, "-c", script, tmp_path / "g.png", tmp_path / "c.jpg"]
    kilobytes = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    unit = 1 if sys.platform == "darwin" else 1024
    assert kilobytes * unit < 9 * gray.size
