"""An instance number is never shared."""

from __future__ import annotations

import pytest

from topologies.runtime.instance import InstanceError, claim_instance


def test_workers_take_the_first_free_number(tmp_path):
    with claim_instance(tmp_path, None) as first, claim_instance(tmp_path, None) as second:
        assert (first.number, second.number) == (0, 1)
        assert first.folder != second.folder
        assert first.transactional_id("g") != second.transactional_id("g")
    with claim_instance(tmp_path, None) as again:
        assert again.number == 0


def test_a_number_that_is_taken_is_an_error(tmp_path):
    with (
        claim_instance(tmp_path, 3),
        pytest.raises(InstanceError, match="TICKHOUSE_INSTANCE"),
        claim_instance(tmp_path, 3),
    ):
        pass
