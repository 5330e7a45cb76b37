"""The reasons by name."""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    """One word for why. The value is what stands in Kubernetes objects."""

    ACCEPTED = "Accepted"
    INVALID_SPEC = "InvalidSpec"
    RECONCILED = "Reconciled"
    PROGRESSING = "Progressing"

    SERVING = "Serving"
    ASLEEP = "Asleep"
    IDLE = "Idle"
    AWAITING_PLACEMENT = "AwaitingPlacement"
    ENGINE_STARTING = "EngineStarting"
    WAKING = "Waking"
    ROLLING_OUT = "RollingOut"
    TWO_SCALERS = "TwoScalers"
    MODEL_CONFLICTED = "ModelConflicted"
    VARIANT_FITS_NO_GPU = "VariantFitsNoGPU"
    SPARE_NOT_INSTALLED = "SpareNotInstalled"

    INSUFFICIENT_MEMORY = "InsufficientMemory"
    INSUFFICIENT_HOST_MEMORY = "InsufficientHostMemory"
    INSUFFICIENT_WATTS = "InsufficientWatts"
    NO_MATCHING_PRODUCT = "NoMatchingProduct"
    NO_SUCH_NODE = "NoSuchNode"
    NODE_NOT_SELECTED = "NodeNotSelected"
    NODE_CORDONED = "NodeCordoned"
    AGENT_SILENT = "AgentSilent"
    TRANSITION_BUSY = "TransitionBusy"

    ENGINE_NEVER_READY = "EngineNeverReady"
    ENGINE_LOST = "EngineLost"
    GPU_LOST = "GPULost"
    WAKE_FAILED = "WakeFailed"
    SLEEP_KEPT_MEMORY = "SleepKeptMemory"
    SLOW_AGAIN = "SlowAgain"
    SLOWER_THAN_STEADY = "SlowerThanSteady"

    WOKEN = "Woken"
    PUT_TO_SLEEP = "PutToSleep"
    STARTED = "Started"
    SCALED = "Scaled"
    AHEAD_OF_LOAD = "AheadOfLoad"
    REMOVED = "Removed"
    MADE_ROOM = "MadeRoom"
    GAVE_WAY = "GaveWay"
    POD_REFUSED = "PodRefused"
    POD_SECURITY = "PodSecurity"
    CACHE_MISS = "CacheMiss"
    FETCHING = "Fetching"
    FETCH_FAILED = "FetchFailed"

    WITHIN_CAP = "WithinCap"
    LOWERING = "Lowering"
    BELOW_MINIMUM_LIMITS = "BelowMinimumLimits"
    NO_NODES_SELECTED = "NoNodesSelected"

    INVALID_EXPRESSION = "InvalidExpression"
    POOL_NOT_FOUND = "PoolNotFound"
    CONFLICTED = "Conflicted"

    REPORTING = "Reporting"
    LEDGER_ADOPTED = "LedgerAdopted"
    LIMITS_NOT_SET = "LimitsNotSet"

    # Whether pods sit where the ledger has them, and holder pods.
    AS_CLAIMED = "AsClaimed"
    WRONG_GPU = "WrongGPU"
    WRONG_ZONE = "WrongZone"
    HOLDER_PENDING = "HolderPending"
    HOLDER_REFUSED = "HolderRefused"
    BAD_MANAGED_LABEL = "BadManagedLabel"
    GPU_NOT_HELD = "GPUNotHeld"
    KUBELET_SILENT = "KubeletSilent"

    # On a single engine's way, beside the above.
    PROBED = "Probed"
    WANTED = "Wanted"
    FOUND_ASLEEP = "FoundAsleep"
    SLEEP_FAILED = "SleepFailed"
    STOPPED = "Stopped"

    # What the scheduler's filters say of a node, in their own words.
    NOT_MANAGED = "NotManaged"
    NODE_NOT_READY = "NodeNotReady"
    CORDONED = "Cordoned"
    LEDGER_BEHIND = "LedgerBehind"
    WRONG_PRODUCT = "WrongProduct"
    GPU_UNHEALTHY = "GpuUnhealthy"
    NUMA_SPLIT = "NumaSplit"
    NVLINK_SPLIT = "NvlinkSplit"
    OUTRANKED = "Outranked"
    FITS = "Fits"

    # The ledger and the split of a budget.
    NO_CLAIM = "NoClaim"
    UNKNOWN_GPU = "UnknownGPU"
    UNKNOWN_ZONE = "UnknownZone"
    BELOW_CLAIMS = "BelowClaims"
    RAISING = "Raising"
    SILENT = "Silent"
    NOT_ENFORCED = "NotEnforced"
