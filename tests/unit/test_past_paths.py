"""A group's path of the past is told from its own key and those of the groups above it."""

from __future__ import annotations

import pytest

from services.authz.past import Ancestor, path_of
from shared.problems import Problem

ABOVE = {
    "root": Ancestor("finance", None),
    "middle": Ancestor("apac", "root"),
    "leaf": Ancestor("tokyo", "middle"),
    "other": Ancestor("legal", None),
}


def test_a_path_is_the_keys_from_the_root_down():
    assert [path_of(id_, ABOVE) for id_ in ABOVE] == ["finance", "finance.apac", "finance.apac.tokyo", "legal"]


@pytest.mark.parametrize(
    "changed",
    [{"root": Ancestor("finance", "leaf")}, {"root": Ancestor("finance", "gone")}, {"leaf": Ancestor("a", "leaf")}],
)
def test_parents_that_lead_to_no_root_give_no_path_instead_of_one_made_up(changed):
    with pytest.raises(Problem, match="no root above group leaf"):
        path_of("leaf", ABOVE | changed)
