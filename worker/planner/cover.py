"""The fewest stars that hold every relation of one bipartite graph, with the proof that fewer is impossible.

König (1931): as few records touch every relation as a maximum matching has pairs. Leaves are peeled first,
which settles everything tree-like; what is left gets Hopcroft–Karp. Our own: 1,000 relations take about 1 ms,
stars and all, and a library would bring the matching alone (docs/decisions/0003-the-cover-is-our-own.md).
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import msgspec

from worker.contract import Side

_Core = dict[int, list[int]]
"""What is left after peeling: parent → children; every record in it has two neighbours or more."""

_UNPAIRED = -1
"""The mate of a record that is in no pair."""


class Star(msgspec.Struct, frozen=True, gc=False):
    """One record and the records of the other side that are related to it; never empty, `leaves` sorted."""

    side: Side
    center: int
    leaves: tuple[int, ...]


class Cover(NamedTuple):
    """A partition of the edges into stars, parents' stars first, by center.

    `matching` counts pairs of which no two share a record, so no cover has fewer stars: `len(stars) ==
    matching` is the certificate.
    """

    stars: tuple[Star, ...]
    matching: int


class _Graph(NamedTuple):
    """Records numbered by their ids, parents before children, with the sorted neighbours of each."""

    parents: list[int]
    children: list[int]
    neighbours: list[list[int]]


def cover(edges: Iterable[tuple[int, int]]) -> Cover:
    """Cover each (parent id, child id) exactly once with the fewest stars; order does not matter."""
    unique = set(edges)
    parents, children = sorted({parent for parent, _ in unique}), sorted({child for _, child in unique})
    if len(parents) == 1:
        return Cover((Star("parent", parents[0], tuple(children)),), 1)
    if len(children) == 1:
        return Cover((Star("child", children[0], tuple(parents)),), 1)
    if len(parents) == len(children) == len(unique):  # nobody shares a record
        return Cover(
            tuple([Star("parent", parent, (child,)) for parent, child in sorted(unique)]), len(unique)
        )
    graph = _build_graph(unique, parents, children)
    centers, matching = _find_centers(graph)
    return Cover(tuple(_stars(graph, centers)), matching)


def _build_graph(unique: set[tuple[int, int]], parents: list[int], children: list[int]) -> _Graph:
    parent_number = {parent: number for number, parent in enumerate(parents)}
    child_number = {child: number for number, child in enumerate(children, len(parents))}
    neighbours: list[list[int]] = [[] for _ in range(len(parents) + len(children))]
    for parent, child in unique:
        neighbours[parent_number[parent]].append(child_number[child])
    for number in range(len(parents)):
        neighbours[number].sort()
        for neighbour in neighbours[number]:
            neighbours[neighbour].append(number)
    return _Graph(parents, children, neighbours)


def _find_centers(graph: _Graph) -> tuple[set[int], int]:
    """Return a minimum vertex cover, and the size of a maximum matching, each counted on its own."""
    neighbours = graph.neighbours
    degree = [len(beside) for beside in neighbours]
    leaves = [v for v, d in enumerate(degree) if d == 1]
    centers = {center for _, center in _peel(leaves, neighbours, degree)}
    core = {v: [w for w in neighbours[v] if degree[w]] for v in range(len(graph.parents)) if degree[v]}
    matching = len(centers)
    if core:
        mates = _maximum_matching(core, neighbours, degree)
        matching += sum(mates[parent] != _UNPAIRED for parent in core)
        centers |= _minimum_cover(core, mates)
    return centers, matching


def _peel(leaves: list[int], neighbours: list[list[int]], degree: list[int]) -> Iterator[tuple[int, int]]:
    """Pair every record that has one neighbour left with it, and remove both, until there is none.

    These pairs are part of some maximum matching. The last leaf goes first, so a pair without other
    neighbours gets its parent as the center.
    """
    while leaves:
        leaf = leaves.pop()
        if degree[leaf] == 1:
            center = next(v for v in neighbours[leaf] if degree[v])
            yield leaf, center
            _remove(center, neighbours, degree, leaves)


def _remove(record: int, neighbours: list[list[int]], degree: list[int], leaves: list[int]) -> None:
    """Remove a record, and add new leaves to `leaves`; a removed or lonely record has degree 0."""
    degree[record] = 0
    for v in neighbours[record]:
        if degree[v]:
            degree[v] -= 1
            if degree[v] == 1:
                leaves.append(v)


def _maximum_matching(core: _Core, neighbours: list[list[int]], degree: list[int]) -> list[int]:
    """Return everyone's mate by Hopcroft–Karp, from a greedy start that is nearly always complete already."""
    mates = [_UNPAIRED] * len(neighbours)
    for pair in _greedy_pairs(core, neighbours, degree):
        _pair(*pair, mates)
    while (depth := _layers(core, mates)).get(_UNPAIRED):
        untried = {parent: iter(core.get(parent, ())) for parent in depth}
        for root in [parent for parent, layer in depth.items() if not layer]:
            _augment(root, mates, depth, untried)
    return mates


def _greedy_pairs(core: _Core, neighbours: list[list[int]], degree: list[int]) -> Iterator[tuple[int, int]]:
    """Yield pairs of a large matching.

    Leaves while there are any, else the rarest neighbour of the next parent, rarest parents first.
    """
    for parent in sorted(core, key=degree.__getitem__):
        if degree[parent]:
            child = min((v for v in neighbours[parent] if degree[v]), key=degree.__getitem__)
            yield parent, child
            leaves: list[int] = []
            _remove(parent, neighbours, degree, leaves)
            _remove(child, neighbours, degree, leaves)
            yield from _peel(leaves, neighbours, degree)


def _layers(core: _Core, mates: list[int]) -> dict[int, int]:
    """Return how far every parent is from an unpaired one along alternating paths.

    `_UNPAIRED` is in it if an unpaired child can be reached.
    """
    depth = {parent: 0 for parent in core if mates[parent] == _UNPAIRED}
    frontier, layer = set(depth), 0
    while frontier and _UNPAIRED not in frontier:
        layer += 1
        frontier = {mates[child] for parent in frontier for child in core[parent]} - depth.keys()
        depth.update(dict.fromkeys({_UNPAIRED} & frontier or frontier, layer))
    return depth


def _augment(root: int, mates: list[int], depth: dict[int, int], untried: dict[int, Iterator[int]]) -> None:
    """Turn over a shortest alternating path from an unpaired parent to an unpaired child, if there is one."""
    path, children = [root], list[int]()
    while path:
        child = next((v for v in untried[path[-1]] if depth.get(mates[v]) == len(path)), _UNPAIRED)
        if child == _UNPAIRED:
            path.pop()
            del children[-1:]
            continue
        children.append(child)
        if mates[child] == _UNPAIRED:
            break
        path.append(mates[child])
    for pair in zip(path, children, strict=True):
        _pair(*pair, mates)


def _pair(one: int, other: int, mates: list[int]) -> None:
    mates[one], mates[other] = other, one


def _minimum_cover(core: _Core, mates: list[int]) -> set[int]:
    """Return the minimum cover after König.

    It has the children that alternating paths from unpaired parents reach, and the parents that they do not.
    """
    reached = _layers(core, mates)
    return {child for parent in reached for child in core[parent]} | (core.keys() - reached.keys())


def _stars(graph: _Graph, centers: set[int]) -> Iterator[Star]:
    """Deal the edges out to the centers; one between two goes to the smaller star, so that fewer are cut.

    None is empty: every center is paired with a record that is none.
    """
    neighbours, ids, parents = graph.neighbours, graph.parents + graph.children, len(graph.parents)
    order = sorted(centers)
    leaves = {center: [v for v in neighbours[center] if v not in centers] for center in order}
    for one, other in [(v, w) for v in order if v < parents for w in neighbours[v] if w in centers]:
        center, leaf = (one, other) if len(leaves[one]) <= len(leaves[other]) else (other, one)
        leaves[center].append(leaf)
    for center in order:
        side: Side = "parent" if center < parents else "child"
        yield Star(side, ids[center], tuple([ids[leaf] for leaf in sorted(leaves[center])]))
