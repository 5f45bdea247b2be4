"""The arms of quality.py. Each is a program of its own, `python -m arms.ARM JOB.json`, so that its time holds everything
from the start of Python to the last weights, and none leaves threads or memory to the next."""
