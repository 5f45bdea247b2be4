"""The Python API: it does what the command line does, prints nothing, and leaves the process as it was."""

from __future__ import annotations

import logging
import os
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator

import segkit as library
from conftest import Command, same_weights, save_weights
from processes import launch_script
from segkit.api import Task
from segkit.data.images import read_image, read_mask, write_image
from segkit.errors import SegkitError, UsageError
from segkit.prediction.jobs import OutputOptions
from segkit.reporter import Bar, Reporter, reporting
from segkit.settings import Preprocess

TINY = {"dataset.cases": 12, "dataset.size": 32, "model.width": 4, "model.depth": 2, "preprocess.size": 32}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("api") / "run"
    return library.train("phantom", "unet", epochs=2, batch_size=4, out=out, options=TINY).path


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    for number, size in enumerate([(32, 32), (40, 23)]):
        image = np.random.default_rng(number).integers(0, 255, (*size, 3), dtype=np.uint8)
        write_image(folder / f"{number}.png", image)
    return folder


def test_training_scoring_predicting_and_exporting_print_nothing(
    tmp_path: Path, pictures: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run = library.train("phantom", "unet", epochs=1, batch_size=4, out=tmp_path / "run", options=TINY)
    resumed = library.resume(run, epochs=2)
    evaluation = library.evaluate(run)
    prediction = library.predict(run, pictures, tmp_path / "masks", outputs=OutputOptions(overlay=True))
    exported = library.export(run, out=tmp_path / "model.onnx")
    labels = library.load(exported.files[0]).predict(read_image(pictures / "1.png"))
    assert capfd.readouterr() == ("", "")
    assert (run.epochs, resumed.epochs, prediction.done, prediction.failed) == (1, 2, 2, 0)
    assert evaluation.folder == run.path / "test" and len(evaluation.scores) > 0
    assert run.weights.is_file() and exported.files[0].is_file() and labels.shape == (40, 23)


def test_words_go_to_the_logger_one_line_for_each_epoch(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "segkit"):
        library.train("phantom", "unet", epochs=2, batch_size=4, out=tmp_path / "run", options=TINY)
    assert [line.split()[1] for line in caplog.messages if line.startswith("epoch")] == ["1/2", "2/2"]


def test_progress_goes_to_the_reporter_in_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEGKIT_CACHE", str(tmp_path / "cache"))  # nothing is remembered of the data
    seen: dict[str, float] = {}

    class Counting(Reporter):
        def progress(self, label: str, total: int):  # type: ignore[no-untyped-def]
            from contextlib import nullcontext

            class Count(Bar):
                def advance(self, steps: float = 1) -> bool:
                    seen[label] = seen.get(label, 0) + steps / total
                    return False

            return nullcontext(Count())

    with reporting(Counting()):
        library.train("phantom", "unet", epochs=1, batch_size=4, out=tmp_path / "run", options=TINY)
    # training cases are preprocessed, then validation cases
    assert seen == pytest.approx({"looking at the data": 1.0, "preprocessing": 2.0, "training": 1.0})


def test_it_trains_what_the_command_line_trains(segkit: Command, run: Path, tmp_path: Path) -> None:
    typed = [word for key, value in TINY.items() for word in ("-o", f"{key}={value}")]
    words = ["train", "--dataset", "phantom", "--model", "unet", "--epochs", 2, "--batch-size", 4, *typed]
    assert segkit(*words, "--out", tmp_path / "run").code == 0
    assert same_weights(tmp_path / "run", run)
    assert (tmp_path / "run/run.toml").read_text() == (run / "run.toml").read_text()


def test_an_array_gets_the_mask_that_its_file_gets(segkit: Command, run: Path, pictures: Path, tmp_path: Path) -> None:
    assert segkit("predict", run, pictures, "--out", tmp_path).code == 0
    model = library.load(run)
    for name in ("0.png", "1.png"):
        image = read_image(pictures / name)
        labels, probabilities = model.predict(image), model.probabilities(image)
        assert np.array_equal(labels * 255, read_mask(tmp_path / name))
        assert probabilities.shape == (1, *image.shape[1:]) and np.array_equal(labels, probabilities[0] > 0.5)


def test_several_models_give_their_mean(run: Path, pictures: Path) -> None:
    image = read_image(pictures / "0.png")
    one = library.load(run)
    assert np.allclose(library.load([run, run]).probabilities(image), one.probabilities(image), atol=1e-6)
    mirrored = library.load(run, tta=True)
    assert np.allclose(
        mirrored.probabilities(image[:, ::-1]), mirrored.probabilities(image)[:, ::-1], atol=1e-5
    )  # the mean over all flips does not see a flip


@pytest.mark.parametrize("shape", [(3, 20, 24), (20, 24, 3), (5, 20, 24)])
def test_colours_or_slices_without_channel_are_not_guessed(tmp_path: Path, shape: tuple[int, ...]) -> None:
    task = Task(1, ("background", "x"))
    weights = save_weights(tmp_path / "m.safetensors", "unet", task, Preprocess("stretch", (32, 32)), width=2, depth=1)
    model = library.load(weights)
    with pytest.raises(UsageError, match=r"takes 1 channel") as told:
        model.predict(np.zeros(shape, np.uint8))
    assert "image[None]" in (told.value.hint or "")
    assert model.predict(np.zeros((1, 20, 24, 5), np.uint8)).shape == (20, 24, 5)


@pytest.mark.parametrize(
    ("shape", "words"),
    [((20, 20, 3), "Channels last"), ((3, 20), "3 channel"), ((1, 20, 20), "3 channel"), ((3, 4, 20, 20, 2), "axes")],
)
def test_an_array_that_does_not_fit_is_refused_in_words(run: Path, shape: tuple[int, ...], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        library.load(run).predict(np.zeros(shape, np.uint8))


def test_gray_images_may_come_without_their_channel(tmp_path: Path) -> None:
    options = {**TINY, "dataset.colour": False}
    run = library.train("phantom", "unet", epochs=1, batch_size=4, out=tmp_path / "run", options=options)
    model, image = library.load(run), np.random.default_rng(0).integers(0, 255, (20, 30), dtype=np.uint8)
    assert np.array_equal(model.probabilities(image), model.probabilities(image[None]))
    with pytest.raises(UsageError, match="spacing has 3 numbers, the image 2 axes"):
        model.predict(image, spacing=(1, 1, 1))


def test_a_fresh_network_has_the_papers_number_of_parameters() -> None:
    network = library.build_model("resunet", Task(channels=3, classes=("background", "polyp")))
    assert sum(own.numel() for own in network.parameters()) == 33_140_547  # Ehab & Li
    assert network(torch.zeros(1, 3, 32, 32)).shape == (1, 1, 32, 32)


def test_wrong_names_and_settings_are_errors_and_write_nothing(tmp_path: Path) -> None:
    for wrong, words in (
        ({"dataset": "fantom"}, "phantom"),
        ({"epoch": 3}, "epochs"),
        ({"options": {"model.widht": 3}}, "width"),
        ({"options": {"modle.width": 3}}, "model"),
        ({"options": {"width": 3}}, "SECTION.KEY"),
        ({"epochs": 0}, "at least 1"),
    ):
        with pytest.raises(UsageError) as error:
            library.train(**{"dataset": "phantom", "model": "unet", "out": tmp_path / "run", **wrong})  # type: ignore[arg-type]
        assert words in str(error.value)
    with pytest.raises(UsageError, match=r"train\.lr cannot change"):
        library.resume(tmp_path, lr=3)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        library.trian  # noqa: B018


def global_state() -> list[object]:
    cudnn = torch.backends.cudnn
    flags = [torch.are_deterministic_algorithms_enabled(), cudnn.benchmark, cudnn.deterministic, torch.get_num_threads()]
    variables = [os.environ.get("CUBLAS_WORKSPACE_CONFIG"), os.environ.get("OMP_NUM_THREADS")]
    draws = [random.getstate(), str(np.random.get_state()), torch.get_rng_state().tolist()]
    return [*flags, *variables, *draws, logging.getLogger("segkit").level]


@pytest.mark.parametrize("lr", [1e-3, 1e30], ids=["to the end", "an error"])
def test_what_is_changed_for_the_whole_process_is_put_back(tmp_path: Path, lr: float) -> None:
    mine = Accelerator(cpu=True)
    torch.manual_seed(7), random.seed(7), np.random.seed(7)
    before = global_state()

    def train() -> None:
        out = tmp_path / "run"
        library.train("phantom", "unet", epochs=2, batch_size=4, lr=lr, deterministic=True, out=out, options=TINY)

    if lr > 1:
        with pytest.raises(SegkitError, match=r"finite|became"):
            train()
    else:
        train()
    assert global_state() == before
    assert mine.device.type == "cpu" and mine.num_processes == 1  # its state is there still


def test_importing_the_library_imports_nothing_heavy() -> None:
    code = "import sys, segkit; print(sorted({'torch', 'numpy', 'typer', 'rich', 'pluggy'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_example_runs(tmp_path: Path) -> None:
    example = Path(__file__).parents[1] / "examples" / "python_api.py"
    done = launch_script(example, tmp_path)
    assert done.code == 0, done.err
    assert "epoch 4/4" in done.err and "labels: (100, 80), probabilities: (1, 100, 80)" in done.out
    assert "test dice: 0." in done.out and "exported: model.onnx" in done.out
