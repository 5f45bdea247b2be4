"""Random changes of a training batch, on its own device, in 2D and 3D alike."""
