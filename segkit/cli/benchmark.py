"""`segkit benchmark`."""

from __future__ import annotations

from typing import Annotated

import typer

from segkit.cli import completion
from segkit.words import counted


def benchmark(
    model: Annotated[
        list[str], typer.Option(help="A model to compare; may be repeated.", autocompletion=completion.names("models"))
    ],
    size: Annotated[str, typer.Option(help="Image size, N or N,M.")] = "256",
    batch: Annotated[str, typer.Option(help="Images at a time; several: 1,8.")] = "1",
    channels: Annotated[int, typer.Option(min=1, help="Image channels.")] = 3,
    classes: Annotated[int | None, typer.Option(min=1, help="Number of outputs (default: 1; of classifiers 2).")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1.", autocompletion=completion.DEVICES)] = "auto",
    precision: Annotated[str, typer.Option(help="fp32, bf16, or on GPUs fp16.")] = "fp32",
    rounds: Annotated[int, typer.Option(min=1, help="How often each is timed.")] = 10,
    option: Annotated[
        list[str] | None,
        typer.Option(
            "-o", metavar="model.KEY=VALUE", help="Option, for every model.", autocompletion=completion.keys("model")
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> None:
    """Compare what models cost: latency, throughput, parameters, FLOPs, memory. Weights are fresh; no data is needed."""
    import dataclasses

    from segkit import plugins
    from segkit.cli import terminal
    from segkit.cli.catalogue import numbers
    from segkit.cli.output import print_json, print_table
    from segkit.config.device import check_device

    check_device(device)
    catalogue = plugins.load()
    found = [catalogue.find("models", name) for name in model]
    sides, batches = numbers("--size", size), numbers("--batch", batch)

    from segkit.models import cost
    from segkit.models.benchmark import benchmark_models, machine

    chosen = [cost.choose(item, option or [], sides) for item in found]
    outputs = [classes or (2 if item.spec.kind == "classification" else 1) for item in found]
    tasks = [cost.task_for(choice, channels, number) for choice, number in zip(chosen, outputs, strict=True)]
    with terminal.results_only():
        entries = benchmark_models(list(zip(chosen, tasks, strict=True)), sides, batches, device, precision, rounds)
    if json:
        print_json({"precision": precision, **machine(device), "entries": [dataclasses.asdict(item) for item in entries]})
        return
    rows = [
        (
            item.model,
            "x".join(map(str, item.size)),
            str(item.batch),
            f"{item.latency_ms:.1f} ({item.low_ms:.1f}-{item.high_ms:.1f})",
            f"{item.images_per_second:.1f}",
            f"{item.parameters / 1e6:.2f}",
            f"{item.flops / 1e9:.2f}",
            f"{item.peak_bytes / 2**20:.0f}",
        )
        for item in entries
    ]
    columns = ("model", "size", "batch", "ms (quartiles)", "images/s", "parameters (M)", "GFLOPs/image", "memory (MiB)")
    about = machine(device)
    print_table(columns, rows, title=f"{about['device']}, {precision}, {counted(rounds, 'round')}", wrap=False)
    known = "measured" if about["memory"] == "measured" else "counted for float32, not measured"
    typer.echo(f"Latency of one forward pass. Memory: weights and activations, {known}.")
