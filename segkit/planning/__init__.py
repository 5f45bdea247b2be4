"""Before a training: what was left open is decided from the data and from this machine, and checked as a whole."""

from segkit.planning.configure import configure, plan_training

__all__ = ["configure", "plan_training"]
