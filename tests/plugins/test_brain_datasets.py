"""LGG, Figshare and the COCO set: the traps of their layouts, on files that we write ourselves."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.io
from PIL import Image
from test_datasets import opened, synth

from segkit.data.check import check_dataset
from segkit.data.reading import read_case
from segkit.errors import SegkitError, UsageError
from segkit.task import Sample

# lgg


def test_lgg_slices_belong_to_patients_and_are_in_natural_order(tmp_path: Path) -> None:
    dataset = opened("lgg", synth("lgg", tmp_path, cases=12))
    assert [case.group for case in dataset.cases[:5]] == ["TCGA_ZZ_0000"] * 4 + ["TCGA_ZZ_0001"]
    folder = tmp_path / "kaggle_3m" / "TCGA_ZZ_0000_20000101"
    for end in (".tif", "_mask.tif"):
        shutil.copy(folder / f"TCGA_ZZ_0000_20000101_2{end}", folder / f"TCGA_ZZ_0000_20000101_10{end}")
    ids = [case.id.rpartition("_")[2] for case in opened("lgg", tmp_path).cases if case.group == "TCGA_ZZ_0000"]
    assert ids == ["1", "2", "3", "4", "10"]


def test_the_second_copy_in_the_lgg_archive_is_not_counted(tmp_path: Path) -> None:
    synth("lgg", tmp_path)
    shutil.copytree(tmp_path / "kaggle_3m", tmp_path / "lgg-mri-segmentation" / "kaggle_3m")
    assert len(opened("lgg", tmp_path).cases) == 6
    assert len(opened("lgg", tmp_path / "lgg-mri-segmentation").cases) == 6


def test_only_tumour_leaves_empty_slices_out(tmp_path: Path) -> None:
    root = synth("lgg", tmp_path, cases=8)
    whole, filtered = opened("lgg", root), opened("lgg", root, only_tumour="true")
    assert (len(whole.cases), len(filtered.cases)) == (8, 6)
    assert all(filtered.read(case).mask.any() for case in filtered.cases)  # type: ignore[union-attr]


@pytest.mark.parametrize("delimiter", [",", ";"])
def test_lgg_facts_are_joined_though_their_keys_lack_the_date(tmp_path: Path, delimiter: str) -> None:
    root = synth("lgg", tmp_path)
    table = root / "kaggle_3m" / "data.csv"
    table.write_text(table.read_text().replace(",", delimiter))
    assert opened("lgg", root).cases[4].metadata == {"neoplasm_histologic_grade": "2"}


# figshare


def test_mat_slices_are_upright_with_patient_type_and_fold(tmp_path: Path) -> None:
    root = synth("figshare", tmp_path)
    dataset = opened("figshare", root, target="type", fold=1)
    third = dataset.cases[2]
    with h5py.File(root / "3.mat") as file:
        stored, label = file["cjdata/image"][()], file["cjdata/label"][0, 0]
    sample = dataset.read(third)
    assert np.array_equal(sample.image[0], stored.T)  # as MATLAB shows it
    assert (third.group, third.label, label) == ("P00001", "glioma", 2)
    assert set(np.unique(sample.mask)) == {0, 2}
    assert [case.subset for case in dataset.cases] == ["test", "test", "train", "train", "train", "train"]
    assert dataset.notes == ()


def test_mat_files_in_several_folders_are_one_set(tmp_path: Path) -> None:
    root = synth("figshare", tmp_path)
    (root / "brainTumorDataPublic_1-766").mkdir()
    shutil.move(root / "2.mat", root / "brainTumorDataPublic_1-766" / "2.mat")
    assert [case.id for case in opened("figshare", root).cases] == ["1", "2", "3", "4", "5", "6"]


def test_the_png_copy_is_turned_upright_and_says_that_it_lost_the_patients(tmp_path: Path) -> None:
    picture = np.zeros((5, 7, 4), np.uint8)
    picture[1, 2] = picture[..., 3] = 255
    picture[1, 2] = 255
    mask = np.zeros((5, 7, 4), np.uint8)
    mask[..., 3], mask[4, 6, :3] = 255, 255
    Image.fromarray(picture).save(tmp_path / "0.png")
    Image.fromarray(mask).save(tmp_path / "0_mask.png")
    dataset = opened("figshare", tmp_path)
    sample = dataset.read(dataset.cases[0])
    assert sample.image.shape == (1, 7, 5) and sample.image[0, 2, 1] == 255
    assert sample.mask is not None and sample.mask[6, 4] == 1 and sample.mask.sum() == 1
    assert "lost the patients" in dataset.notes[0]
    with pytest.raises(UsageError, match="the PNG copy has lost the tumour type"):
        opened("figshare", tmp_path, target="type")


def test_gray_images_are_shown_as_colour_where_asked(tmp_path: Path) -> None:
    root = synth("figshare", tmp_path)
    gray, colour = (opened("figshare", root, channels=number) for number in (1, 3))
    one, three = (read_case(dataset, dataset.cases[0]).image for dataset in (gray, colour))
    assert colour.task.channels == 3 and np.array_equal(three, np.concatenate([one] * 3))


def test_a_fold_without_its_file_is_told(tmp_path: Path) -> None:
    root = synth("figshare", tmp_path)
    (root / "cvind.mat").unlink()
    with pytest.raises(UsageError, match=r"dataset.fold = 2 needs cvind.mat"):
        opened("figshare", root, fold=2)


def first(root: Path) -> Sample:
    dataset = opened("figshare", root)
    return read_case(dataset, dataset.cases[0])


def test_damaged_mat_files_are_named(tmp_path: Path) -> None:
    scipy.io.savemat(tmp_path / "1.mat", {"cjdata": {"label": 1}})
    with pytest.raises(SegkitError, match=r"1.mat cannot be read: it is of version 5"):
        first(tmp_path)
    (tmp_path / "1.mat").write_bytes(b"not a mat file")
    with pytest.raises(SegkitError, match=r"1.mat cannot be read: it is not an HDF5 file"):
        first(tmp_path)
    with h5py.File(tmp_path / "1.mat", "w") as file:
        file["cjdata/PID"] = [1]
    with pytest.raises(SegkitError, match="cjdata holds no label"):
        first(tmp_path)


# brain-coco


def annotate(root: Path, annotations: list[dict], file_name: str = "1.png") -> Path:  # type: ignore[type-arg]
    (root / "train").mkdir()
    Image.fromarray(np.zeros((20, 30, 3), np.uint8)).save(root / "train" / "1.png")
    document = {
        "images": [{"id": 7, "file_name": file_name, "height": 20, "width": 30}],
        "annotations": [{"id": number, "image_id": 7, **annotation} for number, annotation in enumerate(annotations)],
        "categories": [{"id": 0, "name": "Tumor"}, {"id": 1, "name": "0"}, {"id": 2, "name": "1"}],
    }
    (root / "train" / "_annotations.coco.json").write_text(json.dumps(document))
    return root


BOX = {"category_id": 1, "bbox": [3, 5, 10, 4], "segmentation": [[3, 5, 13, 5, 13, 9, 3, 9]]}
TRIANGLE = {"category_id": 2, "bbox": [20, 10, 8, 8], "segmentation": [[20, 10, 28, 10, 20, 18]]}


def mask_of(root: Path, **options: object) -> np.ndarray:  # type: ignore[type-arg]
    dataset = opened("brain-coco", root, **options)
    mask = dataset.read(dataset.cases[0]).mask
    assert mask is not None
    return mask


def test_boxes_are_filled_and_several_add_up(tmp_path: Path) -> None:
    expected = np.zeros((20, 30), int)
    expected[5:9, 3:13] = expected[10:18, 20:28] = 1
    assert np.array_equal(mask_of(annotate(tmp_path, [BOX, TRIANGLE])), expected)


def test_outlines_are_drawn_where_asked(tmp_path: Path) -> None:
    mask = mask_of(annotate(tmp_path, [TRIANGLE]), mask="polygon")
    assert mask[10, 20] and not mask[17, 27]
    assert mask.sum() == pytest.approx(32, abs=8)  # half of the 8 x 8 box


@pytest.mark.parametrize("counts", [[0, 20, 580], "plain list of runs"])
def test_run_lengths_are_decoded(tmp_path: Path, counts: object) -> None:
    from pycocotools import mask as coco

    code = coco.frPyObjects({"counts": [0, 20, 580], "size": [20, 30]}, 20, 30)
    packed = {"counts": code["counts"].decode(), "size": [20, 30]}
    outline = {"counts": [0, 20, 580], "size": [20, 30]} if isinstance(counts, list) else packed
    mask = mask_of(annotate(tmp_path, [{**BOX, "segmentation": outline}]), mask="polygon")
    assert mask[:, 0].all() and mask.sum() == 20  # runs go down the columns


def test_an_image_without_annotation_is_empty(tmp_path: Path) -> None:
    assert not mask_of(annotate(tmp_path, [])).any()


def test_the_categories_are_called_0_and_1_and_the_placeholder_drops_out(tmp_path: Path) -> None:
    dataset = opened("brain-coco", annotate(tmp_path, [BOX, TRIANGLE]), target="category")
    assert dataset.task.classes == ("background", "0", "1") and dataset.task.mode == "multiclass"
    assert set(np.unique(dataset.read(dataset.cases[0]).mask)) == {0, 1, 2}


@pytest.mark.parametrize(("name", "words"), [("../../secret.png", "leads out of its folder"), ("gone.png", "names no file")])
def test_a_file_name_that_is_none_is_one_cases_error(tmp_path: Path, name: str, words: str) -> None:
    Image.fromarray(np.zeros((20, 30, 3), np.uint8)).save(tmp_path / "secret.png")
    root = tmp_path / "deep" / "er"
    root.mkdir(parents=True)
    dataset = opened("brain-coco", annotate(root, [BOX], file_name=name))
    with pytest.raises(SegkitError, match=words):
        read_case(dataset, dataset.cases[0])


def test_an_outline_that_cannot_be_drawn_names_its_annotation(tmp_path: Path) -> None:
    root = annotate(tmp_path, [{**BOX, "segmentation": "nonsense"}])
    with pytest.raises(SegkitError, match=r"annotation 0 of .*1.png cannot be drawn"):
        mask_of(root, mask="polygon")


@pytest.mark.parametrize(
    ("outline", "words"),
    [
        (None, "it has no outline"),
        ([], "it has no outline"),
        ([[]], "it has no outline"),
        ([[3, 5, 13, 9]], "has 2 points; an area has at least three"),
        ([[3, 5, 13, 5, 13, 9, 3]], "has 7 numbers, an odd count"),
        ([[3, 5, 13, 5, None, 9]], "holds None, which is no number"),
        ([[3, 5, 13, 5, "13", 9]], "holds '13', which is no number"),
        ([[3, 5, 13, 5, float("nan"), 9]], "holds nan, which is no number"),
        ([[3, 5, 13, 9, 8, 7]], "lie on one line"),
        ([[30, 0, 40, 0, 40, 9]], r"lies outside the image of 30 x 20 pixels"),
        ([[0.1, 0.1, 0.5, 0.1, 0.5, 0.9]], "shares of the image's size"),
        ({"counts": [0, 20, 580]}, "have no size"),
        ({"counts": [0, 20, 580], "size": [30, 20]}, r"are for the size \[30, 20\], the image's is \[20, 30\]"),
        ({"counts": [0, 20, 5], "size": [20, 30]}, "add up to 25 pixels; the image has 600"),
    ],
)
def test_odd_outlines_say_what_is_wrong_and_what_would_do(tmp_path: Path, outline: object, words: str) -> None:
    root = annotate(tmp_path, [{**BOX, "segmentation": outline}])
    with pytest.raises(SegkitError, match=rf"^train/1: annotation 0 of .*{words}.*; dataset.mask=bbox would use its bbox"):
        mask_of(root, mask="polygon")
    assert mask_of(root).sum() == 40  # the box is whole


@pytest.mark.parametrize(
    ("box", "words"),
    [
        (None, "it has no bbox"),
        ([3, 5, 10], "has 3 numbers; it takes 4"),
        ([3, 5, 10, "4"], "holds '4', which is no number"),
        ([3, 5, 0, 4], "has no area"),
        ([3, 5, -10, 4], "has no area"),
        ([40, 5, 10, 4], "lies outside the image"),
        ("3,5,10,4", "not a list of numbers"),
    ],
)
def test_odd_boxes_say_what_is_wrong_and_what_would_do(tmp_path: Path, box: object, words: str) -> None:
    root = annotate(tmp_path, [{**BOX, "bbox": box}])
    with pytest.raises(SegkitError, match=rf"train/1: .*{words}.*dataset.mask=polygon would use its segmentation"):
        mask_of(root)


def test_a_flat_list_of_points_is_one_outline(tmp_path: Path) -> None:
    flat = annotate(tmp_path, [{**BOX, "segmentation": BOX["segmentation"][0]}])  # type: ignore[index]
    assert mask_of(flat, mask="polygon").sum() == 40


def rewrite(root: Path, **changes: object) -> Path:
    """Replace parts of the annotation file; a function changes each entry of its list."""
    file = root / "train" / "_annotations.coco.json"
    document = json.loads(file.read_text())
    for key, change in changes.items():
        document[key] = [change(entry) for entry in document[key]] if callable(change) else change
    file.write_text(json.dumps(document))
    return root


@pytest.mark.parametrize("form", [str, float, lambda id: f" {id}"])
def test_ids_are_compared_as_text(tmp_path: Path, form: Callable[[int], object]) -> None:
    root = annotate(tmp_path, [BOX, TRIANGLE])
    expected = mask_of(root, target="category")
    rewrite(
        root, annotations=lambda one: {**one, "image_id": form(one["image_id"]), "category_id": form(one["category_id"])}
    )
    assert expected.max() == 2 and np.array_equal(mask_of(root, target="category"), expected)


def test_annotations_of_no_image_are_counted_as_a_problem(tmp_path: Path) -> None:
    root = annotate(tmp_path, [BOX, {**BOX, "image_id": 8}, {**BOX, "image_id": 8}, {**BOX, "image_id": None}])
    dataset = opened("brain-coco", root)
    report = check_dataset(dataset)
    assert [problem.partition("json: ")[2] for problem in report.problems] == [
        "1 annotations have no image_id: annotation 3",
        "2 annotations belong to no image of the file: image_id 8",
    ]
    rewrite(root, images=lambda one: {**one, "id": 70})
    with pytest.raises(SegkitError, match="3 annotations belong to no image of the file: image_id 7, image_id 8"):
        opened("brain-coco", root)


def test_a_missing_key_names_file_entry_and_key(tmp_path: Path) -> None:
    root = annotate(tmp_path, [BOX, {**TRIANGLE, "category_id": None}])
    dataset = opened("brain-coco", root)
    with pytest.raises(SegkitError, match=r"_annotations.coco.json: annotation 1 has no category_id"):
        read_case(dataset, dataset.cases[0])
    for key, entries, words in (
        ("images", [{"id": 7}], "image 0 has no file_name"),
        ("categories", [{"id": 1, "name": "0"}, {"name": "1"}], "category 1 has no id"),
        ("images", [{"id": 7, "file_name": "1.png"}] * 2, "the image id 7 stands there 2 times"),
        ("annotations", [BOX, None], "annotations must be a list of objects"),
        ("annotations", None, "annotations must be a list of objects"),
    ):
        with pytest.raises(SegkitError, match=rf"_annotations.coco.json.*{words}"):
            opened("brain-coco", rewrite(root, **{key: entries}))
        shutil.rmtree(root / "train")
        annotate(root, [BOX])


def test_a_category_that_is_not_listed_is_a_problem_and_a_linked_image_none(tmp_path: Path) -> None:
    root = annotate(tmp_path, [{**BOX, "category_id": 9}])
    shutil.move(root / "train" / "1.png", root / "store.png")
    (root / "train" / "1.png").symlink_to(root / "store.png")
    file = root / "train" / "_annotations.coco.json"
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())  # as editors on Windows save it
    report = check_dataset(opened("brain-coco", root))
    assert len(report.problems) == 1 and "1 annotations are of a category" in report.problems[0]
    file.write_text("[]")
    with pytest.raises(SegkitError, match="is not a COCO annotation file: it is no object"):
        opened("brain-coco", root)


def test_images_that_no_annotation_file_names_are_told(tmp_path: Path) -> None:
    root = annotate(tmp_path, [BOX])
    (root / "test").mkdir()
    for path in (root / "train" / "2.png", root / "test" / "3.png"):
        shutil.copy(root / "train" / "1.png", path)
    notes = opened("brain-coco", root).notes
    assert [note.rpartition(": ")[2] for note in notes] == ["2.png", "3.png"]
    assert "1 image(s) of test/ that no _annotations.coco.json names are left out" in notes[1]


@pytest.mark.parametrize(
    ("stated", "shape", "note"),
    [((20, 30), (20, 30), "size of the stored pixels"), ((30, 20), (30, 20), ""), (None, (30, 20), "the sizes do not tell")],
)
def test_outlines_are_for_the_pixels_whose_size_the_file_states(
    tmp_path: Path, stated: tuple[int, int] | None, shape: tuple[int, int], note: str
) -> None:
    root = annotate(tmp_path, [BOX], file_name="1.jpg")
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.zeros((20, 30, 3), np.uint8)).save(root / "train" / "1.jpg", exif=exif)
    height, width = stated or (None, None)
    rewrite(root, images=lambda one: {**one, "height": height, "width": width})
    dataset = opened("brain-coco", root)
    assert read_case(dataset, dataset.cases[0]).image.shape == (3, *shape)
    assert [note in text and "EXIF" in text for text in dataset.notes[1:]] == ([True] if note else [])


def test_damaged_annotations_are_named(tmp_path: Path) -> None:
    root = annotate(tmp_path, [])
    (root / "train" / "_annotations.coco.json").write_text("{}")
    with pytest.raises(SegkitError, match=r"_annotations.coco.json is not a COCO annotation file"):
        opened("brain-coco", root)


def test_roboflows_exports_of_one_image_are_one_group(tmp_path: Path) -> None:
    dataset = opened("brain-coco", synth("brain-coco", tmp_path))
    assert {case.subset for case in dataset.cases} == {"train", "val", "test"}
    assert dataset.cases[0].group == "0_png"


def test_annotations_for_another_size_are_refused(tmp_path: Path) -> None:
    root = annotate(tmp_path, [BOX])
    Image.fromarray(np.zeros((10, 15, 3), np.uint8)).save(root / "train" / "1.png")
    with pytest.raises(SegkitError, match=r"is \(10, 15\), its annotations are for \(20, 30\) pixels"):
        mask_of(root)


def test_categories_are_matched_by_name_across_the_subsets_files(tmp_path: Path) -> None:
    annotate(tmp_path, [BOX, TRIANGLE])  # ids 1: "0" and 2: "1"
    shutil.copytree(tmp_path / "train", tmp_path / "valid")
    file = tmp_path / "valid" / "_annotations.coco.json"
    document = json.loads(file.read_text())
    document["categories"] = [{"id": 0, "name": "0"}, {"id": 1, "name": "1"}]
    for annotation in document["annotations"]:
        annotation["category_id"] -= 1
    file.write_text(json.dumps(document))
    dataset = opened("brain-coco", tmp_path, target="category")
    assert dataset.task.classes == ("background", "0", "1")
    assert [(case.id, case.group) for case in dataset.cases] == [("train/1", "train/1"), ("val/1", "val/1")]
    masks = [dataset.read(case).mask for case in dataset.cases]
    assert np.array_equal(masks[0], masks[1])  # type: ignore[arg-type]
