"""What plugin authors may import, name by name: a name that goes, or comes unnoticed, fails here."""

from __future__ import annotations

import pytest

from segkit import api, testing

API = """
Case CaseResult Dataset DatasetSpec DeeplySupervised Exportable FitsImages Frame HasDoubts HasEncoder HasFreeze HasSize
HasSmallerForm LossSpec Metric MetricSpec ModelSpec NoOptions Pairs PretrainedEncoder RecipeSpec Sample SegkitError Task
UsageError build_loss count_confusion find_folder frame_of hookimpl is_volume list_files list_folders list_images
match_frames missing_data natural_order option pair_files read_image read_label_volume read_mask read_volume volume_stem
write_image
""".split()
TESTING = "DatasetContract LossContract MetricContract ModelContract sandbox".split()


@pytest.mark.parametrize(("module", "names"), [(api, API), (testing, TESTING)], ids=["segkit.api", "segkit.testing"])
def test_the_public_names_are_these(module, names: list[str]) -> None:  # type: ignore[no-untyped-def]
    assert module.__all__ == names
    for name in names:
        value = getattr(module, name)
        assert callable(value) and value.__doc__, f"{name} is not documented"


def test_another_name_is_no_attribute() -> None:
    for module in (api, testing):
        with pytest.raises(AttributeError, match="nothing_like_it"):
            module.nothing_like_it  # noqa: B018
