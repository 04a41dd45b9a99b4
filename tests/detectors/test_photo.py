"""Every image is decoded to what a person sees, or rejected in one line that names it."""

import io
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bua.detectors import photo as photo_module
from bua.detectors.photo import read_photo
from bua.detectors.photo_files import PhotoFile, find_photos
from bua.errors import InputError

PIXELS = np.zeros((20, 30, 3), np.uint8)
PIXELS[:, :15] = (250, 10, 10)


def save(tmp_path: Path, name: str, image: Image.Image, **options: object) -> Path:
    path = tmp_path / name
    image.save(path, **options)
    return path


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.tif", "a.webp", "a.gif", "a.jpg"])
def test_formats_are_decoded_to_rgb(name: str, tmp_path) -> None:
    pixels = read_photo(save(tmp_path, name, Image.fromarray(PIXELS)))
    assert pixels.shape == (20, 30, 3)
    assert pixels.dtype == np.uint8
    assert abs(pixels[10, 3].astype(int) - (250, 10, 10)).max() < 25
    assert pixels.flags.writeable


def test_cmyk_and_grayscale_are_decoded(tmp_path) -> None:
    cmyk = read_photo(save(tmp_path, "c.jpg", Image.fromarray(PIXELS).convert("CMYK")))
    assert cmyk[10, 3, 0] > 200 > cmyk[10, 25, 0] + 100
    gray = read_photo(save(tmp_path, "g.png", Image.fromarray(PIXELS).convert("L")))
    assert (gray[..., 0] == gray[..., 2]).all()


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparent_images_are_laid_over_white(mode: str, tmp_path) -> None:
    black = np.zeros((4, 4, 4), np.uint8)
    black[0, 0, 3] = 255
    pixels = read_photo(save(tmp_path, "a.png", Image.fromarray(black).convert(mode)))
    assert (pixels[0, 0] == 0).all()
    assert (pixels[1:] == 255).all()


def test_an_alpha_of_zero_everywhere_means_that_there_is_none(tmp_path) -> None:
    without_alpha = np.concatenate([PIXELS, np.zeros_like(PIXELS[..., :1])], 2)
    assert (read_photo(save(tmp_path, "a.png", Image.fromarray(without_alpha))) == PIXELS).all()


@pytest.mark.parametrize("value", [0, 300, 20000, 65535])
def test_16_bit_grays_are_scaled_and_not_clipped(value: int, tmp_path) -> None:
    image = Image.fromarray(np.full((4, 4), value, np.uint16))
    pixels = read_photo(save(tmp_path, "x.png", image))
    assert abs(int(pixels[0, 0, 0]) - value / 257) <= 1


def test_floating_point_grays_are_scaled(tmp_path) -> None:
    image = Image.fromarray(np.array([[0.0, 0.5], [1.0, 0.25]], np.float32))
    assert read_photo(save(tmp_path, "x.tif", image))[..., 0].tolist() == [[0, 127], [255, 63]]


def test_the_first_frame_of_an_animation_is_taken(tmp_path) -> None:
    frames = [Image.new("RGB", (8, 8), color) for color in ("red", "blue")]
    path = save(tmp_path, "a.gif", frames[0], save_all=True, append_images=frames[1:])
    assert read_photo(path)[0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation_is_applied(orientation: int, tmp_path) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = read_photo(save(tmp_path, "r.jpg", Image.fromarray(PIXELS), exif=exif))
    assert pixels.shape[:2] == ((20, 30) if orientation <= 4 else (30, 20))


def png(path: Path, width: int, height: int) -> Path:
    """Write a PNG that claims to have a size but holds no pixels."""
    import struct
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"x")))
    return path


def write_invalid(tmp_path: Path) -> dict[str, tuple[Path, str]]:
    """Write files that cannot be decoded; return their paths and the expected messages."""
    valid = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (200, 200, 3), np.uint8)).save(valid, "JPEG")
    files = {
        "empty.jpg": (b"", "file is empty"),
        "page.jpg": (b"<html><body>404</body></html>", "not an image"),
        "noise.png": (bytes(range(256)), "not an image"),
        "cut.jpg": (valid.getvalue()[:4000], "damaged image"),
    }
    for name, (content, _) in files.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "d.jpg").mkdir()
    written = {name: (tmp_path / name, message) for name, (_, message) in files.items()}
    return written | {
        "missing.jpg": (tmp_path / "missing.jpg", "file does not exist"),
        "a folder": (tmp_path / "d.jpg", "is a folder"),
        "1 x 5000": (
            save(tmp_path, "thin.png", Image.new("RGB", (1, 5000))),
            "1 x 5000, narrower than 1 to 200",
        ),
        "200 megapixels": (png(tmp_path / "huge.png", 20000, 10000), "100,000,000 pixels"),
        "short IDAT": (png(tmp_path / "short.png", 10, 10), "damaged image"),
    }


INVALID = [
    "empty.jpg",
    "page.jpg",
    "noise.png",
    "cut.jpg",
    "missing.jpg",
    "a folder",
    "1 x 5000",
    "200 megapixels",
    "short IDAT",
]


@pytest.mark.parametrize("name", INVALID)
def test_files_that_cannot_be_decoded_are_reported_in_one_line(name: str, tmp_path) -> None:
    path, message = write_invalid(tmp_path)[name]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(InputError, match=message) as error:
            read_photo(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_every_invalid_file_is_tested(tmp_path) -> None:
    assert set(write_invalid(tmp_path)) == set(INVALID)


def test_a_file_of_too_many_bytes_is_not_opened(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(photo_module, "MAX_BYTES", 100)
    with pytest.raises(InputError, match="must have at most 100"):
        read_photo(save(tmp_path, "a.bmp", Image.fromarray(PIXELS)))


def test_an_image_of_one_pixel_is_decoded(tmp_path) -> None:
    assert read_photo(save(tmp_path, "a.png", Image.new("RGB", (1, 1)))).shape == (1, 1, 3)


def test_real_images_are_decoded(shared) -> None:
    photos = (
        find_photos(shared / "data/coco_mini/images")[:40]
        + find_photos(shared / "data/vqa_v2_mini/images")[:40]
    )
    assert len(photos) == 80
    assert all(read_photo(p.path).ndim == 3 for p in photos)


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")


def test_ids_are_the_numbers_in_coco_file_names(tmp_path) -> None:
    touch(tmp_path, "COCO_val2014_000000000042.jpg", "000000000007.jpg")
    assert [p.image_id for p in find_photos(tmp_path)] == [7, 42]


def test_other_ids_are_the_paths_below_the_folder(tmp_path) -> None:
    touch(tmp_path, "000000000007.jpg", "b/cat.PNG", "b/notes.md")
    assert [p.image_id for p in find_photos(tmp_path)] == ["000000000007.jpg", "b/cat.PNG"]


def test_a_json_has_its_own_ids_and_its_files_are_in_images_beside_it(tmp_path) -> None:
    touch(tmp_path, "images/x.jpg")
    (tmp_path / "c.json").write_text('{"images": [{"id": 99, "file_name": "x.jpg"}]}')
    assert find_photos(tmp_path / "c.json") == [PhotoFile(99, tmp_path / "images/x.jpg")]


def test_a_list_holds_paths(tmp_path) -> None:
    touch(tmp_path, "p/x.jpg", "p/y.jpg")
    (tmp_path / "list.txt").write_text("p/y.jpg\n\np/x.jpg\n")
    assert [p.image_id for p in find_photos(tmp_path / "list.txt")] == ["p/y.jpg", "p/x.jpg"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("c.json", '{"images": []}', 'list "images" is empty'),
        (
            "c.json",
            '{"images": [{"id": 1, "file_name": "x"}, {"id": 1, "file_name": "y"}]}',
            "image 1 is duplicated",
        ),
        ("c.json", '{"images": [{"id": 1.5, "file_name": "x"}]}', r"images\[0\].*id is 1.5"),
        ("c.json", '{"images": 3}', 'a JSON object with a list "images"'),
        ("c.json", "{", "not valid JSON.*line 1"),
        ("l.txt", "\n", "list has no paths"),
    ],
)
def test_broken_lists_of_images_are_reported(name, content, message, tmp_path) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=f"{name}: .*{message}"):
        find_photos(tmp_path / name)


def test_a_folder_without_images_is_reported(tmp_path) -> None:
    with pytest.raises(InputError, match="folder has no images"):
        find_photos(tmp_path)


def test_images_in_unsupported_formats_are_reported_and_not_skipped(tmp_path) -> None:
    touch(tmp_path, "a.jfif", "b.HEIC", "notes.txt")
    found = find_photos(tmp_path)
    assert [p.image_id for p in found] == ["a.jfif", "b.HEIC"]
    (tmp_path / "b.HEIC").write_bytes(b"\x00\x00\x00\x18ftypheic" + b"x" * 100)
    with pytest.raises(InputError, match=r"b\.HEIC: not an image in one of the formats JPEG"):
        read_photo(tmp_path / "b.HEIC")
