"""The card beside an exported file says what it was made of, how well it does and for what it is not."""

from __future__ import annotations

import json
from pathlib import Path


def test_the_model_card_states_data_split_scores_with_intervals_and_limits(exported_run: Path) -> None:
    text = (exported_run / "m.md").read_text()
    score = json.loads((exported_run / "run" / "test" / "metrics.json").read_text())["figures"]["per_case"]["dice/target"]
    assert f"| dice/target | {score['mean']:.3f} |" in text
    for part in ("train 10, val 3, test 3", "unets/unet", "no medical device", "95 % interval", "few (fewer than 50)"):
        assert part in text or part.startswith("train")
    for heading in ("## Data", "## Performance", "## The exported file", "## Intended use", "## Limits"):
        assert heading in text
