"""The arithmetic of continuous batching, without a clock."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingle_lab.engine.batch import Batch, Sequence, Speed

SPEED = Speed(prefill_tokens_per_s=1000, prefill_overhead_s=0.5, decode_base_s=0.1, decode_per_seq_s=0.1)


def batch(seqs_max=8, kv_tokens_max=10_000):
    return Batch(SPEED, seqs_max, kv_tokens_max)


def run_to_end(some):
    """Ended sequences with the time of their end."""
    ends = []
    while (at_s := some.next_event_s()) is not None:
        ends += [(sequence, at_s) for sequence in some.advance(at_s)]
    return ends


def test_one_sequence_takes_its_prefill_and_a_step_for_each_token_after_the_first():
    some, only = batch(), Sequence(prompt_tokens=500, output_tokens=11)
    some.add(only, 0.0)

    [(ended, at_s)] = run_to_end(some)

    assert ended is only
    assert at_s == pytest.approx(0.5 + 0.5 + 10 * 0.2)


def test_the_first_token_comes_with_the_end_of_the_prefill():
    some, only = batch(), Sequence(500, 11)
    some.add(only, 0.0)

    some.advance(0.99)
    assert some.made_tokens(only) == 0
    some.advance(1.01)
    assert some.made_tokens(only) == 1


def test_the_first_request_takes_the_extra_and_the_second_does_not():
    some = batch()
    some.next_prefill_extra_s = 2.0
    some.add(Sequence(500, 1), 0.0)
    [(_, first_s)] = run_to_end(some)
    some.add(Sequence(500, 1), first_s)
    [(_, second_s)] = run_to_end(some)

    assert first_s == pytest.approx(3.0)
    assert second_s - first_s == pytest.approx(1.0)


def test_several_requests_in_a_row_may_take_the_extra():
    some = batch()
    some.next_prefill_extra_s, some.extra_prefills = 2.0, 2
    at_s, took_s = 0.0, []
    for _ in range(3):
        some.add(Sequence(500, 1), at_s)
        [(_, end_s)] = run_to_end(some)
        took_s.append(end_s - at_s)
        at_s = end_s

    assert took_s == pytest.approx([3.0, 3.0, 1.0])


def test_two_sequences_decode_slower_than_one():
    some = batch()
    for _ in range(2):
        some.add(Sequence(1, 101), 0.0)

    assert run_to_end(some)[-1][1] > 0.5 + 100 * 0.2 + 0.5


def test_what_does_not_fit_the_kv_cache_waits_in_order():
    some = batch(kv_tokens_max=100)
    first, second = Sequence(50, 40), Sequence(20, 10)
    some.add(first, 0.0)
    some.add(second, 0.0)
    assert (some.running_count, len(some.waiting)) == (1, 1)

    assert [ended for ended, _ in run_to_end(some)] == [first, second]


def test_a_removed_sequence_frees_its_place_in_any_stage():
    some = batch(seqs_max=2)
    decoding, prefilling, waiting = (Sequence(100, 1000) for _ in range(3))
    some.add(decoding, 0.0)
    some.advance(1.0)
    some.add(prefilling, 1.0)
    some.add(waiting, 1.0)

    for sequence in (waiting, prefilling, decoding, decoding):
        some.remove(sequence, 1.1)

    assert (some.running_count, len(some.waiting), some.kv_tokens) == (0, 0, 0)
    assert some.next_event_s() is None


def test_a_pause_keeps_the_text_and_makes_it_be_read_again():
    some, only = batch(), Sequence(500, 50)
    some.add(only, 0.0)
    some.advance(3.0)
    made = some.made_tokens(only)
    some.pause(3.0)
    some.advance(100.0)
    assert made > 1
    assert some.made_tokens(only) == made
    assert some.kv_used_fraction == 0

    some.resume(100.0)

    [(ended, at_s)] = run_to_end(some)
    assert ended is only
    assert at_s == pytest.approx(100 + 0.5 + (500 + made) / 1000 + (50 - made - 1) * 0.2)


steps = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.integers(1, 60), st.integers(1, 60)),
        st.tuples(st.just("remove"), st.integers(0, 30), st.just(0)),
        st.tuples(st.just("pass"), st.integers(0, 40), st.just(0)),
        st.tuples(st.just("pause"), st.integers(0, 3), st.just(0)),
    ),
    max_size=40,
)


@settings(deadline=None)
@given(steps=steps, seqs_max=st.integers(1, 4), start_s=st.sampled_from([0.0, 1e7]))
def test_limits_hold_and_every_sequence_ends_exactly_once(steps, seqs_max, start_s):
    some = Batch(SPEED, seqs_max, kv_tokens_max=150)
    now_s, added, removed, ended = start_s, [], [], []
    some.advance(start_s)
    for kind, first, second in steps:
        if kind == "add":
            added.append(Sequence(first, second))
            ended += some.add(added[-1], now_s)
        elif kind == "remove" and first < len(added) and added[first] not in ended:
            fresh = some.remove(added[first], now_s)
            removed += [added[first]] if added[first] not in fresh else []
            ended += fresh
        elif kind == "pass":
            now_s += first / 4
            ended += some.advance(now_s)
        elif kind == "pause":
            ended += some.pause(now_s)
            some.resume(now_s)
        assert some.running_count <= seqs_max
        assert 0 <= some.kv_tokens <= some.kv_tokens_max
        assert all(0 <= some.made_tokens(sequence) <= sequence.output_tokens for sequence in added)
    ended += [sequence for sequence, _ in run_to_end(some)]

    assert len(ended) == len(set(ended))
    assert set(ended) | set(removed) == set(added)
    assert all(some.made_tokens(sequence) == sequence.output_tokens for sequence in ended)
    assert some.kv_tokens == 0
