"""What a folder holds is found once, behind links too; what no dataset is made of is not found."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from segkit.data.listing import is_stray, list_files, list_folders


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")
    return root


def names(root: Path) -> list[str]:
    return [path.relative_to(root).as_posix() for path in list_files(root, (".png",))]


def test_links_to_folders_are_followed_and_every_folder_is_found_once(tmp_path: Path) -> None:
    root = touch(tmp_path / "data", "A/1.png", "A/deep/2.png")
    store = touch(tmp_path / "store", "B/3.png", "B/more/4.png")
    for link, target in {
        "B": store / "B",
        "again": root / "A",  # seen
        "A/up": root,  # a loop
        "A/far": tmp_path,  # holds the folder itself
        "more": store / "B" / "more",  # seen behind B
    }.items():
        (root / link).symlink_to(target)
    (store / "B" / "back").symlink_to(store)  # a loop behind a link
    assert names(root) == ["A/1.png", "A/deep/2.png", "B/3.png", "B/more/4.png"]


def test_a_folder_that_is_itself_a_link_is_walked(tmp_path: Path) -> None:
    touch(tmp_path / "store", "1.png")
    (tmp_path / "data").symlink_to(tmp_path / "store")
    assert names(tmp_path / "data") == ["1.png"]


def test_what_systems_and_archives_leave_is_no_data(tmp_path: Path) -> None:
    stray = "._1.png Thumbs.db desktop.ini __MACOSX/1.png @eaDir/1.png #recycle/1.png $RECYCLE.BIN/1.png .hidden/1.png"
    root = touch(tmp_path, "1.png", "thumbs_of_a_patient.png", *stray.split())
    assert names(root) == ["1.png", "thumbs_of_a_patient.png"]
    assert [path.name for path in list_folders(root)] == []
    assert is_stray("ehthumbs_vista.db") and is_stray("~$report.docx") and not is_stray("reader.png")


def test_what_is_left_out_though_it_may_hold_data_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = touch(tmp_path, "1.png", "README.png", "notes", "store/2.png")
    (root / "B").symlink_to(root / "nowhere")
    (root / "C").write_text("store")  # how Git on Windows unpacks a link
    assert names(root) == ["1.png", "store/2.png"]
    said = "\n".join(caplog.messages)
    assert "README.png is taken for a note about the data" in said
    assert "B is a link to nothing" in said and "C is a link that was unpacked as text (store)" in said
    assert "notes is" not in said


@pytest.mark.skipif(os.geteuid() == 0, reason="root can read everything")
def test_a_folder_that_cannot_be_read_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = touch(tmp_path, "1.png", "shut/2.png")
    (root / "shut").chmod(0)
    try:
        assert names(root) == ["1.png"]
    finally:
        (root / "shut").chmod(0o755)
    assert "shut cannot be read and is left out" in caplog.text
