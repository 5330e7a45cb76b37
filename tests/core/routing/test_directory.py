"""Which pool a name means, and which policies govern a pool."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingle_core.routing import Policy, Pool, directory_of


def pool(namespace: str, name: str, model: str, created: str = "", aliases: tuple[str, ...] = ()) -> Pool:
    return Pool(namespace, name, model, aliases, created)


def meant(pools: list[Pool], name: str) -> str | None:
    found = directory_of(pools, []).resolve(name)
    return None if found is None else found.key


def test_the_older_of_two_pools_has_the_bare_name() -> None:
    pools = [pool("b", "young", "m", "2026-02"), pool("a", "old", "m", "2026-01")]
    assert meant(pools, "m") == "a/old"
    assert meant(pools, "b/m") == meant(pools, "b/young") == "b/young"


def test_within_a_namespace_the_younger_is_reached_by_its_own_name() -> None:
    pools = [pool("a", "old", "m", "2026-01"), pool("a", "young", "m", "2026-02")]
    assert (meant(pools, "a/m"), meant(pools, "a/young")) == ("a/old", "a/young")


def test_a_model_name_comes_before_an_alias_of_an_older_pool() -> None:
    pools = [pool("a", "x", "m", "2026-01", ("n",)), pool("b", "y", "n", "2026-02")]
    assert (meant(pools, "n"), meant(pools, "a/n")) == ("b/y", "a/x")


def test_a_model_called_like_another_namespaces_pool_cannot_take_its_place() -> None:
    pools = [pool("evil", "e", "chat/llama", "2026-01"), pool("chat", "llama", "m", "2026-02")]
    assert meant(pools, "chat/llama") == "chat/llama"
    assert meant(pools, "evil/chat/llama") == "evil/e"


def test_an_unknown_name_means_nothing() -> None:
    assert meant([pool("a", "x", "m")], "x") is None


def test_lists_name_every_pool_by_a_name_that_reaches_it() -> None:
    pools = [pool("a", "old", "m", "1", ("short",)), pool("a", "young", "m", "2"), pool("b", "z", "m", "3")]
    directory = directory_of(pools, [])
    assert directory.listed == {"m": "a/old", "short": "a/old", "a/young": "a/young", "b/z": "b/z"}
    assert all(directory.names[name] == key for name, key in directory.listed.items())


@pytest.mark.parametrize("name", ["m", "short", "a/m", "a/short", "a/x"])
def test_a_policy_governs_the_pool_by_whatever_name_it_uses(name: str) -> None:
    """Else an alias would be a way around it."""
    policy = Policy("a", "p", (name,))
    directory = directory_of([pool("a", "x", "m", "", ("short",)), pool("b", "x", "m")], [policy])
    assert directory.policies_of(directory.pools["a/x"]) == (policy,)
    assert directory.policies_of(directory.pools["b/x"]) == ()


names = st.sampled_from(["m", "n", "a/m", "a/x", "b/y"])
pools_ = st.lists(
    st.builds(
        pool,
        st.sampled_from("ab"),
        st.sampled_from("xyz"),
        names,
        st.sampled_from("123"),
        st.lists(names, max_size=2).map(tuple),
    ),
    unique_by=lambda p: p.key,
    max_size=6,
)


@given(pools_)
def test_every_pool_can_be_reached_by_namespace_and_name_whatever_others_are_called(
    pools: list[Pool],
) -> None:
    directory = directory_of(pools, [])
    assert all(directory.resolve(p.key) == p for p in pools)
    assert set(directory.listed.values()) == {p.key for p in pools}


@given(pools_, st.randoms())
def test_who_has_which_name_does_not_depend_on_the_order_of_events(
    pools: list[Pool], luck: random.Random
) -> None:
    shuffled = list(pools)
    luck.shuffle(shuffled)
    assert directory_of(pools, []).names == directory_of(shuffled, []).names
