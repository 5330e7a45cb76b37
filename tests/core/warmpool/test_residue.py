"""Which sleepers a node is better off without."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from ingle_core.warmpool.residue import Occupant, has_slot, surplus

GPU = {"g0": 80_000}
MANY = {"d/p": 9, "d/q": 9}


def sleeper(
    uid: str, worth: float = 1.0, pool: str = "d/p", gpu: str = "g0", residue_mib: int = 6000
) -> Occupant:
    return Occupant(uid, pool, (gpu,), "Asleep", residue_mib, residue_mib, 40_000, worth=worth)


def awake(uid: str, moves: bool = False, gpu: str = "g0", memory_mib: int = 40_000) -> Occupant:
    return Occupant(uid, "d/busy", (gpu,), "Awake", memory_mib, 2000, memory_mib, moves=moves)


def test_sleepers_above_the_cap_stop_the_least_worth_first() -> None:
    sleepers = [sleeper("a", 3), sleeper("b", 1), sleeper("c", 2)]
    assert list(surplus(GPU, sleepers, MANY, 0.2)) == ["b"]
    assert list(surplus(GPU, sleepers, MANY, 0.1)) == ["b", "c"]
    assert surplus(GPU, sleepers, MANY, 0.225) == {}


def test_the_floors_of_pools_stand_above_the_cap() -> None:
    sleepers = [sleeper("a", 1), sleeper("b", 2, "d/q"), sleeper("c", 3)]
    assert list(surplus(GPU, sleepers, {"d/q": 1}, 0.01)) == ["b"]


def test_a_sleeper_that_goes_to_sleep_counts_but_is_not_stopped() -> None:
    falling = Occupant("a", "d/p", ("g0",), "Sleeping", 40_000, 6000, 40_000, worth=0)
    assert list(surplus(GPU, [falling, sleeper("b", 1), sleeper("c", 2)], MANY, 0.2)) == ["b"]


def test_each_gpu_is_counted_for_itself() -> None:
    gpus = {"g0": 80_000, "g1": 80_000}
    wide = Occupant("a", "d/p", ("g0", "g1"), "Asleep", 10_000, 10_000, 70_000, worth=5)
    assert list(surplus(gpus, [wide, sleeper("b", 1, gpu="g1", residue_mib=9000)], MANY, 0.2)) == ["b"]


def test_a_wake_may_put_idle_engines_to_sleep_but_no_busy_ones() -> None:
    assert has_slot(GPU, [sleeper("a"), awake("b", moves=True, memory_mib=70_000)], {})
    assert not has_slot(GPU, [sleeper("a"), awake("b", memory_mib=70_000)], {})


def test_surplus_sleepers_stop_where_that_gives_another_room_to_wake() -> None:
    crowd = [
        sleeper("a", 2, residue_mib=1500),
        sleeper("b", 1, residue_mib=1500),
        awake("c", memory_mib=39_000),
    ]
    assert surplus(GPU, crowd, MANY, 0.2) == {"b": "none of its node's sleepers has room to wake"}
    assert surplus(GPU, crowd, {}, 0.2) == {}


def test_nothing_stops_where_no_end_of_a_sleeper_would_give_a_slot() -> None:
    crowd = [sleeper("a", residue_mib=1500), sleeper("b", residue_mib=1500), awake("c", memory_mib=60_000)]
    assert surplus(GPU, crowd, MANY, 0.2) == {}


def test_one_group_of_gpus_with_room_is_enough() -> None:
    gpus = {"g0": 80_000, "g1": 80_000}
    crowd = [sleeper("a"), awake("b", memory_mib=70_000), sleeper("c", gpu="g1")]
    assert has_slot(gpus, crowd, {})


ROWS = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 1), st.integers(500, 12_000), st.booleans()), max_size=8
)


@settings(max_examples=100, deadline=None)
@given(ROWS, st.integers(0, 4), st.integers(0, 4))
def test_no_pool_falls_below_its_floor_and_a_second_look_finds_nothing_more(
    rows: list[tuple[int, int, int, bool]], spare_p: int, spare_q: int
) -> None:
    gpus = {"g0": 80_000, "g1": 80_000}
    crowd = [
        awake(f"e{n}", gpu=f"g{gpu}", memory_mib=residue * 5)
        if busy and kind == 0
        else sleeper(f"e{n}", n, "d/p" if kind % 2 else "d/q", f"g{gpu}", residue)
        for n, (kind, gpu, residue, busy) in enumerate(rows)
    ]
    spare = {"d/p": spare_p, "d/q": spare_q}
    gone = surplus(gpus, crowd, spare, 0.2)
    pools = [o.pool for o in crowd if o.uid in gone]
    assert all(pools.count(pool) <= spare[pool] for pool in spare)
    assert all(o.state == "Asleep" for o in crowd if o.uid in gone)
    left = {pool: spare[pool] - pools.count(pool) for pool in spare}
    assert surplus(gpus, [o for o in crowd if o.uid not in gone], left, 0.2) == {}
