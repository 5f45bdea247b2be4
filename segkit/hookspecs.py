"""The whole plugin interface: five functions that return lists of specs. Implement any of them, marked `@hookimpl`."""

from __future__ import annotations

import pluggy

from segkit.specs import DatasetSpec, LossSpec, MetricSpec, ModelSpec, RecipeSpec

hookspec = pluggy.HookspecMarker("segkit")
hookimpl = pluggy.HookimplMarker("segkit")


@hookspec
def segkit_models() -> list[ModelSpec]:  # type: ignore[empty-body]
    """Models: `build(task, options)` gives a torch module, (B, channels, *S) -> logits (B, task.outputs, *S).

    >>> from dataclasses import dataclass
    >>> from segkit.api import ModelSpec, hookimpl, option
    >>> @dataclass(frozen=True)
    ... class MyOptions:
    ...     width: int = option(16, "feature maps of the first level", minimum=1)
    >>> @hookimpl
    ... def segkit_models():
    ...     return [ModelSpec("my-net", "what it is", target="my_package.net:build", options=MyOptions, stride=16)]
    >>> segkit_models()[0].problems()
    []
    """


@hookspec
def segkit_datasets() -> list[DatasetSpec]:  # type: ignore[empty-body]
    """Datasets: `open(root, options, labelled=True)` gives a `segkit.api.Dataset`.

    >>> from segkit.api import DatasetSpec, hookimpl
    >>> @hookimpl
    ... def segkit_datasets():
    ...     return [
    ...         DatasetSpec(
    ...             "my-data",
    ...             "what it shows, and how much of it",
    ...             target="my_package.data:open_my_data",
    ...             licence="CC BY 4.0",
    ...             layout="images/NAME.png\\nmasks/NAME.png",
    ...             preprocess={"size": 256},
    ...         )
    ...     ]
    >>> segkit_datasets()[0].problems()
    []
    """


@hookspec
def segkit_losses() -> list[LossSpec]:  # type: ignore[empty-body]
    """Losses: `build(task, options)` gives a torch module, (logits, target) -> scalar.

    >>> from segkit.api import LossSpec, hookimpl
    >>> @hookimpl
    ... def segkit_losses():
    ...     return [LossSpec("my-loss", "what it weighs", target="my_package.loss:build", modes=("binary", "multilabel"))]
    >>> segkit_losses()[0].problems()
    []
    """


@hookspec
def segkit_metrics() -> list[MetricSpec]:  # type: ignore[empty-body]
    """Metrics: `build(task, options)` gives a `segkit.api.Metric`.

    >>> from segkit.api import MetricSpec, hookimpl
    >>> @hookimpl
    ... def segkit_metrics():
    ...     return [
    ...         MetricSpec(
    ...             "my-distance",
    ...             "how far the outlines are apart",
    ...             target="my_package.metric:build",
    ...             higher_is_better=False,
    ...             unit="mm",
    ...         )
    ...     ]
    >>> segkit_metrics()[0].problems()
    []
    """


@hookspec
def segkit_recipes() -> list[RecipeSpec]:  # type: ignore[empty-body]
    """Recipes: TOML files in the package, laid out like run.toml, for `segkit train --recipe NAME`.

    >>> from segkit.api import RecipeSpec, hookimpl
    >>> @hookimpl
    ... def segkit_recipes():
    ...     return [RecipeSpec("my-paper", "the training of its section 3", target="my_package:recipes/my_paper.toml")]
    >>> segkit_recipes()[0].problems()
    []
    """
