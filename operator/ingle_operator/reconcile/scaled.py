"""What a pool's events say of its scaling."""

from __future__ import annotations

from ingle_kit.names import INFERENCE_POOL
from ingle_kit.objects import InferencePoolSpec
from ingle_kit.objects.reasons import Reason
from ingle_operator.parse import Pool
from ingle_operator.scaling import STEPPED_BACK, two_scalers
from ingle_operator.status import tell
from ingle_operator.world import World


async def announce(world: World, pool: Pool, spec: InferencePoolSpec) -> None:
    """An event where more is wanted than before and counting requests does not explain it, or where two want to decide."""
    found = world.scaling.said.get(pool.name, STEPPED_BACK)
    asked = 0 if found.decided_by == "concurrency" else found.desired or 0
    old_asked, old_ahead = world.scaling.told.get(pool.name, (0, 0))
    world.scaling.told[pool.name] = (asked, found.ahead)
    if asked > old_asked:
        text = f"{asked} wanted awake by {found.decided_by}: {'; '.join(found.reasons)}"
        await tell(world, INFERENCE_POOL, pool, Reason.SCALED, text)
    if found.ahead > old_ahead:
        text = f"{found.ahead} wanted awake ahead of load: {found.ahead_reason}"
        await tell(world, INFERENCE_POOL, pool, Reason.AHEAD_OF_LOAD, text)
    two = two_scalers(world, pool, spec)
    if two:
        await tell(world, INFERENCE_POOL, pool, Reason.TWO_SCALERS, two, warn=True)
