"""Folders are listed with what is linked into them, and without what is hidden."""

from pathlib import Path

from bua.io.folder import list_folder


def names(folder: Path) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in list_folder(folder).files]


def test_links_to_folders_and_files_are_followed(tmp_path) -> None:
    for name in ("photos/a.jpg", "elsewhere/b.jpg", "elsewhere/deep/c.jpg", "d.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "photos/linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "photos/d.jpg").symlink_to(tmp_path / "d.jpg")
    (tmp_path / "photos/broken.jpg").symlink_to(tmp_path / "nowhere.jpg")
    assert names(tmp_path / "photos") == ["a.jpg", "d.jpg", "linked/b.jpg", "linked/deep/c.jpg"]


def test_a_loop_of_links_ends(tmp_path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "x.jpg").touch()
    (tmp_path / "a" / "b" / "up").symlink_to(tmp_path / "a")
    (tmp_path / "a" / "self").symlink_to(tmp_path / "a")
    assert names(tmp_path / "a") == ["x.jpg"]


def test_hidden_files_and_companions_of_macos_are_passed_over_and_counted(tmp_path) -> None:
    for name in ("1.jpg", "._1.jpg", ".ipynb_checkpoints/1.jpg", "__MACOSX/._1.jpg", "__MACOSX/1.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert names(tmp_path) == ["1.jpg"]
    assert list_folder(tmp_path).num_hidden == 3
