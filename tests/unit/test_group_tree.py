"""Following moves of subtrees through an index of paths is the same as looking at every group, whatever is moved."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from shared.ctl.group_replay import GroupEvent, GroupTree

SPACES = st.sampled_from(["s1", "s2"])
# Few keys, and such as begin alike, so that subtrees meet and prefixes mislead.
PATHS = st.lists(st.sampled_from(["a", "aa", "b"]), min_size=1, max_size=4).map(".".join)
STEPS = st.lists(
    st.tuples(st.sampled_from(["group.created", "group.moved", "group.changed"]), st.integers(0, 7), SPACES, PATHS),
    max_size=40,
)


def events_of(steps):
    """Events of any kind, each beginning where brute force says that its group stands; and what brute force says then."""
    standing: dict[str, tuple[str, list[str | None]]] = {}
    for revision, (kind, number, space, path) in enumerate(steps, 1):
        group_id = f"{space}-{number}"
        _, before = standing.get(group_id, (space, [None, None, None]))
        after = [path, str(revision), f"at {revision}"]
        if kind == "group.moved" and before[0] is not None:
            for other, (its_space, (its_path, *_)) in standing.items():
                if its_space == space and other != group_id and its_path.startswith(before[0] + "."):
                    standing[other] = (space, [path + its_path[len(before[0]) :], *after[1:]])
        standing[group_id] = (space, after)
        yield (
            GroupEvent(
                entity_id=group_id,
                follows=True,
                kind=kind,
                place_after=after,
                place_before=before,
                revision=revision,
                space_id=space,
            ),
            dict(standing),
        )


@given(STEPS)
def test_every_group_stands_where_brute_force_puts_it(steps):
    tree = GroupTree()
    for event, standing in events_of(steps):
        assert list(tree.place_of(event.entity_id)) == event.place_before
        tree.apply(event)
        assert {i: (row.space_id, list(row.place)) for i, row in tree.standing.items()} == standing


@given(STEPS)
def test_nothing_is_kept_of_paths_that_no_group_stands_on_or_below(steps):
    tree, fresh = GroupTree(), GroupTree()
    for event, _ in events_of(steps):
        tree.apply(event)
    for group_id, row in tree.standing.items():
        fresh.apply(
            GroupEvent(
                entity_id=group_id,
                follows=True,
                kind="group.created",
                place_after=list(row.place),
                place_before=[None, None, None],
                revision=1,
                space_id=row.space_id,
            )
        )
    assert shape_of(tree._root) == shape_of(fresh._root)


def shape_of(node):
    return (sorted(node.ids), {key: shape_of(below) for key, below in node.below.items()})
