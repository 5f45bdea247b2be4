"""Each dataset states its facts rightly, on files that we write ourselves in its layout."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import nibabel as nib
import numpy as np
import pytest
import tifffile
from PIL import Image

from conftest import Command
from segkit import plugins
from segkit.config.resolve import Choice
from segkit.data.reading import open_dataset, read_case
from segkit.data.split import find_leaks, split_cases
from segkit.errors import SegkitError, UsageError
from segkit.options import build
from segkit.settings import Split
from segkit.task import Dataset


def opened(name: str, root: Path | None = None, labelled: bool = True, **options: object) -> Dataset:
    found = plugins.load().find("datasets", name)
    return open_dataset(Choice(found, build(found.spec.options, options, "dataset")), root, labelled)


def synth(name: str, out: Path, cases: int = 6, **options: object) -> Path:
    spec = plugins.load().find("datasets", name).spec
    spec.load(spec.synthesize)(out, cases, 0, **options)  # type: ignore[attr-defined]
    return out


@pytest.mark.parametrize("name", ["phantom", "folder", "polyp"])
@pytest.mark.parametrize("labelled", [True, False])
def test_every_dataset_opens_what_it_makes_up(tmp_path: Path, name: str, labelled: bool) -> None:
    root = None if name == "phantom" else synth(name, tmp_path)
    dataset = opened(name, root, labelled)
    assert len({case.id for case in dataset.cases}) == len(dataset.cases) > 0
    sample = dataset.read(dataset.cases[0])
    assert sample.image.shape[0] == dataset.task.channels
    assert (sample.mask is not None) == labelled
    if sample.mask is not None:
        assert sample.mask.shape == sample.image.shape[1:]
        assert set(np.unique(sample.mask)) <= set(range(len(dataset.task.classes)))


def test_phantoms_follow_their_options() -> None:
    dataset = opened("phantom", cases=9, size=40, classes=3, colour="false", empty=1 / 3)
    assert dataset.task.classes == ("background", "target-1", "target-2", "target-3")
    assert (dataset.task.mode, dataset.task.channels) == ("multiclass", 1)
    samples = [dataset.read(case) for case in dataset.cases]
    assert all(sample.image.shape == (1, 40, 40) and sample.image.dtype == np.uint8 for sample in samples)
    assert sum(not sample.mask.any() for sample in samples) == 3  # type: ignore[union-attr]
    assert set(np.unique(samples[0].mask)) <= {0, 1, 2, 3}


def test_a_phantom_depends_on_the_seed_and_its_number_alone() -> None:
    few, many = opened("phantom", cases=3), opened("phantom", cases=30)
    assert np.array_equal(few.read(few.cases[2]).image, many.read(many.cases[2]).image)
    other = opened("phantom", cases=3, seed=1)
    assert not np.array_equal(few.read(few.cases[2]).image, other.read(other.cases[2]).image)


# folder


def write(root: Path, masks: dict[str, np.ndarray], suffix: str = ".png") -> Path:  # type: ignore[type-arg]
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True)
    for name, mask in masks.items():
        Image.fromarray(np.full((*mask.shape, 3), 90, np.uint8)).save(root / "images" / f"{name}.png")
        Image.fromarray(mask.astype(np.uint8)).save(
            root / "masks" / f"{name}{suffix}", **({"quality": 60} if suffix == ".jpg" else {})
        )
    return root


BOX = np.zeros((32, 32), np.uint8)
BOX[8:24, 8:24] = 1


@pytest.mark.parametrize("high", [1, 255])
def test_a_binary_mask_is_known_by_its_two_values(tmp_path: Path, high: int) -> None:
    dataset = opened("folder", write(tmp_path, {"a": BOX * high, "b": BOX * 0}))
    assert (dataset.task.mode, dataset.task.classes) == ("binary", ("background", "foreground"))
    assert np.array_equal(dataset.read(dataset.cases[0]).mask, BOX)
    assert dataset.options.values == ("0", str(high))
    assert any(f"{high} = foreground" in note for note in dataset.notes)


@pytest.mark.parametrize(("low", "high"), [(0, 100), (0, 127), (128, 255), (10, 20)])
def test_two_values_are_two_classes_whatever_they_are(tmp_path: Path, low: int, high: int) -> None:
    dataset = opened("folder", write(tmp_path, {"a": BOX * (high - low) + low}))
    assert dataset.options.values == (str(low), str(high))
    assert np.array_equal(dataset.read(dataset.cases[0]).mask, BOX)


def test_the_order_of_the_values_is_the_order_of_the_classes(tmp_path: Path) -> None:
    dataset = opened("folder", write(tmp_path, {"a": 255 - BOX * 255}), values="255,0", classes="background,tumour")
    assert np.array_equal(dataset.read(dataset.cases[0]).mask, BOX)
    for wrong in ("0,0", ""):
        with pytest.raises(UsageError, match="must name each class's own value"):
            opened("folder", tmp_path, values=wrong)


def test_a_value_beyond_the_two_classes_is_refused_not_swallowed(tmp_path: Path) -> None:
    dataset = opened("folder", write(tmp_path, {"a": BOX * 2}), values="0,1")
    with pytest.raises(SegkitError, match=r"a.png holds 2, which are not among dataset.values \(0, 1\)"):
        dataset.read(dataset.cases[0])


def test_three_levels_are_not_soft_edges(tmp_path: Path) -> None:
    levels = BOX * 255
    levels[8, 8:12] = 128
    with pytest.raises(UsageError, match="cannot be inferred: 0, 128, 255"):
        opened("folder", write(tmp_path, {"a": levels}))


def test_one_jpeg_among_png_labels_does_not_make_them_binary(tmp_path: Path) -> None:
    labels = BOX * 3
    labels[8, 8:24], labels[9, 8:24] = 1, 2
    root = write(tmp_path, {"a": labels, "b": labels})
    (root / "masks" / "b.png").unlink()
    Image.fromarray(labels).save(root / "masks" / "b.jpg")
    dataset = opened("folder", root)
    assert dataset.options.values == ("0", "1", "2", "3")
    assert np.array_equal(dataset.read(dataset.cases[0]).mask, labels)


def test_brackets_in_class_names_stay(tmp_path: Path) -> None:
    dataset = opened("folder", write(tmp_path, {"a": BOX}), classes="background,tumour (malignant)")
    assert dataset.task.classes == ("background", "tumour (malignant)")


def test_masks_coded_in_two_ways_are_asked_for_or_refused(tmp_path: Path) -> None:
    root = write(tmp_path / "few", {"a": BOX, "b": BOX * 255})
    with pytest.raises(UsageError, match="cannot be inferred: 0, 1, 255"):
        opened("folder", root)
    dataset = opened("folder", root, values="0,255")
    with pytest.raises(SegkitError, match=r"a.png holds values up to 1 only, where 255 is the foreground"):
        dataset.read(dataset.cases[0])


@pytest.mark.parametrize("name", ["polyp", "lgg"])
def test_public_masks_of_0_and_1_are_refused_not_read_as_empty(tmp_path: Path, name: str) -> None:
    root = synth(name, tmp_path, cases=4)
    for path in root.rglob("*.tif"):
        if "Ground Truth" in path.parts or path.stem.endswith("_mask"):
            tifffile.imwrite(path, tifffile.imread(path) // 255)
    dataset = opened(name, root)
    with pytest.raises(SegkitError, match="values up to 1 only"):
        dataset.read(dataset.cases[-1])


def test_a_mask_on_another_affine_is_refused_not_mirrored(tmp_path: Path) -> None:
    root = volumes(tmp_path, "ab")
    file = root / "masks" / "a_seg.nii.gz"
    nib.save(nib.Nifti1Image(np.asarray(nib.load(file).dataobj), np.eye(4)), file)
    dataset = opened("folder", root)
    with pytest.raises(SegkitError, match=r"a_seg.nii.gz lies on another grid \(affine\) than .*: up to .* mm"):
        read_case(dataset, dataset.cases[0])
    read_case(dataset, dataset.cases[1])


def test_equal_names_in_official_subsets_are_different_groups(tmp_path: Path) -> None:
    for name in ("train", "val", "test"):
        write(tmp_path / name, {"000": BOX, "001": BOX})
    dataset = opened("folder", tmp_path)
    assert len({case.group for case in dataset.cases}) == 6
    assert find_leaks(dataset.cases, split_cases(dataset.cases, Split(seed=0))) == {}


def test_hidden_folders_are_left_out(tmp_path: Path) -> None:
    root = write(tmp_path, {"a": BOX})
    for folder in ("images", "masks"):
        shutil.copytree(root / folder, root / folder / ".ipynb_checkpoints")
    assert [case.id for case in opened("folder", root).cases] == ["a"]


def test_a_jpeg_masks_noise_is_rounded_away(tmp_path: Path) -> None:
    odd = np.roll(BOX, 3, axis=(0, 1))  # off the grid of JPEG's 8x8 blocks
    root = write(tmp_path, {"a": odd * 255}, ".jpg")
    assert len(np.unique(cv2.imread(str(root / "masks" / "a.jpg"), 0))) > 2
    dataset = opened("folder", root)
    assert np.array_equal(dataset.read(dataset.cases[0]).mask, odd)


def test_soft_edges_are_rounded(tmp_path: Path) -> None:
    soft = BOX * 255
    soft[7, 8:24], soft[24, 8:24] = range(70, 102, 2), range(180, 212, 2)
    dataset = opened("folder", write(tmp_path, {"a": soft}))
    assert dataset.task.mode == "binary"
    assert dataset.read(dataset.cases[0]).mask.sum() == 16 * 17  # type: ignore[union-attr]


def test_label_values_are_classes_and_a_strange_one_later_is_named(tmp_path: Path) -> None:
    labels = BOX.copy()
    labels[0, 0] = 3
    dataset = opened("folder", write(tmp_path, {"a": labels}))
    assert dataset.task.classes == ("background", "class-1", "class-3")  # 2 does not occur: no class is invented
    again = opened("folder", tmp_path, values="0,1", classes="background,organ")
    assert again.task.mode == "binary"
    named = opened("folder", tmp_path, values="0,3,9", classes="background,spot,rest")
    with pytest.raises(SegkitError, match=r"a.png holds 1, which are not among dataset.values \(0, 3, 9\)"):
        named.read(named.cases[0])


def test_two_labels_without_a_zero_are_background_and_foreground(tmp_path: Path) -> None:
    dataset = opened("folder", write(tmp_path, {"a": BOX + 1}))
    assert dataset.options.values == ("1", "2")
    assert np.array_equal(dataset.read(dataset.cases[0]).mask, BOX)


def test_a_palette_mask_gives_its_indices_not_its_colours(tmp_path: Path) -> None:
    root = write(tmp_path, {"a": BOX})
    palette = Image.fromarray(BOX * 2 + np.eye(32, dtype=np.uint8)[::-1] * (1 - BOX)).convert("L").convert("P")
    palette.putdata((BOX * 2).ravel().tolist())
    palette.putpalette([0, 0, 0, 0, 255, 0, 128, 0, 0])
    palette.save(root / "masks" / "a.png")
    dataset = opened("folder", root, classes="background,a,b", values="0,1,2")
    assert np.array_equal(dataset.read(dataset.cases[0]).mask, BOX * 2)


def test_a_border_of_255_beside_small_labels_is_ignored(tmp_path: Path) -> None:
    labels = BOX * 2
    labels[0, :], labels[7, 8:24] = 1, 255
    dataset = opened("folder", write(tmp_path, {"a": labels}))
    assert (dataset.task.classes, dataset.task.ignore_index) == (("background", "class-1", "class-2"), 255)
    assert any("255 is ignored" in note for note in dataset.notes)
    assert np.array_equal(dataset.read(dataset.cases[0]).mask, labels)


def test_colours_are_classes_black_first(tmp_path: Path) -> None:
    root = write(tmp_path, {"a": BOX})
    painted = np.zeros((32, 32, 3), np.uint8)
    painted[8:24, 8:24], painted[0, 0:3] = (255, 0, 0), (0, 0, 255)
    Image.fromarray(painted).save(root / "masks" / "a.png")
    dataset = opened("folder", root)
    assert dataset.options.values == ("#000000", "#ff0000", "#0000ff")
    assert dataset.task.classes == ("background", "class-ff0000", "class-0000ff")
    mask = dataset.read(dataset.cases[0]).mask
    assert mask is not None and mask[10, 10] == 1 and mask[0, 0] == 2 and mask[31, 31] == 0
    named = opened("folder", root, classes="background,tumour", values="#000000,#ff0000")
    with pytest.raises(SegkitError, match=r"a.png holds #0000ff"):
        named.read(named.cases[0])


def test_photographs_taken_for_masks_are_refused(tmp_path: Path) -> None:
    root = write(tmp_path, {"a": BOX})
    noise = np.random.default_rng(0).integers(0, 255, (32, 32, 3), dtype=np.uint8)
    Image.fromarray(noise).save(root / "masks" / "a.png")
    with pytest.raises(UsageError, match="look like photographs"):
        opened("folder", root)


def test_a_value_that_is_none_is_told(tmp_path: Path) -> None:
    dataset = opened("folder", write(tmp_path, {"a": BOX}), classes="a,b,c", values="0,1,red")
    with pytest.raises(UsageError, match="'red' is neither a number nor a colour"):
        dataset.read(dataset.cases[0])


@pytest.mark.parametrize(
    "names", [("train", "val", "test"), ("training", "valid", "testing"), ("train", "validation", "test")]
)
def test_official_subsets_are_kept(tmp_path: Path, names: tuple[str, ...]) -> None:
    for name in names:
        write(tmp_path / name, {"a": BOX, "b": BOX})
    dataset = opened("folder", tmp_path)
    assert [(case.id, case.subset) for case in dataset.cases][::2] == [(f"{n}/a", n) for n in ("train", "val", "test")]
    assert len({case.id for case in dataset.cases}) == 6


def test_a_single_subset_folder_is_no_split(tmp_path: Path) -> None:
    write(tmp_path / "training", {"a": BOX, "b": BOX})
    assert {case.subset for case in opened("folder", tmp_path).cases} == {None}


def test_gray_levels_that_could_mean_anything_are_asked_for(tmp_path: Path) -> None:
    levels = np.repeat(np.array([0, 100, 200, 255], np.uint8), 256).reshape(32, 32)
    with pytest.raises(UsageError, match="cannot be inferred: 0, 100, 200, 255"):
        opened("folder", write(tmp_path, {"a": levels}))
    given = opened("folder", tmp_path, classes="background,a,b,c", values="0,100,200,255")
    assert np.array_equal(given.read(given.cases[0]).mask, np.repeat([0, 1, 2, 3], 256).reshape(32, 32))


def test_classes_and_values_must_agree(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"names 3 classes .* the masks hold 2 values"):
        opened("folder", write(tmp_path, {"a": BOX}), classes="a,b,c")


def test_patients_are_read_from_names(tmp_path: Path) -> None:
    root = write(tmp_path, {"p01_1": BOX, "p01_2": BOX, "p02_1": BOX})
    assert [case.group for case in opened("folder", root).cases] == ["p01_1", "p01_2", "p02_1"]
    assert [case.group for case in opened("folder", root, group=r"^(p\d+)").cases] == ["p01", "p01", "p02"]
    for pattern in (r"q\d+", r"(q\d+)?", r"(q)|p01"):
        with pytest.raises(UsageError, match="matches nothing in the name 'p01_1'"):
            opened("folder", root, group=pattern)
    with pytest.raises(UsageError, match="is not a regular expression"):
        opened("folder", root, group="(")


def test_an_image_without_mask_is_left_out_and_told(tmp_path: Path) -> None:
    root = write(tmp_path, {"a": BOX, "b": BOX})
    (root / "masks" / "b.png").unlink()
    dataset = opened("folder", root)
    assert [case.id for case in dataset.cases] == ["a"]
    assert any("1 image(s) without a mask" in note and "b.png" in note for note in dataset.notes)
    assert [case.id for case in opened("folder", root, labelled=False).cases] == ["a", "b"]


def test_absent_folders_are_told_with_what_was_found(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    with pytest.raises(UsageError) as error:
        opened("folder", tmp_path)
    for words in ("images", "pictures/", "Expected tree", "--dataset phantom"):
        assert words in str(error.value)
    (tmp_path / "truth").mkdir()
    with pytest.raises(UsageError, match="An image with a mask was not found"):
        opened("folder", tmp_path, images="pictures", masks="truth")


def test_gray_images_among_colour_ones_are_repeated(tmp_path: Path) -> None:
    root = write(tmp_path, {"a": BOX, "b": BOX})
    Image.fromarray(BOX).save(root / "images" / "b.png")
    dataset = opened("folder", root)
    assert [dataset.read(case).image.shape[0] for case in dataset.cases] == [3, 3]


def volumes(root: Path, names: str = "abcdef") -> Path:
    """A folder of NIfTI volumes, masks called NAME_seg."""
    for number, name in enumerate(names):
        dataset = opened("phantom", dims=3, size=16, cases=len(names))
        sample = dataset.read(dataset.cases[number])
        affine = np.diag([-1.0, -1.0, 3.0, 1.0])
        for folder, array, end in (("images", sample.image[0], ""), ("masks", sample.mask, "_seg")):
            (root / folder).mkdir(parents=True, exist_ok=True)
            nib.save(nib.Nifti1Image(np.asarray(array, np.uint8), affine), root / folder / f"{name}{end}.nii.gz")
    return root


def test_a_folder_of_volumes_is_3d_and_trains(tmp_path: Path, segkit: Command) -> None:
    root = volumes(tmp_path / "data")
    dataset = opened("folder", root)
    assert (dataset.task.dims, dataset.task.channels, dataset.task.mode) == (3, 1, "binary")
    assert [case.id for case in dataset.cases] == list("abcdef")
    sample = dataset.read(dataset.cases[0])
    assert sample.spacing == (1, 1, 3) and sample.mask is not None and sample.mask.shape == (16, 16, 16)
    words = ["--data-dir", root, "--model", "unet", "-o", "model.width=2", "-o", "model.depth=1", "-o", "preprocess.size=16"]
    assert segkit("train", "--dataset", "folder", *words, "--epochs", "1", "--out", tmp_path / "run").code == 0
    assert segkit("evaluate", tmp_path / "run").code == 0


def test_images_and_volumes_in_one_folder_are_refused(tmp_path: Path) -> None:
    root = volumes(tmp_path, "ab")
    Image.fromarray(BOX).save(root / "images" / "c.png"), Image.fromarray(BOX).save(root / "masks" / "c.png")
    with pytest.raises(UsageError, match="a dataset is one or the other"):
        opened("folder", root)


# polyp


@pytest.mark.parametrize(
    ("frame", "sequence"), [(1, 1), (25, 1), (26, 2), (205, 10), (206, 11), (591, 28), (592, 29), (612, 29)]
)
def test_frames_belong_to_their_sequences(tmp_path: Path, frame: int, sequence: int) -> None:
    # the table in the dataset's README
    for folder in ("Original", "Ground Truth"):
        (tmp_path / folder).mkdir()
        Image.fromarray(BOX * 255).save(tmp_path / folder / f"{frame}.png")
    assert opened("polyp", tmp_path).cases[0].group == f"sequence-{sequence:02d}"


def test_polyp_tiffs_come_in_colour_whatever_their_tags_say(tmp_path: Path) -> None:
    root = synth("polyp", tmp_path, cases=3)
    first = next((root / "CVC-ClinicDB" / "Original").iterdir())
    with tifffile.TiffFile(first) as file:
        assert file.pages[0].photometric == tifffile.PHOTOMETRIC.MINISBLACK
    dataset = opened("polyp", root)
    image = dataset.read(dataset.cases[0]).image
    assert image.shape[0] == 3 and not np.array_equal(image[0], image[2])


@pytest.mark.parametrize("folder", [".", "CVC-ClinicDB", "CVC-ClinicDB/PNG", "PNG"])
@pytest.mark.parametrize("masks", ["Ground Truth", "ground_truth"])
def test_polyp_copies_are_found_where_people_unpack_them(tmp_path: Path, folder: str, masks: str) -> None:
    for name in ("Original", masks):
        (tmp_path / folder / name).mkdir(parents=True)
        Image.fromarray(BOX * 255).save(tmp_path / folder / name / "7.png")
    assert [case.id for case in opened("polyp", tmp_path).cases] == ["7"]


def test_grey_values_of_polyp_masks_are_rounded(tmp_path: Path) -> None:
    for name in ("Original", "Ground Truth"):
        (tmp_path / name).mkdir()
    Image.fromarray(np.zeros((1, 4, 3), np.uint8)).save(tmp_path / "Original" / "7.png")
    Image.fromarray(np.array([[0, 127, 128, 255]], np.uint8)).save(tmp_path / "Ground Truth" / "7.png")
    dataset = opened("polyp", tmp_path)
    assert dataset.read(dataset.cases[0]).mask.tolist() == [[0, 0, 1, 1]]  # type: ignore[union-attr]


def test_a_frame_that_cannot_be_one_is_named(tmp_path: Path) -> None:
    for name in ("Original", "Ground Truth"):
        (tmp_path / name).mkdir()
        Image.fromarray(BOX).save(tmp_path / name / "613.png")
    with pytest.raises(SegkitError, match=r"613.png: a frame of CVC-ClinicDB is called 1 to 612"):
        read_case(opened("polyp", tmp_path), opened("polyp", tmp_path).cases[0])
