"""The floors of the house, drawn from its imports: `python -m tests.docs.floors`.

A room is a folder of modules. It stands one floor above the highest room that it imports.
"""

from __future__ import annotations

from collections import defaultdict
from functools import cache

import grimp

from tests import ROOT

PACKAGES = ("hookline", "flows", "tasks")
WIDTH = 102
DRAWN_AS = {"tasks/adapters/models": "tasks/adapters/models", "tasks/core/records": "tasks/core"}
"""Rooms that are drawn together with those inside, or as a part of the one around."""


def room_of(module: str) -> str:
    """The folder a module lies in; a package's own `__init__` belongs to it.

    >>> room_of("tasks.core.scoring.windows"), room_of("tasks.core.errors"), room_of("tasks.deep")
    ('tasks/core/scoring', 'tasks/core', 'tasks')
    """
    path = ROOT / module.replace(".", "/")
    folder = path if path.is_dir() else path.parent
    room = folder.relative_to(ROOT).as_posix()
    return next((drawn for inside, drawn in DRAWN_AS.items() if room.startswith(inside)), room)


def imports_of_rooms() -> dict[str, set[str]]:
    """For each room the other rooms it imports."""
    graph = grimp.build_graph(*PACKAGES)
    found: defaultdict[str, set[str]] = defaultdict(set)
    for module in graph.modules:
        room = room_of(module)
        found[room] |= {room_of(each) for each in graph.find_modules_directly_imported_by(module)} - {room}
    return {room: rooms for room, rooms in found.items() if any((ROOT / room).glob("[!_]*.py"))}


def floors(rooms: dict[str, set[str]]) -> list[list[str]]:
    """The rooms of each floor, the ground floor first.

    Raises:
        RecursionError: two rooms stand on each other.
    """

    @cache
    def floor(room: str) -> int:
        return 1 + max(map(floor, rooms[room]), default=-1)

    found: defaultdict[int, list[str]] = defaultdict(list)
    for room in sorted(rooms):
        found[floor(room)].append(room)
    return [found[number] for number in sorted(found)]


def drawn() -> str:
    """The house as text, its top floor first."""
    lines, above = [], frozenset[int]()
    for row in reversed(floors(imports_of_rooms())):
        walls = frozenset(WIDTH * number // len(row) for number in range(len(row) + 1))
        lines.append(ceiling(above, walls))
        columns = sorted(walls)
        cells = (f" {room}/".ljust(columns[i + 1] - columns[i] - 1) for i, room in enumerate(row))
        lines.append("│" + "│".join(cells) + "│")
        above = walls
    return "\n".join([*lines, ceiling(above, frozenset())])


def ceiling(above: frozenset[int], below: frozenset[int]) -> str:
    """The line between two floors, with the walls of both standing on it.

    >>> ceiling(frozenset(), frozenset({0, 98}))[:4], ceiling(frozenset({0, 2, 98}), frozenset({0, 98}))[:4]
    ('┌───', '├─┴─')
    """
    joints = {(False, True): "┬", (True, False): "┴", (True, True): "┼"}
    line = [joints.get((place in above, place in below), "─") for place in range(WIDTH + 1)]
    line[0], line[-1] = "┌┐" if not above else "└┘" if not below else "├┤"
    return "".join(line)


if __name__ == "__main__":
    print(drawn())
