"""Peak memory of one training step of unet3d at 128 x 128 x 128, batch 1, float32: plain and with checkpointing.

Each in a process of its own: the largest resident size during the step, less the size before it, beside what
`segkit models unet3d --size 128` counts.
"""

from __future__ import annotations

import subprocess
import sys

STEP = """
import os, resource, sys, time, torch
from segkit import plugins
from segkit.models import cost
from segkit.models.build import build_model
from segkit.models.activation_checkpointing import checkpoint_blocks
checkpointed = sys.argv[1] == "checkpointed"
choice = cost.choose(plugins.load().find("models", "unet3d"), [])
task = cost.task_for(choice, 3, 4)
model = build_model(choice, task, 3).train()
if checkpointed:
    checkpoint_blocks(model)
loss = plugins.load().find("losses", "dice-focal").spec
criterion = loss.load()(task, loss.options())
optimizer = torch.optim.Adam(model.parameters())
images, masks = torch.rand(1, 3, 128, 128, 128), torch.randint(0, 4, (1, 128, 128, 128))
before = int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
started = time.perf_counter()
criterion(model(images), masks).backward()
optimizer.step()
seconds = time.perf_counter() - started
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
counted = cost.count_activations(choice, task, (128,) * 3, training=True, checkpointed=checkpointed)
print(peak / 1e9, (peak - before) / 1e9, counted / 1e9, seconds)
"""


def measure(kind: str) -> list[float]:
    done = subprocess.run([sys.executable, "-c", STEP, kind], capture_output=True, text=True, check=True)
    return [float(word) for word in done.stdout.split()]


def main() -> None:
    figures = {kind: measure(kind) for kind in ("plain", "checkpointed")}
    for kind, (process, step, counted, seconds) in figures.items():
        print(
            f"{kind:>13}: process {process:.2f} GB, step {step:.2f} GB (network counted {counted:.2f} GB), {seconds:.1f} s"
        )
    print(f"checkpointed / plain: {figures['checkpointed'][1] / figures['plain'][1]:.2f} of the step's memory")


if __name__ == "__main__":
    main()
