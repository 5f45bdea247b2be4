"""nnU-Net by its own planner and its own trainer, stopped when the time is over.

Its plan is the default one, for 8 GB of a GPU. A training is 1000 epochs of 250 steps: the learning rate has hardly fallen
when the time is over. On a CPU it calculates in fp32. Planning and preprocessing count; writing the files in its format does
not. As with every arm here, no predictions of mirrored images are averaged.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch

from arms.job import Job, Labels, Trained, answer
from segkit.api import write_image
from segkit.data.images import read_image
from segkit.files import write_json
from segkit.task import Case, Dataset, Sample

NAME = "Dataset001_Quality"
FOLDERS = {"nnUNet_raw": "raw", "nnUNet_preprocessed": "preprocessed", "nnUNet_results": "results"}
CONFIGURATIONS = {"nnunet-2d": "2d", "nnunet-3d": "3d_fullres"}


class OverError(Exception):
    """The time is over."""


def train(job: Job) -> Trained:
    dataset, configuration = job.open(), CONFIGURATIONS[job.arm]
    places = {variable: Path(job.folder, folder) for variable, folder in FOLDERS.items()}
    cores = os.cpu_count() or 1
    processes = {"nnUNet_def_n_proc": str(cores)}  # its 8 would wait for each other
    os.environ |= {variable: str(place) for variable, place in places.items()} | processes
    names = write_raw(job, dataset, places["nnUNet_raw"] / NAME)
    started = time.time()
    plan(configuration, cores)
    splits = [{subset: [names[id] for id in job.split[subset]] for subset in ("train", "val")}]
    write_json(places["nnUNet_preprocessed"] / NAME / "splits_final.json", splits)
    prepared = time.time() - started
    torch.manual_seed(job.seed)
    np.random.seed(job.seed)
    steps, trainer = run_training(configuration, started + job.seconds)
    if not steps:
        raise RuntimeError(f"not one step was done in {job.seconds:.0f} s; planning and preprocessing took {prepared:.0f} s")
    settings = trainer.configuration_manager
    note = f"{steps} steps of {settings.batch_size} x {list(settings.patch_size)}, {prepared:.0f} s of them preprocessing"
    return Trained(Predictor(Path(trainer.output_folder_base), Path(job.folder)), note, started=started)


def plan(configuration: str, cores: int) -> None:
    """What `nnUNetv2_plan_and_preprocess -d 1 -c CONFIGURATION` does."""
    from nnunetv2.experiment_planning.plan_and_preprocess_api import extract_fingerprints, plan_experiments, preprocess

    extract_fingerprints([1], num_processes=cores)
    plans = plan_experiments([1])
    preprocess([1], plans, configurations=[configuration], num_processes=[cores])


def run_training(configuration: str, deadline: float) -> tuple[int, Any]:
    """The default trainer; before each step it is looked at whether there is time for one more."""
    from nnunetv2.run.run_training import get_trainer_from_args

    trainer = get_trainer_from_args(NAME, configuration, 0, device=torch.device("cpu"))
    steps, longest = 0, 0.0

    def timed(step: Callable[[Any], Any], counts: int) -> Callable[[Any], Any]:
        def within_the_time(batch: Any) -> Any:
            nonlocal steps, longest
            began = time.time()
            if began + longest / 2 > deadline:
                raise OverError
            outcome = step(batch)
            longest, steps = max(longest, time.time() - began), steps + counts
            return outcome

        return within_the_time

    trainer.train_step = timed(trainer.train_step, 1)
    trainer.validation_step = timed(trainer.validation_step, 0)
    try:
        trainer.run_training()
    except OverError:
        trainer.on_train_end()  # keeps the weights as they are, and ends the loaders
    return steps, trainer


class Predictor:
    """Its own, from its last checkpoint."""

    def __init__(self, trained: Path, folder: Path) -> None:
        from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

        self.own = nnUNetPredictor(use_mirroring=False, device=torch.device("cpu"), allow_tqdm=False)
        self.trained, self.folder, self.loaded = trained, folder / "predicted", False

    def __call__(self, case: Case, sample: Sample) -> Labels:
        if not self.loaded:
            self.own.initialize_from_trained_model_folder(str(self.trained), (0,), "checkpoint_final.pth")
            self.loaded = True
        self.folder.mkdir(exist_ok=True)
        files = write_channels(self.folder / "image", sample)
        self.own.predict_from_files_sequential([[str(file) for file in files]], [str(self.folder / "labels")])
        return read_labels(self.folder / f"labels{ending(sample)}")


def write_raw(job: Job, dataset: Dataset, folder: Path) -> dict[str, str]:
    """Training and validation cases in nnU-Net's format. Returns its name of each case by ours."""
    names = {}
    for subset in ("train", "val"):
        for case, sample in zip(job.cases(dataset, subset), job.read(dataset, subset), strict=True):
            names[case.id] = name = f"case_{len(names):04d}"
            write_channels(folder / "imagesTr" / name, sample)
            assert sample.mask is not None
            write_array(folder / "labelsTr" / f"{name}{ending(sample)}", sample.mask.astype(np.uint8), sample)
    document = {
        "channel_names": {str(number): name for number, name in enumerate(channels(dataset))},
        "labels": {name: label for label, name in enumerate(dataset.task.classes)},
        "numTraining": len(names),
        "file_ending": ".nii.gz" if dataset.task.dims == 3 else ".png",
    }
    write_json(folder / "dataset.json", document)
    return names


def channels(dataset: Dataset) -> Sequence[str]:
    return dataset.task.channel_names or [f"channel {number}" for number in range(dataset.task.channels)]


def ending(sample: Sample) -> str:
    return ".nii.gz" if sample.image.ndim == 4 else ".png"


def write_channels(stem: Path, sample: Sample) -> list[Path]:
    """An RGB image is one file of three channels, a volume has a file for each."""
    if sample.image.ndim == 3:
        return [write_array(stem.with_name(f"{stem.name}_0000.png"), np.moveaxis(sample.image, 0, -1), sample)]
    files = [stem.with_name(f"{stem.name}_{number:04d}.nii.gz") for number in range(len(sample.image))]
    return [write_array(file, channel, sample) for file, channel in zip(files, sample.image, strict=True)]


def write_array(file: Path, array: Any, sample: Sample) -> Path:
    """Volumes get the spacing of the case, and axes that are not turned: what is read again is on the case's own grid."""
    file.parent.mkdir(parents=True, exist_ok=True)
    if array.ndim == 3 and file.suffix == ".gz":
        nib.save(nib.Nifti1Image(array, np.diag([*(sample.spacing or (1.0, 1.0, 1.0)), 1.0])), file)
    else:
        write_image(file, array)
    return file


def read_labels(file: Path) -> Labels:
    labels: Labels = np.asarray(nib.load(file).dataobj) if file.suffix == ".gz" else read_image(file)[0]
    return labels.astype(np.uint8)


if __name__ == "__main__":
    answer(train)
