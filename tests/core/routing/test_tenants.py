"""Fair shares of the waiting room: the rule of giving way, and the line in which tenants take turns."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from ingle_core.routing import Caller
from ingle_core.routing.tenants import Line, displaced, gives_way, tenant_of

TENANTS = st.sampled_from("abcd")


def line(*waiting: str) -> Line:
    """`a1` is request 1 of tenant a."""
    made = Line()
    for key in waiting:
        made.join(key, key[0])
    return made


def turns(of: Line) -> list[str]:
    found = []
    while (key := of.turn()) is not None:
        found.append(key)
    return found


def test_service_accounts_share_their_namespace_and_users_stand_alone() -> None:
    assert tenant_of(Caller("system:serviceaccount:chat:bot")) == "namespace chat"
    assert tenant_of(Caller("system:serviceaccount:chat:other")) == "namespace chat"
    assert tenant_of(Caller("alice")) == "user alice"
    assert tenant_of(Caller("chat")) != tenant_of(Caller("system:serviceaccount:chat:bot"))


def test_only_who_would_still_hold_more_gives_way() -> None:
    assert gives_way({"a": 5}, "b") == "a"
    assert gives_way({"a": 5, "b": 3}, "b") == "a"
    assert gives_way({"a": 5, "b": 4}, "b") is None
    assert gives_way({"a": 5}, "a") is None
    assert gives_way({}, "a") is None


def test_bytes_are_freed_place_by_place_or_not_at_all() -> None:
    sizes = {"a": [4, 4, 2], "c": [5]}
    shares = {"a": 10, "c": 5, "b": 0}
    assert displaced("b", 3, 3, shares, sizes.__getitem__) == ["a"]
    assert displaced("b", 1, 8, shares, sizes.__getitem__) == ["a", "a"]
    assert displaced("b", 9, 9, shares, sizes.__getitem__) is None
    assert displaced("a", 1, 1, shares, sizes.__getitem__) is None


def test_who_has_nothing_left_to_give_is_passed_over() -> None:
    assert displaced("b", 1, 1, {"a": 9, "c": 5}, {"a": [], "c": [1]}.__getitem__) == ["c"]


@given(st.dictionaries(TENANTS, st.integers(1, 9), min_size=1), TENANTS)
def test_displacing_makes_shares_more_equal_and_so_comes_to_an_end(
    shares: dict[str, int], newcomer: str
) -> None:
    chosen = displaced(newcomer, 1, 1, shares, lambda name: [1] * shares[name])
    if chosen is None:
        assert shares.get(newcomer, 0) + 1 >= max(shares.values())
        return
    after = Counter(shares)
    after[chosen[0]] -= 1
    after[newcomer] += 1
    squares = sum(count**2 for count in shares.values())
    assert sum(count**2 for count in after.values()) < squares


def test_tenants_take_turns_and_within_one_the_first_is_first() -> None:
    assert turns(line("a1", "a2", "a3", "a4", "b1", "b2", "c1")) == [
        "a1",
        "b1",
        "c1",
        "a2",
        "b2",
        "a3",
        "a4",
    ]


def test_a_tenant_that_comes_late_has_its_turn_in_the_next_round() -> None:
    waiting = line(*(f"a{n}" for n in range(500)))
    assert waiting.turn() == "a0"
    waiting.join("b1", "b")
    assert "b1" in (waiting.turn(), waiting.turn())


def test_who_waits_again_is_before_the_others_of_its_tenant() -> None:
    waiting = line("a1", "a2", "a3")
    assert waiting.turn() == "a1"
    waiting.join("a1", "a", again=True)
    assert list(waiting.newest("a")) == ["a3", "a2", "a1"]
    assert turns(waiting) == ["a1", "a2", "a3"]


@settings(max_examples=100)
@given(st.lists(st.tuples(st.sampled_from(("join", "again", "leave", "turn")), TENANTS, st.integers(0, 3))))
def test_counts_are_those_of_a_plain_list_whatever_happens(steps: list[tuple[str, str, int]]) -> None:
    made, model = Line(), set[str]()
    for what, tenant, number in steps:
        key = f"{tenant}{number}"
        if what == "leave":
            made.leave(key)
            model.discard(key)
        elif what == "turn":
            found = made.turn()
            assert (found is None) == (not model)
            model.discard(found or "")
        else:
            made.join(key, tenant, again=what == "again")
            model.add(key)
        assert made.shares == Counter(key[0] for key in model)
        assert len(made) == len(model)
        assert {key for name in made.shares for key in made.newest(name)} == model
    assert sorted(turns(made)) == sorted(model)
    assert (len(made), dict(made.shares)) == (0, {})


@given(st.lists(TENANTS, max_size=40))
def test_no_tenant_has_two_turns_while_another_waits_for_its_next(arrivals: list[str]) -> None:
    made = Line()
    for number, tenant in enumerate(arrivals):
        made.join(f"{tenant}{number}", tenant)
    left = Counter(arrivals)
    order = turns(made)
    for key, after in pairwise(order):
        left[key[0]] -= 1
        others = [name for name, count in left.items() if count and name != key[0]]
        assert after[0] != key[0] or not others
