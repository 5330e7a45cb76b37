"""What the engines of a pool were last made from that started: kept in its status, so that they can be made anew.

Only the parts that make a revision are kept. All else (replicas, priority, how long to hold) is the pool's of now.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import orjson
from pydantic import ValidationError

from ingle_core.warmpool.facts import Failures
from ingle_kit.objects import InferencePoolSpec, dump
from ingle_kit.objects.inferencepool import LAST_GOOD_CHARS_MAX
from ingle_operator.notes import Notes
from ingle_operator.parse import Pool
from ingle_operator.render import revision_of

if TYPE_CHECKING:
    from ingle_operator.world import World

PARTS: Final = ("engine", "model", "placement", "template", "variants")


def to_keep(pool: Pool, spec: InferencePoolSpec, revision: str, started: bool) -> dict[str, Any] | None:
    """For the status: the pool as it is now, once one of its engines has `started`; else what stands there.

    One that is too long is not kept, and then nothing is: the one before would be older than the engines that run.
    """
    if not started:
        return pool.status.get("lastGood")
    parts = {name: value for name, value in dump(spec).items() if name in PARTS}
    parts["warm"] = {"level": spec.warm.level}
    text = orjson.dumps(parts, option=orjson.OPT_SORT_KEYS).decode()
    return {"revision": revision, "spec": text} if len(text) <= LAST_GOOD_CHARS_MAX else None


def spec_before(notes: Notes, pool: Pool, spec: InferencePoolSpec) -> InferencePoolSpec | None:
    """The pool of now with the parts that last started; None: they are those of now, or not known."""
    kept = pool.status.get("lastGood") or {}
    text, revision = kept.get("spec"), kept.get("revision")
    if not text or not revision or _made_from(spec, revision):
        notes.specs_before.pop(pool.name, None)
        return None
    known = notes.specs_before.get(pool.name)
    if known is None or known[0] != text or known[1] is not spec:
        known = (text, spec, _merged(text, spec))
        notes.specs_before[pool.name] = known
    return known[2]


def _merged(text: str, spec: InferencePoolSpec) -> InferencePoolSpec | None:
    """None for what an operator of another version wrote and this one cannot read."""
    try:
        parts = orjson.loads(text)
        now = dump(spec)
        warm = now.get("warm", {}) | parts.pop("warm", {})
        rest = {name: value for name, value in now.items() if name not in PARTS}
        return InferencePoolSpec.model_validate(rest | parts | {"warm": warm})
    except (ValueError, TypeError, AttributeError, ValidationError):
        return None


def back_of(notes: Notes, pool: Pool, before: InferencePoolSpec | None) -> Failures | None:
    """For the plan: how engines of the revision before have failed in a row; None: none can be made anew."""
    if before is None:
        return None
    failures = notes.back_failures.get(pool.name, Failures())
    return failures if _made_from(before, failures.revision) else Failures()


def is_before(world: World, pool: Pool, revision: str) -> bool:
    """Whether engines of that revision can be made anew although the pool has changed."""
    spec = world.spec_of(pool)
    before = spec_before(world.notes, pool, spec) if spec is not None else None
    return before is not None and _made_from(before, revision)


def spec_of_engine(
    notes: Notes, pool: Pool, spec: InferencePoolSpec | None, revision: str
) -> InferencePoolSpec | None:
    """What an engine of that revision was made from, as far as that is known; else `spec`."""
    before = spec_before(notes, pool, spec) if spec is not None else None
    return before if before is not None and _made_from(before, revision) else spec


def _made_from(spec: InferencePoolSpec, revision: str) -> bool:
    return revision in {revision_of(spec, variant) for variant in spec.variants}
