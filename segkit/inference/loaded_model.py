"""A trained model for use from Python: an array in, labels or probabilities out, on the array's own grid."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segkit.data.value_range import doubt_of
from segkit.errors import UsageError
from segkit.inference.network import Network
from segkit.inference.predictor import predict_images
from segkit.inference.probabilities import labels_of
from segkit.task import Task
from segkit.words import counted

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class LoadedModel:
    """One network, or several as an ensemble; from `segkit.load`.

    Args:
        networks: ready for inference.
        task: what they were trained for.
    """

    networks: Sequence[Network]
    task: Task

    def probabilities(self, image: NDArray[Any], spacing: Sequence[float] | None = None) -> NDArray[np.float32]:
        """Probabilities of an image, a stack of slices or a volume.

        Args:
            image: (C, *S), or (*S) for models of one channel, in the units of the training data; what preprocessing was
                trained with is done here. *S is (H, W), or (X, Y, Z) of a volume in RAS order. A model of images also takes
                a stack of them, (C, H, W, slices), never without C: its first or last axis could be colours.
            spacing: mm along each axis of *S; needed where the model resamples to a spacing.

        Returns:
            (K, *S), K being `task.outputs`: one foreground probability, one for each class, or (mode multilabel) one for
            each class but the background. Of a classification (K,), or (K, slices) where a volume is seen slice by slice.

        Raises:
            UsageError: the array has another number of axes or channels than the model takes.
        """
        array = self._checked(np.asarray(image))
        place = None if spacing is None else tuple(float(step) for step in spacing)
        if place is not None and len(place) != array.ndim - 1:
            raise UsageError(
                f"spacing has {counted(len(place), 'number')}, the image {counted(array.ndim - 1, 'axis')}.",
                "One number each, in mm.",
            )
        doubt = doubt_of(array, self.networks[0].preprocess, self.networks[0].seen)
        if doubt:
            logger.warning(f"the image is unlike those of the training: {doubt}.")
        ((_, found),) = predict_images(self.networks, [(None, array, place)])
        return found

    def predict(self, image: NDArray[Any], spacing: Sequence[float] | None = None) -> NDArray[np.unsignedinteger[Any]]:
        """Labels of an image: (*S) class numbers as in `task.classes`, or (K, *S) of 0 and 1 for mode multilabel.

        Args and errors are those of `probabilities`. Of a classification the class number, or one for each slice.
        """
        return labels_of(self.probabilities(image, spacing), self.task)

    def _checked(self, image: NDArray[Any]) -> NDArray[Any]:
        """(C, *S)."""
        axes = {self.task.dims, 3} if max(network.dims for network in self.networks) == 2 else {self.task.dims}
        if self.task.channels == 1 and image.ndim == self.task.dims:
            image = image[None]
        if image.ndim - 1 not in axes or image.shape[0] != self.task.channels:
            raise UsageError(
                f"An image of shape {image.shape} does not fit: the model takes {self.task.channels} channel(s), which come "
                f"first, then {' or '.join(str(number) for number in sorted(axes))} axes.",
                self._way_out(image.shape, axes),
            )
        return image

    def _way_out(self, shape: tuple[int, ...], axes: set[int]) -> str:
        """What to type where an array's shape lets guess what it is."""
        channels = self.task.channels
        if channels == 3 and self.task.dims == 2 and (len(shape) == 2 or (len(shape) == 3 and shape[0] == 1)):
            return "Gray: np.broadcast_to(image, (3, H, W)) gives it as three equal channels."
        if len(shape) - 1 in axes and shape[-1] == channels:
            return "Channels last: np.moveaxis(image, -1, 0) puts them first."
        if channels == 1 and self.task.dims == 2 and len(shape) == 3:
            return "Make colours gray; image[None] says that it is a stack of slices (H, W, slices)."
        return ""
