"""Commands and flags as other tools call them: what is typed by habit is answered with what it is called here."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from typer.core import TyperCommand, TyperGroup

from segkit.errors import UsageError

COMMANDS = {
    "evaluate": ("val", "valid", "validate", "validation", "test", "eval", "score"),
    "predict": ("infer", "inference", "pred", "segment", "run", "apply"),
    "train": ("fit", "learn", "finetune"),
    "train --resume RUN": ("resume", "continue"),
    "export": ("convert", "onnx"),
    "benchmark": ("bench", "profile", "time"),
    "data check": ("check", "verify", "inspect"),
    "data explore": ("explore", "eda", "stats"),
    "data synth": ("synth", "generate"),
    "data cache": ("cache", "clean"),
    "settings": ("config", "options", "params"),
    "models": ("list", "architectures", "zoo"),
    "info": ("show", "describe", "summary"),
    "--version": ("version",),
    "--help": ("help",),
}
FLAGS = {
    "--device cpu": ("cpu", "no-cuda", "no-gpu"),
    "--device": ("gpu-id", "gpu-ids", "cuda-device"),
    "--device cuda": ("cuda", "use-gpu", "use-cuda"),
    "--devices": ("gpus", "num-gpus", "nproc", "world-size"),
    "--batch-size": ("batch", "bs", "batchsize", "train-batch-size"),
    "--epochs": ("num-epochs", "n-epochs", "max-epochs"),
    "--lr": ("learning-rate", "learning_rate", "rate"),
    "--workers": ("num-workers", "n-workers", "jobs"),
    "--out": ("output", "output-dir", "output-folder", "save-dir", "outdir", "output-path", "dest"),
    "--data-dir": ("data", "data-root", "data-path", "root", "dataset-dir", "images", "input-dir"),
    "--model": ("arch", "network", "net", "architecture", "encoder-name"),
    "--metric": ("metrics",),
    "--augment": ("augmentation", "augmentations", "aug"),
    "--optimizer": ("optim", "optimiser", "opt"),
    "--patience": ("early-stopping", "early-stop"),
    "--precision": ("amp", "fp16", "bf16", "half", "mixed-precision"),
    "--resume": ("checkpoint", "ckpt", "continue", "restart"),
    "--subset": ("split", "set"),
    "--overwrite": ("force", "overwrite-existing"),
    "--tta": ("mirror", "test-time-augmentation"),
    "--debug": ("verbose", "traceback"),
    "--overlay": ("visualize", "visualise", "vis"),
    "-o preprocess.size=N": ("size", "image-size", "img-size", "input-size", "imgsz", "patch-size", "crop-size"),
    "-o train.schedule=NAME": ("scheduler", "lr-scheduler"),
    "-o train.weight_decay=X": ("wd",),
    "-o split.val=X": ("val-split", "val-size"),
    "-o split.test=X": ("test-split", "test-size"),
}
GPU = ("gpu", "gpus", "gpu-id", "cuda", "cuda-device")


class ProposingCommand(TyperCommand):
    """A command that knows what its flags are called elsewhere."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        typed = list(args)
        try:
            return super().parse_args(ctx, args)
        except Exception as error:  # typer has its parser's errors in a private module
            if type(error).__name__ != "NoSuchOption":
                raise
            flag = str(getattr(error, "option_name", ""))
            hint = self._proposed(flag.lstrip("-"), typed)
            if not hint and not getattr(error, "possibilities", None):
                hint = self._setting(flag.lstrip("-"))
            if not hint:
                raise
            raise UsageError(f"segkit {self.name} has no option {flag}.", hint) from None

    def _proposed(self, name: str, typed: Sequence[str]) -> str:
        own = {option for parameter in self.params for option in parameter.opts}
        after = re.search(rf"--{re.escape(name)}[= ](\S+)", " ".join(typed))
        value = after.group(1) if after else ""
        if name in GPU and value.isdecimal() and not (name == "gpus" and "--devices" in own) and "--device" in own:
            return f"Did you mean --device cuda:{value}?"
        if name in GPU and re.fullmatch(r"\d+(,\d+)+", value) and "--devices" in own:
            return f"Did you mean --devices {value.count(',') + 1}? CUDA_VISIBLE_DEVICES={value} says which."
        if name == "gpu" and "--device" in own:
            return "Did you mean --device cuda?"
        for flag, names in FLAGS.items():
            if name in names and flag.split()[0] in (*own, "--debug"):
                return f"Did you mean {flag}{f' {value}' if value and ' ' not in flag else ''}?"
        return ""

    def _setting(self, name: str) -> str:
        """A flag that is a setting: --weight-decay for -o train.weight_decay=..."""
        from segkit.config.suggestions import proposal
        from segkit.plugins import load
        from segkit.settings import SECTIONS

        if all("-o" not in parameter.opts for parameter in self.params):
            return ""
        sections = ("model", "dataset", "loss", *SECTIONS) if self.name == "train" else ("model", "dataset")
        return proposal(name, load(), {}, sections)


class ProposingGroup(TyperGroup):
    """Commands that know what they are called elsewhere."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name = args[0] if args else ""
        if not ctx.resilient_parsing and self.get_command(ctx, name) is None:
            path = " ".join(ctx.command_path.split())
            for command, names in COMMANDS.items():
                own = command.startswith("-") or self.get_command(ctx, command.split()[0]) is not None
                if name.lower() in names and own:
                    raise UsageError(f"{path} has no command {name!r}.", f"Did you mean: {path} {command}?")
        return super().resolve_command(ctx, args)
