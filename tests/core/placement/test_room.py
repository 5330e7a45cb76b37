"""Making room: who gives way, and who never does."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingle_core.facts import Columns, GpuFacts, GpuNodeFacts, Resident, ZoneFacts
from ingle_core.ledger import Claim, Gpu, Holder, HostClaim, Ledger, Zone
from ingle_core.ledger import State as LedgerState
from ingle_core.placement import Ask, AskMemory, rank
from ingle_core.placement.pools import PoolFacts, VariantFacts, pools_of
from ingle_core.placement.room import Outcome, Room, Wake, Why, make_room, make_room_for_wake
from ingle_core.placement.tenants import PRIORITY_RANK, Spare, Tenant, can_drop, facts_after, under_way

GPU_MIB = 80_000
FREE = {"a/x": Spare(9, 9), "a/y": Spare(9, 9)}


def ask(mib: int = 60_000, gpus: int = 1, watts: int = 0, priority: str = "Normal", host: int = 0) -> Ask:
    return Ask(AskMemory(mib, 1_000, host), pool="a/me", gpus=gpus, watts=watts, priority=priority)


def tenant(uid: str, gpus: tuple[str, ...] = ("n-0",), **fields: object) -> Tenant:
    base = Tenant(uid, "a/x", "n", gpus, "Awake", 40_000, 1_500, watts=300, chance=0.1)
    return replace(base, **fields)  # type: ignore[arg-type]


def node(
    tenants: list[Tenant], name: str = "n", gpus: int = 1, allotted_w: int | None = None
) -> GpuNodeFacts:
    found = []
    for n in range(gpus):
        here = [t for t in tenants if f"{name}-{n}" in t.gpus]
        left_mib = GPU_MIB - sum(t.memory_mib for t in here)
        busy = any(t.state not in ("Awake", "Asleep") for t in here)
        watts = sum(t.watts for t in here)
        found.append(
            GpuFacts(
                f"{name}-{n}", "H100", GPU_MIB, left_mib, busy=busy, claimed_w=watts, floor_w=100, numa=0
            )
        )
    zone = ZoneFacts(0, 50_000 - sum(t.host_mib for t in tenants))
    return GpuNodeFacts(tuple(found), (zone,), allotted_w)


def columns_of(**nodes: GpuNodeFacts) -> Columns:
    columns = Columns()
    for name, facts in nodes.items():
        columns.update(name, facts)
    return columns


def room_for(
    wanted: Ask,
    *tenants: Tenant,
    gpus: int = 1,
    allotted_w: int | None = None,
    spare: dict[str, Spare] = FREE,
) -> Room:
    columns = columns_of(n=node(list(tenants), gpus=gpus, allotted_w=allotted_w))
    return make_room(wanted, columns, tenants, spare, now_s=0)


def victims(room: Room) -> dict[str, str]:
    return {victim.uid: victim.to for victim in room.victims}


def test_what_fits_already_asks_nobody_to_go() -> None:
    assert room_for(ask(40_000), tenant("v")).outcome is Outcome.FITS


def test_an_idle_engine_sleeps_and_is_not_stopped() -> None:
    room = room_for(ask(), tenant("v"))
    assert (room.outcome, room.node, room.gpus, victims(room)) == (
        Outcome.VICTIMS,
        "n",
        ("n-0",),
        {"v": "Asleep"},
    )
    assert "frees 38500 MiB and 300 W" in room.victims[0].reason


def test_it_is_stopped_where_its_residue_is_too_much() -> None:
    assert victims(room_for(ask(79_000), tenant("v"))) == {"v": "Ended"}


def test_a_sleeper_stops_only_when_no_idle_engine_is_enough() -> None:
    sleeper = tenant("s", state="Asleep", memory_mib=1_500, watts=0, chance=0.0)
    assert victims(room_for(ask(), sleeper, tenant("v"))) == {"v": "Asleep"}
    assert victims(room_for(ask(78_000), sleeper, tenant("v"))) == {"v": "Asleep", "s": "Ended"}


@pytest.mark.parametrize(("mine", "fits"), [("Low", False), ("Normal", True), ("High", True)])
def test_nobody_gives_way_to_a_lower_priority(mine: str, fits: bool) -> None:
    assert bool(room_for(ask(priority=mine), tenant("v")).victims) is fits


@pytest.mark.parametrize(("mine", "fits"), [("Normal", False), ("High", True)])
def test_a_busy_engine_gives_way_only_to_a_higher_priority(mine: str, fits: bool) -> None:
    assert bool(room_for(ask(priority=mine), tenant("v", busy=True)).victims) is fits


def test_floors_hold_among_equals_and_not_against_a_higher_priority() -> None:
    floors = {"a/x": Spare(0, 0)}
    room = room_for(ask(), tenant("v"), spare=floors)
    assert (room.outcome, room.nodes) == (Outcome.NOTHING, {"n": Why.NOTHING_MAY_GO})
    assert victims(room_for(ask(priority="High"), tenant("v"), spare=floors)) == {"v": "Asleep"}


def test_a_floor_counts_all_victims_of_a_pool_together() -> None:
    pair = [tenant("v", memory_mib=39_000), tenant("w", memory_mib=39_000)]
    assert room_for(ask(76_000), *pair, spare={"a/x": Spare(1, 0)}).outcome is Outcome.NOTHING
    assert len(room_for(ask(76_000), *pair, spare={"a/x": Spare(2, 0)}).victims) == 2


def test_the_one_less_likely_to_be_wanted_goes() -> None:
    rare, likely = tenant("rare", chance=0.1), tenant("likely", ("n-1",), chance=0.9)
    assert victims(room_for(ask(), likely, rare, gpus=2)) == {"rare": "Asleep"}


def test_the_cheaper_node_is_taken_and_the_other_says_so() -> None:
    here = tenant("v", chance=0.9)
    there = tenant("w", ("m-0",), node="m", chance=0.1)
    columns = columns_of(n=node([here]), m=node([there], "m"))
    room = make_room(ask(), columns, [here, there], FREE, now_s=0)
    assert (room.node, victims(room), room.nodes) == ("m", {"w": "Asleep"}, {"n": Why.COSTS_MORE})


def test_a_cordoned_node_is_not_cleared() -> None:
    columns = columns_of(n=replace(node([tenant("v")]), cordoned=True))
    room = make_room(ask(), columns, [tenant("v")], FREE, now_s=0)
    assert room.nodes == {"n": Why.TAKES_NOTHING}


def test_who_goes_to_sleep_already_is_waited_for() -> None:
    room = room_for(ask(), tenant("v", state="Sleeping"), tenant("w", ("n-1",)), gpus=2)
    assert (room.outcome, room.victims) == (Outcome.SOON, ())


def test_watts_are_freed_on_other_gpus_too() -> None:
    room = room_for(ask(30_000, watts=300), tenant("v", ("n-1",), memory_mib=70_000), gpus=2, allotted_w=450)
    assert victims(room) == {"v": "Asleep"}


def test_host_memory_comes_back_only_from_a_stop() -> None:
    sleeper = tenant("s", state="Asleep", memory_mib=1_500, watts=0, host_mib=40_000, host_zone=0)
    assert victims(room_for(ask(30_000, host=20_000), sleeper)) == {"s": "Ended"}


def test_two_gpus_are_cleared_together() -> None:
    pair = [tenant("v"), tenant("w", ("n-1",)), tenant("u", ("n-2",), chance=0.9)]
    assert victims(room_for(ask(gpus=2), *pair, gpus=3)) == {"v": "Asleep", "w": "Asleep"}


def test_room_is_made_where_rank_then_goes_by_what_pools_say() -> None:
    both = tenant("v", ("n-0", "n-1"), memory_mib=60_000)
    facts = node([both], gpus=2)
    sleepers = (Resident("a/day", 2_000, True), Resident("a/night", 2_000, True))
    gpus = tuple(replace(g, residents=(one,)) for g, one in zip(facts.gpus, sleepers, strict=True))
    columns, (day, night) = (
        columns_of(n=replace(facts, gpus=gpus)),
        ((100,) * 12 + (0,) * 12, (0,) * 12 + (100,) * 12),
    )
    variants = (VariantFacts(60_000, 2_000),)
    known = [("a/me", day), ("a/day", day), ("a/night", night)]
    context = pools_of((pool, PoolFacts(variants, 1, percent)) for pool, percent in known).context(0.0)
    room = make_room(ask(), columns, [both], FREE, now_s=0, context=context)
    after = columns_of(n=facts_after(columns.facts["n"], [both], {"v": "Asleep"}))
    assert make_room(ask(), columns, [both], FREE, now_s=0).gpus == ("n-0",)
    assert room.gpus == rank(ask(), after, now_s=0, context=context).gpus == ("n-1",)


def test_who_sleeps_stays_on_the_gpu_and_who_ends_does_not() -> None:
    one = tenant("v")
    facts = node([one])
    here = (Resident("a/x", 40_000), Resident("a/x", 40_000), Resident("a/y", 1_000, True))
    facts = replace(facts, gpus=(replace(facts.gpus[0], residents=here),))
    assert facts_after(facts, [one], {"v": "Asleep"}).gpus[0].residents == here
    assert facts_after(facts, [one], {"v": "Ended"}).gpus[0].residents == here[1:]


def test_a_refused_wake_puts_its_neighbour_to_sleep() -> None:
    neighbours = [tenant("v", memory_mib=78_000), tenant("w", ("n-1",))]
    wake = Wake("a/me", "n", ("n-0",), extra_mib=38_500, watts=300)
    room = make_room_for_wake(wake, node(neighbours, gpus=2), neighbours, FREE)
    assert (room.gpus, victims(room)) == (("n-0",), {"v": "Asleep"})


def test_a_wake_that_lacks_watts_takes_them_from_another_gpu() -> None:
    neighbours = [tenant("w", ("n-1",), memory_mib=10_000)]
    wake = Wake("a/me", "n", ("n-0",), extra_mib=38_500, watts=300)
    assert victims(make_room_for_wake(wake, node(neighbours, gpus=2, allotted_w=500), neighbours, FREE)) == {
        "w": "Asleep"
    }


STATES = st.sampled_from(["Awake", "Awake", "Asleep", "Asleep", "Starting", "Sleeping"])


@st.composite
def tenants_of(draw: st.DrawFn) -> list[Tenant]:
    found = []
    for n in range(draw(st.integers(1, 7))):
        gpu = draw(st.integers(0, 2))
        gpus = (f"n-{gpu}", f"n-{(gpu + 1) % 3}") if draw(st.booleans()) else (f"n-{gpu}",)
        state = draw(STATES)
        mib = 1_500 if state == "Asleep" else draw(st.sampled_from([5_000, 20_000, 35_000]))
        found.append(
            Tenant(
                f"u{n}",
                draw(st.sampled_from(["a/x", "a/y"])),
                "n",
                gpus,
                state,  # type: ignore[arg-type]  # drawn from the ledger's words
                mib,
                1_500,
                watts=0 if state == "Asleep" else 300,
                host_mib=draw(st.sampled_from([0, 5_000])),
                host_zone=0,
                priority=draw(st.sampled_from(["Low", "Normal", "High"])),
                busy=draw(st.booleans()),
                can_sleep=draw(st.booleans()),
                chance=draw(st.floats(0, 1)),
            )
        )
    return found


@settings(max_examples=150, deadline=None)
@given(
    tenants_of(),
    st.sampled_from([20_000, 50_000, 79_000]),
    st.integers(1, 2),
    st.sampled_from(["Low", "Normal", "High"]),
    st.sampled_from([None, 700, 1_500]),
    st.integers(0, 2),
)
def test_whatever_is_chosen_fits_is_needed_and_may_go(
    tenants: list[Tenant], mib: int, gpus: int, priority: str, allotted_w: int | None, floor: int
) -> None:
    wanted = ask(mib, gpus, 300, priority, host=10_000)
    facts = node(tenants, gpus=3, allotted_w=allotted_w)
    spare = {"a/x": Spare(floor, floor)}
    room = make_room(wanted, columns_of(n=facts), tenants, spare, now_s=0)
    assert room == make_room(wanted, columns_of(n=facts), list(tenants), spare, now_s=0)
    if room.outcome is not Outcome.VICTIMS:
        return
    chosen = victims(room)
    mine = PRIORITY_RANK[priority]
    awake, ended = defaultdict(int), defaultdict(int)
    for one in (t for t in tenants if t.uid in chosen):
        assert one.state in ("Awake", "Asleep")
        assert PRIORITY_RANK[one.priority] <= mine
        if PRIORITY_RANK[one.priority] == mine:
            assert not one.busy
            awake[one.pool] += one.state == "Awake"
            ended[one.pool] += chosen[one.uid] == "Ended"
    for pool in (*awake, *ended):
        assert awake[pool] <= spare.get(pool, Spare()).awake
        assert ended[pool] <= spare.get(pool, Spare()).kept

    def fits(left_out: str = "") -> bool:
        going = under_way(tenants) | {uid: to for uid, to in chosen.items() if uid != left_out}
        return rank(wanted, columns_of(n=facts_after(facts, tenants, going)), now_s=0).node == "n"

    assert fits()
    assert not any(fits(left_out=uid) for uid in chosen)


def sleeper(uid: str, **fields: object) -> Tenant:
    more = {"state": "Asleep", "memory_mib": 1_500, "watts": 0, "host_mib": 40_000, "host_zone": 0}
    return tenant(uid, **(more | {"can_drop": True} | fields))


def test_a_sleeper_whose_weights_are_in_the_way_drops_them_instead_of_stopping() -> None:
    room = room_for(ask(host=20_000), sleeper("a"))
    assert (room.outcome, victims(room)) == (Outcome.VICTIMS, {"a": "Dropped"})
    assert "40000 MiB of host memory" in room.victims[0].reason
    assert victims(room_for(ask(host=20_000), sleeper("a", can_drop=False))) == {"a": "Ended"}


def test_no_sleeper_drops_its_weights_for_gpu_memory_or_watts() -> None:
    room = room_for(ask(79_000), sleeper("a"))
    assert victims(room) == {"a": "Ended"}
    lit = tenant("b", state="Awake", memory_mib=10_000)
    room = room_for(ask(40_000, watts=300), sleeper("a"), lit, allotted_w=350)
    assert victims(room) == {"b": "Asleep"}


def test_of_two_sleepers_the_one_less_likely_wanted_drops_its_weights_and_an_idle_one_sleeps_first() -> None:
    olds = [sleeper("a", chance=0.9, host_mib=25_000), sleeper("b", chance=0.1, host_mib=25_000)]
    assert victims(room_for(ask(host=20_000), *olds)) == {"b": "Dropped"}
    both = room_for(ask(70_000, host=20_000), sleeper("a"), tenant("c"))
    assert victims(both) == {"a": "Dropped", "c": "Asleep"}


def test_weights_that_are_being_dropped_already_count_as_gone() -> None:
    going = sleeper("a", state="Waking", memory_mib=40_000, dropping=True)
    room = room_for(ask(host=20_000), going)
    assert (room.outcome, room.victims) == (Outcome.SOON, ())


def test_a_sleeper_can_drop_its_weights_where_it_has_some_and_its_gpus_have_room_to_wake_it() -> None:
    def held(
        mine: LedgerState = "Asleep",
        other_mib: int = 0,
        host_mib: int = 9,
        other: LedgerState = "Awake",
        allotted_w: int | None = None,
    ) -> Ledger:
        claims = (Claim("a", 1_500, 0), Claim("b", other_mib, 0))
        zone = Zone(0, 100, (HostClaim("a", host_mib),) if host_mib else ())
        pods = (Holder("a", "a/x", mine, 1, ""), Holder("b", "a/y", other, 1, ""))
        gpus = (Gpu("g", GPU_MIB, claims=claims),)
        return Ledger(gpus=gpus, zones=(zone,), pods=pods, watts_allotted=allotted_w)

    assert can_drop(held(), "a", 40_000, 300)
    assert can_drop(held(other_mib=40_000), "a", 40_000, 300)
    assert not can_drop(held(other_mib=40_001), "a", 40_000, 300)
    assert not can_drop(held(other="Waking"), "a", 40_000, 300)
    assert not can_drop(held(host_mib=0), "a", 40_000, 300)
    assert not can_drop(held(mine="Awake"), "a", 40_000, 300)
    assert not can_drop(held(), "nobody", 1, 1)
    assert not can_drop(held(allotted_w=299), "a", 40_000, 300)
    assert can_drop(held(allotted_w=300), "a", 40_000, 300)
