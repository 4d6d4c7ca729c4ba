"""How fast the planner is: `python -m ops.bench.planner [--json]` measures covers and plans of 10 to 200,000
relations of several shapes.

Matching libraries stand beside our own cover where they happen to be installed; none is a dependency. Equal
seeds, equal graphs; times are CPU time, so that a busy machine disturbs little.
"""

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from importlib import import_module
from itertools import accumulate
from random import Random
from time import process_time
from typing import Any, Final, NamedTuple, TypeVar

import msgspec

from worker.contract import Order, Relation
from worker.planner.actions import Kind, Operation
from worker.planner.cover import cover
from worker.planner.plan import Limits, plan

Edges = list[tuple[int, int]]
Shape = Callable[[int, Random], Edges]
Peer = Callable[[Edges], int]
Result = TypeVar("Result")

SIZES = (10, 100, 1_000, 10_000, 200_000)
SLOW = 20_000  # relations from which on only our own is measured: a peer may take minutes for a grid
ORDERS: tuple[Order, ...] = ("free", "create_first")
KINDS: tuple[Kind, ...] = ("create", "create", "create", "create", "delete", "modify")


def stars(size: int, random: Random) -> Edges:
    """Draw what producers send: one record with some others, either way round."""
    edges: Edges = []
    while len(edges) < size:
        center, first = random.randrange(10**6), len(edges)
        leaves = range(10**6 + first, 10**6 + min(size, first + random.choice((1, 1, 2, 3, 12, 50))))
        edges += (
            [(center, leaf) for leaf in leaves]
            if random.random() < 0.5
            else [(leaf, center) for leaf in leaves]
        )
    return edges


def hubs(size: int, random: Random) -> Edges:
    """Draw a few records that nearly everybody is related to."""
    ids = range(max(2, size // 4))
    weights = list(accumulate(1 / (each + 1) ** 0.9 for each in ids))
    return list(
        zip(
            random.choices(ids, cum_weights=weights, k=size),
            random.choices(ids, cum_weights=weights, k=size),
            strict=True,
        )
    )


def sparse(size: int, random: Random) -> Edges:
    """Anybody with anybody, three relations per record."""
    records = max(2, size // 3)
    return [(random.randrange(records), random.randrange(records)) for _ in range(size)]


def blocks(size: int, _: Random) -> Edges:
    """Everyone with everyone, in groups of 20 and 15."""
    edges = [
        (20 * block + one, 15 * block + other)
        for block in range(size // 300 + 1)
        for one in range(20)
        for other in range(15)
    ]
    return edges[:size]


def path(size: int, random: Random) -> Edges:
    """One long chain, its ids shuffled."""
    parents, children = _shuffled(size, random), _shuffled(size, random)
    return [(parents[step // 2], children[(step + 1) // 2]) for step in range(size)]


def grid(size: int, random: Random) -> Edges:
    """Draw a chess board, its ids shuffled: long alternating paths, hard for augmenting one at a time."""
    side = max(2, round((size / 2) ** 0.5))
    ids = _shuffled(side * side, random)
    steps = [
        (cell, cell + step)
        for cell in range(side * side)
        for step in (1, side)
        if (cell + 1) % side or step == side
    ]
    inside = [(one, other) for one, other in steps if other < side * side]
    return [
        (ids[one], ids[other]) if sum(divmod(one, side)) % 2 else (ids[other], ids[one])
        for one, other in inside
    ]


def _shuffled(size: int, random: Random) -> list[int]:
    return random.sample(range(size), size)


SHAPES: tuple[Shape, ...] = (stars, hubs, sparse, blocks, path, grid)


def _networkx(networkx: Any) -> Peer:
    def matching(edges: Edges) -> int:
        graph = networkx.Graph([(parent, -1 - child) for parent, child in edges])
        return len(networkx.bipartite.hopcroft_karp_matching(graph, {parent for parent, _ in edges})) // 2

    return matching


def _scipy(csgraph: Any) -> Peer:
    sparse_matrix = import_module("scipy.sparse").csr_array

    def matching(edges: Edges) -> int:
        rows, columns = _numbered(edges)
        matrix = sparse_matrix(([1] * len(rows), (rows, columns)), shape=(max(rows) + 1, max(columns) + 1))
        return int((csgraph.maximum_bipartite_matching(matrix, perm_type="column") >= 0).sum())

    return matching


def _igraph(igraph: Any) -> Peer:
    def matching(edges: Edges) -> int:
        rows, columns = _numbered(edges)
        parents, children = max(rows) + 1, max(columns) + 1
        graph = igraph.Graph(
            n=parents + children,
            edges=[(row, parents + column) for row, column in zip(rows, columns, strict=True)],
        )
        return len(graph.maximum_bipartite_matching(types=[False] * parents + [True] * children))

    return matching


def _numbered(edges: Edges) -> tuple[list[int], list[int]]:
    """Return the distinct edges as row and column numbers without gaps."""
    unique = set(edges)
    row = {parent: number for number, parent in enumerate({parent for parent, _ in unique})}
    column = {child: number for number, child in enumerate({child for _, child in unique})}
    return [row[parent] for parent, _ in unique], [column[child] for _, child in unique]


def _rustworkx(rustworkx: Any) -> Peer:
    def matching(edges: Edges) -> int:
        rows, columns = _numbered(edges)
        parents, graph = max(rows) + 1, rustworkx.PyGraph()
        graph.add_nodes_from(range(parents + max(columns) + 1))
        graph.add_edges_from_no_data(
            [(row, parents + column) for row, column in zip(rows, columns, strict=True)]
        )
        return len(rustworkx.max_weight_matching(graph, max_cardinality=True))

    return matching


PEERS: Final = (
    ("networkx", _networkx),
    ("scipy.sparse.csgraph", _scipy),
    ("igraph", _igraph),
    ("rustworkx", _rustworkx),
)


class Covered(NamedTuple):
    """One cover: our milliseconds, and those of each library for the matching alone (None: it found another
    size).
    """

    shape: str
    relations: int
    stars: int
    ours: float
    peers: dict[str, float | None]


class Planned(NamedTuple):
    """One plan of mixed operations, its types free or ordered."""

    order: str
    operations: int
    actions: int
    least: int
    requests: int
    ours: float


class Measured(NamedTuple):
    """Everything in milliseconds; `imports` is what it takes to import each library that is there."""

    covers: list[Covered]
    plans: list[Planned]
    imports: dict[str, float]


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, exit."""
    parser = argparse.ArgumentParser(prog="python -m ops.bench.planner", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    chosen = parser.parse_args(argv)
    facts = document(measure())
    sys.stdout.write(
        msgspec.json.format(msgspec.json.encode(facts)).decode() if chosen.json else "\n".join(lines(facts))
    )
    sys.stdout.write("\n")
    return 0


def measure() -> Measured:
    """Covers of every shape and size, plans of every size."""
    peers, imports = _peers()
    covers = [_covered(shape, size, peers) for size in SIZES for shape in SHAPES]
    return Measured(
        covers, [_planned(size, order) for size in (*SIZES[:-1], 100_000) for order in ORDERS], imports
    )


def _covered(shape: Shape, size: int, peers: Mapping[str, Peer]) -> Covered:
    edges = shape(size, Random(size))
    ours, covered = _best(partial(cover, edges))
    theirs: dict[str, float | None] = {}
    for name, peer in peers.items() if size < SLOW else ():
        milliseconds, matching = _best(partial(peer, edges))
        theirs[name] = milliseconds if matching == covered.matching else None
    return Covered(shape.__name__, len(set(edges)), len(covered.stars), ours, theirs)


def _planned(size: int, order: Order) -> Planned:
    """Measure a plan with a hundred ids per action and fifty actions per request."""
    operations, limits = _operations(size, Random(size)), Limits(max_ids=100, max_actions=50)
    ours, made = _best(partial(plan, operations, limits, lambda _: order))
    return Planned(order, len(operations), made.actions, made.least, len(made.requests), ours)


def _operations(size: int, random: Random) -> list[Operation]:
    relations = [
        Relation(shape.__name__, *edge)
        for shape in (stars, hubs, sparse)
        for edge in set(shape(size // 3 + 1, random))
    ]
    return [Operation(random.choice(KINDS), relation) for relation in relations[:size]]


def _peers() -> tuple[dict[str, Peer], dict[str, float]]:
    """Return the libraries that can be imported, and the milliseconds that takes."""
    found, imports = dict[str, Peer](), dict[str, float]()
    for name, peer in PEERS:
        started = process_time()
        try:
            module = import_module(name)
        except ImportError:
            continue
        found[name], imports[name] = peer(module), 1000 * (process_time() - started)
    return found, imports


def _best(work: Callable[[], Result]) -> tuple[float, Result]:
    """Return the milliseconds of the shortest of several runs; long ones run once."""
    times: list[float] = []
    while len(times) < 5 and sum(times) < 0.2:
        started = process_time()
        result = work()
        times.append(process_time() - started)
    return 1000 * min(times), result


def document(measured: Measured) -> dict[str, Any]:
    """Return the facts as JSON has them."""
    return {
        "covers": [row._asdict() for row in measured.covers],
        "plans": [row._asdict() for row in measured.plans],
        "imports": measured.imports,
    }


def lines(facts: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines of two tables: the covers beside the libraries that are there, and the plans."""
    names = "".join(f"{name:>22}" for name in facts["imports"])
    yield f"{'cover':8}{'relations':>10}{'stars':>9}{'ours, ms':>11}{names}"
    for each in facts["covers"]:
        theirs = "".join(
            f"{'wrong' if spent is None else f'{spent:.2f}':>22}" for spent in each["peers"].values()
        )
        yield f"{each['shape']:8}{each['relations']:10,}{each['stars']:9,}{each['ours']:11.2f}{theirs}"
    for name, spent in facts["imports"].items():
        yield f"import {name}: {spent:.0f} ms"
    yield f"\n{'plan':12}{'operations':>11}{'actions':>9}{'least':>9}{'requests':>10}{'ours, ms':>11}"
    for made in facts["plans"]:
        numbers = f"{made['operations']:11,}{made['actions']:9,}{made['least']:9,}{made['requests']:10,}"
        yield f"{made['order']:12}{numbers}{made['ours']:11.2f}"


if __name__ == "__main__":
    sys.exit(main())
