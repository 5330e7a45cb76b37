"""What a pool's status remembers of the spec that engines started from. No cluster."""

from __future__ import annotations

from typing import Any

import pytest

from ingle_core.warmpool.facts import Failures
from ingle_kit.kube import Object
from ingle_kit.objects import InferencePoolSpec
from ingle_kit.objects.inferencepool import LAST_GOOD_CHARS_MAX
from ingle_operator.lastgood import back_of, spec_before, spec_of_engine, to_keep
from ingle_operator.notes import Notes
from ingle_operator.parse import Pool, pool_of
from ingle_operator.render import revision_of
from ingle_operator.status import recalled


def pool(
    bodies: Any, status: Object | None = None, args: tuple[str, ...] = (), **spec: Any
) -> tuple[Pool, InferencePoolSpec]:
    body = bodies.pool(**spec)
    body["metadata"]["uid"] = "u"
    body["spec"]["variants"][0]["args"] = list(args)
    found = pool_of(body | {"status": status or {}})
    assert found.spec is not None
    return found, found.spec


def revision(spec: InferencePoolSpec) -> str:
    return revision_of(spec, spec.variants[0])


def remembered(bodies: Any, **spec: Any) -> tuple[Object, InferencePoolSpec]:
    """The status of a pool whose engine started, and its spec."""
    old, spec_then = pool(bodies, **spec)
    kept = to_keep(old, spec_then, revision(spec_then), started=True)
    assert kept is not None
    return {"lastGood": kept}, spec_then


def test_engines_are_made_anew_from_the_parts_of_then_and_all_else_of_now(bodies: Any) -> None:
    status, then = remembered(
        bodies, engine={"kind": "VLLM", "image": "i:1", "startSeconds": 60}, warm={"level": "L2"}
    )
    changed, now = pool(bodies, status, ("--new",), priority="Low", warm={"asleep": 1, "idleSeconds": 7})
    before = spec_before(Notes(), changed, now)
    assert before is not None
    assert revision(before) == revision(then) != revision(now)
    assert (before.engine.image, before.warm.level) == ("i:1", "L2")
    assert (before.priority, before.warm.asleep, before.warm.idle_seconds) == ("Low", 1, 7)


def test_what_started_last_stays_while_the_changed_pool_does_not_start(bodies: Any) -> None:
    status, _ = remembered(bodies)
    changed, now = pool(bodies, status, ("--new",))
    assert to_keep(changed, now, revision(now), started=False) == status["lastGood"]
    again = to_keep(changed, now, revision(now), started=True)
    assert again is not None
    assert again["revision"] == revision(now)


def test_a_spec_that_is_too_long_is_not_kept_and_neither_is_an_older_one(bodies: Any) -> None:
    status, _ = remembered(bodies)
    long = tuple(f"--{n}={'x' * (LAST_GOOD_CHARS_MAX // 50)}" for n in range(50))
    changed, now = pool(bodies, status, long)
    assert to_keep(changed, now, revision(now), started=True) is None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"variants": []}', '{"engine": {"kind": "Other"}}'])
def test_what_cannot_be_read_is_as_if_nothing_were_known(bodies: Any, text: str) -> None:
    changed, now = pool(bodies, {"lastGood": {"revision": "r0", "spec": text}})
    assert spec_before(Notes(), changed, now) is None


def test_the_same_revision_is_none_before_and_only_its_own_engines_are_made_from_it(bodies: Any) -> None:
    status, then = remembered(bodies)
    same, spec = pool(bodies, status, priority="Low")
    assert spec_before(Notes(), same, spec) is None
    changed, now = pool(bodies, status, ("--new",))
    found = spec_of_engine(Notes(), changed, now, revision(then))
    assert found is not None
    assert revision(found) == revision(then)
    assert spec_of_engine(Notes(), changed, now, revision(now)) is now


def test_it_is_read_once_and_failures_of_another_revision_are_none_of_its(bodies: Any) -> None:
    status, then = remembered(bodies)
    changed, now = pool(bodies, status, ("--new",))
    notes = Notes()
    before = spec_before(notes, changed, now)
    assert spec_before(notes, changed, now) is before
    assert back_of(notes, changed, None) is None
    notes.back_failures[changed.name] = Failures(2, 5.0, "older")
    assert back_of(notes, changed, before) == Failures()
    notes.back_failures[changed.name] = mine = Failures(2, 5.0, revision(then))
    assert back_of(notes, changed, before) == mine


def stalled(generation: int, message: str) -> Object:
    when = "2026-01-01T00:00:00Z"
    one = {"type": "Stalled", "status": "True", "reason": "EngineLost", "message": message}
    return {"conditions": [one | {"lastTransitionTime": when, "observedGeneration": generation}]}


def test_a_new_leader_reads_that_engines_failed_in_a_row_of_the_pool_as_it_is_now(bodies: Any) -> None:
    said = "4 engines failed in a row; the engines of the revision before stay; the last: engine x: boom"
    assert recalled(pool(bodies, stalled(1, said))[0]) == ("EngineLost", "engine x: boom")
    assert recalled(pool(bodies, stalled(2, said))[0]) is None  # of another generation
    assert recalled(pool(bodies, stalled(1, "variant v fits no GPU"))[0]) is None
    assert recalled(pool(bodies)[0]) is None
