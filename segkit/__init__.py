"""segkit: medical image segmentation from the command line. Plugin authors import `segkit.api`."""

__version__ = "0.1.0"
