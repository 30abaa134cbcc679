"""The replay of groups, in which an event `group.moved` stands for a whole subtree.

Each other group of its Space whose path begins with the old path and a dot has the new path in its stead from then on, and
the revision and time of the move; it has no event of its own. So where a group stands is told by following all events in
order. PostgreSQL compares what no move changes; only the place of each group is kept here, in some 700 bytes. So memory grows
with groups, not with events, and a move costs its subtree, not the Space.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
import psycopg
from psycopg.rows import class_row

from shared.db import load_queries

_QUERIES: Final = load_queries(Path(__file__).with_name("group_replay.sql"))
_MOVED: Final = "group.moved"
_ROWS_A_FETCH: Final = 2_000

# Path, revision and updated_at as texts, as PostgreSQL writes them for this session: what a move changes in rows below it.
Place = tuple[str | None, str | None, str | None]
_NOWHERE: Final[Place] = (None, None, None)


class GroupEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One event of a group; `follows` says whether all but the place begins as the event before left it."""

    entity_id: str
    follows: bool
    kind: str
    place_after: list[str | None]
    place_before: list[str | None]
    revision: int
    space_id: str | None


class Standing(NamedTuple):
    """Where a group stands, and whether a move of another group brought it there."""

    space_id: str
    place: Place
    is_carried: bool


class _Node:
    """A key of a path: the groups that stand right there, and the keys below."""

    __slots__ = ("below", "ids")

    def __init__(self) -> None:
        self.below: dict[str, _Node] = {}
        # Nearly always one; two while an honest transaction is under way, more only in a history that lies.
        self.ids: tuple[str, ...] = ()


class GroupTree:
    """All groups as the events so far left them, and by their paths."""

    def __init__(self) -> None:
        self.standing: dict[str, Standing] = {}
        self._root = _Node()

    def place_of(self, group_id: str) -> Place:
        """Return where a group stands; all None when no event has made it."""
        known = self.standing.get(group_id)
        return _NOWHERE if known is None else known.place

    def apply(self, event: GroupEvent) -> None:
        """Follow one event; they come in order of their revisions."""
        space_id, (path, revision, updated_at) = event.space_id or "", event.place_after
        begun = event.place_before[0]
        if event.kind == _MOVED and begun is not None:
            # All are found before the first is put elsewhere: the new place may lie among the old ones.
            for group_id in self._below(space_id, begun):
                old = self.standing[group_id].place[0]
                if old is not None:
                    carried = (path or "") + old[len(begun) :]
                    self._stand(group_id, Standing(space_id, (carried, revision, updated_at), is_carried=True))
        self._stand(event.entity_id, Standing(space_id, (path, revision, updated_at), is_carried=False))

    def _stand(self, group_id: str, standing: Standing) -> None:
        known = self.standing.get(group_id)
        if known is not None:
            self._leave(group_id, known)
        self.standing[group_id] = standing
        node = self._root
        for key in _keys(standing.space_id, standing.place[0]):
            node = node.below.setdefault(key, _Node())
        node.ids += (group_id,)

    def _leave(self, group_id: str, standing: Standing) -> None:
        node, trail = self._root, []
        for key in _keys(standing.space_id, standing.place[0]):
            trail.append((node, key))
            node = node.below[key]
        node.ids = tuple(other for other in node.ids if other != group_id)
        # Nothing is left of a path that nobody stands on or below, else memory would grow with the moves.
        for above, key in reversed(trail):
            if above.below[key].ids or above.below[key].below:
                break
            del above.below[key]

    def _below(self, space_id: str, path: str) -> list[str]:
        node: _Node | None = self._root
        for key in _keys(space_id, path):
            node = node.below.get(key) if node is not None else None
        found: list[str] = []
        nodes = [] if node is None else list(node.below.values())
        while nodes:
            node = nodes.pop()
            found.extend(node.ids)
            nodes.extend(node.below.values())
        return found


def replay_groups(connection: psycopg.Connection[Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the first event that doesn't follow and the first row that differs; each is empty when there is none.

    The connection gives rows as dicts and stays in one snapshot.
    """
    tree = GroupTree()
    broken: dict[str, Any] = {}
    total = 0
    for event in _events(connection):
        place = tree.place_of(event.entity_id)
        if not event.follows or tuple(event.place_before) != place:
            total += 1
            broken = broken or _broken(connection, event, place)
        tree.apply(event)
    carried = [(group_id, *row.place) for group_id, row in tree.standing.items() if row.is_carried]
    different = connection.execute(
        _QUERIES["find_group_difference"],
        {name: [row[n] for row in carried] for n, name in enumerate(("ids", "paths", "revisions", "times"))},
    ).fetchone()
    return broken and broken | {"total": total}, different or {}


def _events(connection: psycopg.Connection[Any]) -> Iterator[GroupEvent]:
    with connection.cursor("group_events", row_factory=class_row(GroupEvent)) as cursor:
        cursor.itersize = _ROWS_A_FETCH
        yield from cursor.execute(_QUERIES["stream_group_events"])


def _broken(connection: psycopg.Connection[Any], event: GroupEvent, place: Place) -> dict[str, Any]:
    """Return an event with the row that it begins with and the one that was there."""
    found: dict[str, Any] | None = connection.execute(
        _QUERIES["read_group_event"], {"revision": event.revision}
    ).fetchone()
    assert found is not None  # the same snapshot has just shown it
    before, was = found["before"], found["was"]
    if was is not None:
        path, revision, updated_at = place
        was |= {"path": path, "revision": None if revision is None else int(revision), "updated_at": updated_at}
    return {
        "before": before,
        "entity_id": event.entity_id,
        "kind": event.kind,
        "revision": event.revision,
        "was": was,
    }


def _keys(space_id: str, path: str | None) -> list[str]:
    return [space_id, *(path or "").split(".")]
