"""How fast the planner is: `python -m ops.bench.planner` prints stars and plans, 10 to 200,000 relations of several shapes.

Matching libraries stand beside our own cover where they happen to be installed; none is a dependency. Equal seeds, equal graphs.
"""

from collections.abc import Callable, Iterator
from functools import partial
from importlib import import_module
from itertools import accumulate
from random import Random
from time import perf_counter
from typing import Any, TypeVar

import click

from worker.contract import Order, Relation
from worker.planner.cover import cover
from worker.planner.plan import Limits, plan
from worker.planner.values import Kind, Operation

Edges = list[tuple[int, int]]
Shape = Callable[[int, Random], Edges]
Rival = Callable[[Edges], int]
Result = TypeVar("Result")

SIZES = (10, 100, 1_000, 10_000, 200_000)
SLOW = 20_000  # relations from which on only our own is measured: a rival may take minutes for a grid
ORDERS: tuple[Order, ...] = ("free", "create_first")
KINDS: tuple[Kind, ...] = ("create", "create", "create", "create", "delete", "modify")


def stars(size: int, random: Random) -> Edges:
    """What producers send: one record with some others, either way round."""
    edges: Edges = []
    while len(edges) < size:
        center, first = random.randrange(10**6), len(edges)
        leaves = range(10**6 + first, 10**6 + min(size, first + random.choice((1, 1, 2, 3, 12, 50))))
        edges += [(center, leaf) for leaf in leaves] if random.random() < 0.5 else [(leaf, center) for leaf in leaves]
    return edges


def hubs(size: int, random: Random) -> Edges:
    """A few records that nearly everybody is related to."""
    ids = range(max(2, size // 4))
    weights = list(accumulate(1 / (each + 1) ** 0.9 for each in ids))
    return list(zip(random.choices(ids, cum_weights=weights, k=size), random.choices(ids, cum_weights=weights, k=size), strict=True))


def sparse(size: int, random: Random) -> Edges:
    """Anybody with anybody, three relations per record."""
    records = max(2, size // 3)
    return [(random.randrange(records), random.randrange(records)) for _ in range(size)]


def blocks(size: int, _: Random) -> Edges:
    """Everyone with everyone, in groups of 20 and 15."""
    edges = [(20 * block + one, 15 * block + other) for block in range(size // 300 + 1) for one in range(20) for other in range(15)]
    return edges[:size]


def path(size: int, random: Random) -> Edges:
    """One long chain, its ids shuffled."""
    parents, children = _shuffled(size, random), _shuffled(size, random)
    return [(parents[step // 2], children[(step + 1) // 2]) for step in range(size)]


def grid(size: int, random: Random) -> Edges:
    """A chess board, its ids shuffled: long alternating paths, hard for whoever augments one at a time."""
    side = max(2, round((size / 2) ** 0.5))
    ids = _shuffled(side * side, random)
    steps = [(cell, cell + step) for cell in range(side * side) for step in (1, side) if (cell + 1) % side or step == side]
    inside = [(one, other) for one, other in steps if other < side * side]
    return [(ids[one], ids[other]) if sum(divmod(one, side)) % 2 else (ids[other], ids[one]) for one, other in inside]


def _shuffled(size: int, random: Random) -> list[int]:
    return random.sample(range(size), size)


SHAPES: tuple[Shape, ...] = (stars, hubs, sparse, blocks, path, grid)


def _networkx(networkx: Any) -> Rival:
    def matching(edges: Edges) -> int:
        graph = networkx.Graph([(parent, -1 - child) for parent, child in edges])
        return len(networkx.bipartite.hopcroft_karp_matching(graph, {parent for parent, _ in edges})) // 2

    return matching


def _scipy(csgraph: Any) -> Rival:
    sparse_matrix = import_module("scipy.sparse").csr_array

    def matching(edges: Edges) -> int:
        rows, columns = _numbered(edges)
        matrix = sparse_matrix(([1] * len(rows), (rows, columns)), shape=(max(rows) + 1, max(columns) + 1))
        return int((csgraph.maximum_bipartite_matching(matrix, perm_type="column") >= 0).sum())

    return matching


def _igraph(igraph: Any) -> Rival:
    def matching(edges: Edges) -> int:
        rows, columns = _numbered(edges)
        parents, children = max(rows) + 1, max(columns) + 1
        graph = igraph.Graph(n=parents + children, edges=[(row, parents + column) for row, column in zip(rows, columns, strict=True)])
        return len(graph.maximum_bipartite_matching(types=[False] * parents + [True] * children))

    return matching


def _numbered(edges: Edges) -> tuple[list[int], list[int]]:
    """The distinct edges as row and column numbers without gaps."""
    unique = set(edges)
    row = {parent: number for number, parent in enumerate({parent for parent, _ in unique})}
    column = {child: number for number, child in enumerate({child for _, child in unique})}
    return [row[parent] for parent, _ in unique], [column[child] for _, child in unique]


RIVALS = (("networkx", _networkx), ("scipy.sparse.csgraph", _scipy), ("igraph", _igraph))


def main() -> None:
    """Print both tables."""
    for line in [*covers(), "", *plans()]:
        click.echo(line)


def covers() -> Iterator[str]:
    """Stars of every shape and size, beside the matching alone of those libraries that are there, each with its seconds to import."""
    rivals, imports = _rivals()
    yield "".join([f"{'cover':8}{'relations':>10}{'stars':>9}{'ours, ms':>11}", *(f"{name:>22}" for name in rivals)])
    for size in SIZES:
        for shape in SHAPES:
            yield _measured(shape, size, rivals)
    for name, seconds in imports.items():
        yield f"import {name}: {1000 * seconds:.0f} ms"


def _measured(shape: Shape, size: int, rivals: dict[str, Rival]) -> str:
    edges = shape(size, Random(size))
    seconds, covered = _best(partial(cover, edges))
    line = f"{shape.__name__:8}{len(set(edges)):10,}{len(covered.stars):9,}{1000 * seconds:11.2f}"
    for name, rival in rivals.items() if size < SLOW else ():
        seconds, matching = _best(partial(rival, edges))
        line += f"{1000 * seconds:22.2f}" if matching == covered.matching else f"{name} says {matching}!"
    return line


def _rivals() -> tuple[dict[str, Rival], dict[str, float]]:
    """The libraries that can be imported, and the seconds that takes."""
    found, seconds = dict[str, Rival](), dict[str, float]()
    for name, rival in RIVALS:
        started = perf_counter()
        try:
            module = import_module(name)
        except ImportError:
            continue
        found[name], seconds[name] = rival(module), perf_counter() - started
    return found, seconds


def plans() -> Iterator[str]:
    """Whole plans of mixed operations: free and ordered types, a hundred ids per action, fifty actions per request."""
    yield f"{'plan':12}{'operations':>11}{'actions':>9}{'least':>9}{'requests':>10}{'ms':>10}"
    for size in (*SIZES[:-1], 100_000):
        operations = _operations(size, Random(size))
        for order in ORDERS:
            seconds, made = _best(
                partial(plan, operations, Limits(max_ids=100, max_actions=50), {shape.__name__: order for shape in SHAPES}.__getitem__)
            )
            figures = f"{len(operations):11,}{made.actions:9,}{made.least:9,}{len(made.requests):10,}{1000 * seconds:10.2f}"
            yield f"{order:12}{figures}"


def _operations(size: int, random: Random) -> list[Operation]:
    relations = [Relation(shape.__name__, *edge) for shape in (stars, hubs, sparse) for edge in set(shape(size // 3 + 1, random))]
    return [Operation(random.choice(KINDS), relation) for relation in relations[:size]]


def _best(work: Callable[[], Result]) -> tuple[float, Result]:
    """The shortest of several runs, so that a busy machine disturbs little; long ones run once."""
    times: list[float] = []
    while len(times) < 5 and sum(times) < 0.2:
        started = perf_counter()
        result = work()
        times.append(perf_counter() - started)
    return min(times), result


if __name__ == "__main__":
    main()
