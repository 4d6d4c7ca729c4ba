"""The cover: every relation once, in the fewest stars there can be."""

from itertools import combinations
from random import Random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec.structs import replace

from ops.bench.planner import Shape, grid, hubs, path
from tests.support.planner_values import largest_matching
from worker.planner.cover import Star, cover

Edges = list[tuple[int, int]]

SPARSE = st.lists(st.tuples(st.integers(1, 30), st.integers(1, 30)), max_size=60)
DENSE = st.lists(st.tuples(st.integers(1, 8), st.integers(1, 8)), max_size=48)
EDGES = SPARSE | DENSE


def fewest_records_that_touch_all(edges: Edges) -> int:
    """By trying every set of records, the smallest first."""
    records = sorted({("parent", p) for p, _ in edges} | {("child", c) for _, c in edges})
    return next(
        size
        for size in range(len(records) + 1)
        if any(
            all(("parent", p) in chosen or ("child", c) in chosen for p, c in edges)
            for chosen in combinations(records, size)
        )
    )


def edges_of(star: Star) -> Edges:
    return [(star.center, leaf) if star.side == "parent" else (leaf, star.center) for leaf in star.leaves]


def crown(size: int) -> Edges:
    """Everyone with everyone but the own partner: no leaves to peel."""
    return [(parent, child) for parent in range(size) for child in range(size) if parent != child]


@given(EDGES)
@example(crown(5))
@example([(parent, child) for parent in range(4) for child in range(3)])
def test_there_are_as_many_stars_as_a_largest_matching_has_pairs(edges: Edges) -> None:
    covered = cover(edges)
    assert len(covered.stars) == covered.matching == largest_matching(edges)


def chess_board_with_holes(random: Random, *, side: int) -> Edges:
    """White fields beside black ones: few leaves, and no greedy matching is good enough."""
    number = dict(
        zip(
            [(row, column) for row in range(side) for column in range(side)],
            random.sample(range(side * side), side * side),
            strict=True,
        )
    )
    fields = {field for field in number if random.random() < 0.85}
    beside = [
        (one, (one[0] + down, one[1] + right)) for one in sorted(fields) for down, right in ((0, 1), (1, 0))
    ]
    links = [(one, other) if sum(one) % 2 else (other, one) for one, other in beside if other in fields]
    return [(number[white], number[black]) for white, black in links]


@given(st.lists(st.tuples(st.integers(1, 4), st.integers(1, 4)), max_size=12))
def test_no_smaller_set_of_records_touches_every_relation(edges: Edges) -> None:
    assert len(cover(edges).stars) == fewest_records_that_touch_all(edges)


@given(EDGES)
def test_every_relation_is_in_exactly_one_star(edges: Edges) -> None:
    assert sorted(edge for star in cover(edges).stars for edge in edges_of(star)) == sorted(set(edges))


@given(EDGES)
def test_no_star_is_empty_and_everything_is_in_order(edges: Edges) -> None:
    stars = cover(edges).stars
    assert all(star.leaves for star in stars)
    assert all(star.leaves == tuple(sorted(set(star.leaves))) for star in stars)
    assert [(star.side == "child", star.center) for star in stars] == sorted(
        {(star.side == "child", star.center) for star in stars}
    )


@given(
    EDGES.flatmap(lambda edges: st.tuples(st.just(edges), st.permutations(edges + edges[: len(edges) // 2])))
)
def test_order_and_repetition_of_relations_make_no_difference(cases: tuple[Edges, Edges]) -> None:
    edges, mixed = cases
    assert cover(mixed) == cover(edges)


@given(EDGES)
def test_ids_of_parents_and_children_are_different_worlds(edges: Edges) -> None:
    apart = [(parent, child + 1000) for parent, child in edges]
    moved = [
        replace(star, leaves=tuple(leaf + 1000 for leaf in star.leaves)) if star.side == "parent" else star
        for star in cover(edges).stars
    ]
    moved = [replace(star, center=star.center + 1000) if star.side == "child" else star for star in moved]
    assert list(cover(apart).stars) == moved


def test_nothing_needs_no_star() -> None:
    assert cover([]) == ((), 0)


def test_one_pair_is_the_parents_star() -> None:
    assert cover([(7, 7)]).stars == (Star("parent", 7, (7,)),)


def test_a_parent_with_many_children_is_one_star_and_so_is_the_reverse() -> None:
    assert cover((5, child) for child in (3, 1, 2)).stars == (Star("parent", 5, (1, 2, 3)),)
    assert cover((parent, 5) for parent in (3, 1, 2)).stars == (Star("child", 5, (1, 2, 3)),)


def test_separate_pairs_stay_with_their_parents() -> None:
    assert cover([(1, 11), (2, 12)]).stars == (Star("parent", 1, (11,)), Star("parent", 2, (12,)))


def test_a_relation_of_two_centers_goes_to_the_smaller_star() -> None:
    edges = [(1, child) for child in range(10, 15)] + [(parent, 10) for parent in (2, 3)]
    assert cover(edges).stars == (Star("parent", 1, (11, 12, 13, 14)), Star("child", 10, (1, 2, 3)))


def test_a_path_longer_than_any_recursion_is_covered() -> None:
    links = 20_000
    chain = [(step // 2, (step + 1) // 2) for step in range(links)]
    assert cover(chain).matching == links // 2


def test_a_ring_longer_than_any_recursion_is_covered() -> None:
    pairs = 10_000
    ring = [edge for pair in range(pairs) for edge in ((pair, pair), (pair, (pair + 1) % pairs))]
    assert cover(ring).matching == pairs


@pytest.mark.parametrize("seed", range(20))
def test_a_matching_that_greed_gets_wrong_is_put_right(seed: int) -> None:
    board = chess_board_with_holes(Random(seed), side=24)
    covered = cover(board)
    assert len(covered.stars) == covered.matching == largest_matching(board)
    assert sorted(edge for star in covered.stars for edge in edges_of(star)) == sorted(board)


@pytest.mark.parametrize("shape", [path, grid, hubs])
def test_fifty_thousand_relations_of_a_nasty_shape_come_to_an_end(shape: Shape) -> None:
    edges = shape(50_000, Random(1))
    covered = cover(edges)
    assert len(covered.stars) == covered.matching
    assert sum(len(star.leaves) for star in covered.stars) == len(set(edges))


def test_two_hubs_that_share_all_their_leaves_are_two_stars() -> None:
    assert len(cover([(hub, leaf) for hub in (1, 2) for leaf in range(100_000)]).stars) == 2
