"""What each reason means, for docs/reasons.md and `ingle explain`."""

from __future__ import annotations

from typing import NamedTuple

from ingle_kit.objects.reasons.names import Reason


class Explanation(NamedTuple):
    """Where a reason appears, what it means and what a person does about it, a sentence each."""

    where: str
    meaning: str
    action: str


_NOTHING = "Nothing."
_ENGINE = "InferencePool, Ready and status.engines"
_PENDING = "InferencePool, Ready and status.engines; `ingle explain pod/NAME`"
_EXPLAIN = "`ingle explain pod/NAME`"
_LEDGER = "Answers and logs of operator and scheduler"
_BUDGET = "PowerBudget, messages of Ready and Reconciling"
_EVENT = "Event on the InferencePool"

EXPLANATIONS: dict[Reason, Explanation] = {
    Reason.ACCEPTED: Explanation("Every kind, Accepted", "The spec can be acted on.", _NOTHING),
    Reason.INVALID_SPEC: Explanation(
        "Every kind, Accepted",
        "The spec breaks a rule; it was stored before that rule existed. The last valid one stays in force.",
        "Correct the field that the message names.",
    ),
    Reason.RECONCILED: Explanation(
        "Every kind, Reconciling and Stalled", "What was asked for is the case.", _NOTHING
    ),
    Reason.PROGRESSING: Explanation(
        "Every kind, Reconciling",
        "Work is under way; the message says which.",
        "Wait; Ready tells the outcome.",
    ),
    Reason.SERVING: Explanation(
        "InferencePool, Ready", "As many replicas are awake as are wanted.", _NOTHING
    ),
    Reason.ASLEEP: Explanation(
        "InferencePool, Ready", "Nothing is awake and nobody asks; a request wakes a sleeper.", _NOTHING
    ),
    Reason.IDLE: Explanation(
        "InferencePool, Ready and status.engines",
        "Nobody asks: no engine exists, or an unused engine goes to sleep; the next request wakes or starts one.",
        "Set spec.warm.asleep to 1 for faster first answers.",
    ),
    Reason.AWAITING_PLACEMENT: Explanation(
        _PENDING,
        "An engine pod exists and no node has room for it yet, or none has been tried.",
        "Run `ingle explain pod/NAME`: it lists each node with its reason.",
    ),
    Reason.ENGINE_STARTING: Explanation(
        _ENGINE,
        "An engine has its GPUs and loads the model.",
        "Wait up to spec.engine.startSeconds.",
    ),
    Reason.WAKING: Explanation(_ENGINE, "A sleeper takes its GPU memory back.", "Wait; wakes take seconds."),
    Reason.ROLLING_OUT: Explanation(
        "InferencePool, Reconciling",
        "The pool was changed and its engines are replaced: sleepers first, then one by one.",
        "Wait; where new engines do not become ready the old ones stay.",
    ),
    Reason.MODEL_CONFLICTED: Explanation(
        "InferencePool, Accepted",
        "An older pool serves the same model name or alias; it keeps the bare name.",
        "Rename spec.model or the alias, or send `namespace/model`.",
    ),
    Reason.TWO_SCALERS: Explanation(
        "InferencePool, Accepted, and event",
        "An autoscaler sets the pool's /scale, and the pool has scaling signals or a forecast of its own, or another "
        "autoscaler; the message names them. The pool's own do nothing meanwhile.",
        "Keep one: remove scaling.queue, kvPercent, ttftMilliseconds and forecast, or remove the autoscaler and then "
        "replicas.fixed.",
    ),
    Reason.SPARE_NOT_INSTALLED: Explanation(
        "InferencePool, Accepted, Ready and Stalled",
        "The pool has warm.level Spare, and the operator does not know where the spare launcher is.",
        "Set INGLE_SPARE_IMAGE of the operator to an image of Ingle (the chart does), or warm.level to L1 or L2.",
    ),
    Reason.VARIANT_FITS_NO_GPU: Explanation(
        "InferencePool, Accepted and Stalled",
        "No node, even empty, has GPUs that a variant fits (number, memory or product).",
        "Lower gpus or memoryMiB.awake, widen gpuProducts or placement, or add such nodes.",
    ),
    Reason.INSUFFICIENT_MEMORY: Explanation(
        _PENDING,
        "The GPUs that match do not have enough memory free of claims.",
        "Wait for others to sleep, lower memoryMiB.awake, or raise the pool's priority.",
    ),
    Reason.INSUFFICIENT_HOST_MEMORY: Explanation(
        _PENDING,
        "No NUMA zone of the node has host memory for the weights of another sleeper.",
        "Lower warm.asleep of some pool or add host memory.",
    ),
    Reason.INSUFFICIENT_WATTS: Explanation(
        _PENDING,
        "The node's share of a PowerBudget does not cover another busy engine.",
        "Raise the PowerBudget, wait for others to sleep, or lower watts.busy if it is too high.",
    ),
    Reason.NO_MATCHING_PRODUCT: Explanation(
        _PENDING,
        "The node has no GPU of the products that the variant names.",
        "Correct gpuProducts (names as in `kubectl get gpun -o yaml`) or add such nodes.",
    ),
    Reason.NO_SUCH_NODE: Explanation(
        _PENDING,
        "There is no GPUNode of that name: the node has no agent, or the ledger was not made yet.",
        "Check that the agent runs on the node.",
    ),
    Reason.NODE_NOT_SELECTED: Explanation(
        _PENDING,
        "The node lacks a label of placement.nodeSelector.",
        "Label the node or change placement.nodeSelector.",
    ),
    Reason.NODE_CORDONED: Explanation(
        _PENDING, "The node is cordoned or going away.", "Uncordon it when it is well."
    ),
    Reason.AGENT_SILENT: Explanation(
        "GPUNode, Ready; `ingle explain pod/NAME`",
        "The agent of the node has not been heard; nothing new is placed there.",
        "Look at the agent's pod and its log on that node.",
    ),
    Reason.TRANSITION_BUSY: Explanation(
        _PENDING,
        "Another engine starts, sleeps, wakes or stops on the same GPU; one goes at a time.",
        "Wait; it is tried again when that one is done.",
    ),
    Reason.ENGINE_NEVER_READY: Explanation(
        "InferencePool, Stalled and status.engines",
        "An engine was not ready within spec.engine.startSeconds; it is replaced, with growing pauses.",
        "Read its log; correct image, args or weights, or raise startSeconds.",
    ),
    Reason.ENGINE_LOST: Explanation(
        _ENGINE, "An engine ended or stopped answering; it is replaced.", "Read its log where this repeats."
    ),
    Reason.GPU_LOST: Explanation(
        "InferencePool, status.engines; GPUNode, Ready",
        "A GPU fell off the bus; its engines are replaced elsewhere and nothing new goes there.",
        "Drain the node and reset or replace the GPU.",
    ),
    Reason.WAKE_FAILED: Explanation(
        _ENGINE,
        "A sleeper did not wake, or answered the wake with an error; it is replaced by a new engine.",
        "Read its log where this repeats.",
    ),
    Reason.SLOW_AGAIN: Explanation(
        _ENGINE,
        "An unused engine answered two rounds of probes slower than it has before, as one does that compiles again; it takes"
        " no requests until its probes are steady or have been tried often enough.",
        "Look for new shapes of requests, or for a GPU that is capped or throttled, where this repeats.",
    ),
    Reason.SLOWER_THAN_STEADY: Explanation(
        _ENGINE,
        "An engine answers probes slower than others of its revision on the same GPU product did; it serves all the same.",
        "See whether its GPU is capped, throttled or shared.",
    ),
    Reason.SLEEP_KEPT_MEMORY: Explanation(
        _ENGINE,
        "An engine says it sleeps but holds more GPU memory than memoryMiB.asleep; it stays charged for it.",
        "Raise memoryMiB.asleep to what is measured, or update the engine.",
    ),
    Reason.WOKEN: Explanation(_EVENT, "A sleeper was woken for requests or for replicas.min.", _NOTHING),
    Reason.PUT_TO_SLEEP: Explanation(
        _EVENT, "An unused replica was put to sleep after warm.idleSeconds.", _NOTHING
    ),
    Reason.STARTED: Explanation(_EVENT, "A new engine was started because no sleeper was left.", _NOTHING),
    Reason.SCALED: Explanation(
        _EVENT,
        "Queue, KV cache or time to first token ask for more replicas than requests in flight do; the message has the "
        "figures.",
        _NOTHING,
    ),
    Reason.AHEAD_OF_LOAD: Explanation(
        _EVENT, "A forecast wants replicas awake before their requests come.", _NOTHING
    ),
    Reason.REMOVED: Explanation(_EVENT, "An engine was removed; the message says why.", _NOTHING),
    Reason.MADE_ROOM: Explanation(
        _EVENT,
        "An engine of this pool did not fit, so others of at most its priority sleep or stop; the message names them.",
        _NOTHING,
    ),
    Reason.GAVE_WAY: Explanation(
        _EVENT,
        "An engine of this pool sleeps or stops because one of another pool needs the room; the message says which.",
        "Raise spec.priority, replicas.min or warm.asleep where that hurts, or add GPUs.",
    ),
    Reason.POD_REFUSED: Explanation(
        "InferencePool, Ready, Stalled and event",
        "The API server refuses the pool's pods: most often a ResourceQuota of the namespace, else an admission rule.",
        "Do what the message says; for a quota, raise requests.ingle.dev/gpu-memory-mib or ask for less.",
    ),
    Reason.POD_SECURITY: Explanation(
        "InferencePool, Ready, Stalled and event",
        "The namespace enforces a Pod Security level that the pool's pods do not keep.",
        "Change the field that the message names: most often the user, which spec.template.securityContext.runAsUser sets.",
    ),
    Reason.WITHIN_CAP: Explanation(
        "PowerBudget, Ready", "The enforced limits and the hosts' share add up to at most the cap.", _NOTHING
    ),
    Reason.LOWERING: Explanation(
        "PowerBudget, Ready and Reconciling",
        "The cap was cut; limits come down and are read back before capWatts falls.",
        "Wait; it takes seconds. Longer: see LimitsNotSet on the GPUNodes.",
    ),
    Reason.BELOW_MINIMUM_LIMITS: Explanation(
        "PowerBudget, Accepted and Stalled",
        "spec.watts is less than the hosts' share plus the least limits that the GPUs can enforce.",
        "Raise spec.watts to what the message names, or select fewer nodes.",
    ),
    Reason.NO_NODES_SELECTED: Explanation(
        "PowerBudget, Ready",
        "No node with GPUs has the labels of nodeSelector.",
        "Label nodes or change nodeSelector.",
    ),
    Reason.INVALID_EXPRESSION: Explanation(
        "RoutingPolicy, Accepted",
        "A CEL expression does not compile or is not a yes-or-no; the policy denies everybody.",
        "Correct the expression that the message names.",
    ),
    Reason.POOL_NOT_FOUND: Explanation(
        "RoutingPolicy, Accepted",
        "The fallback names a pool that this namespace does not have.",
        "Create the pool or change spec.fallback.pool.",
    ),
    Reason.CONFLICTED: Explanation(
        "RoutingPolicy, Accepted",
        "An older policy of the namespace decides about the same model; this one is not used for it.",
        "Take the model out of one of the two.",
    ),
    Reason.REPORTING: Explanation(
        "GPUNode, Ready", "The agent reads its GPUs and its stream is heard.", _NOTHING
    ),
    Reason.LEDGER_ADOPTED: Explanation(
        "GPUNode, Accepted",
        "The ledger was rebuilt from pods and measurement after it was missing.",
        _NOTHING,
    ),
    Reason.LIMITS_NOT_SET: Explanation(
        "GPUNode, Stalled",
        "The agent may not set power limits, its setter does not answer, or the driver refused; the cap cannot be promised"
        " for this node.",
        "Give agents the right to set limits (agent.setLimits of the chart), see why the container setter does not run, or"
        " take the node out of the budget.",
    ),
    Reason.AS_CLAIMED: Explanation(
        "GPUNode, Attached", "Every pod sits on the GPUs that it claims, as far as can be seen.", _NOTHING
    ),
    Reason.WRONG_GPU: Explanation(
        "GPUNode, Attached; event on the InferencePool",
        "A pod uses a GPU where it claims nothing, so that memory there can run out for others.",
        "Check the runtime class or CDI set-up of the node (INGLE_ATTACH), then delete the pod.",
    ),
    Reason.WRONG_ZONE: Explanation(
        "GPUNode, Attached; event on the InferencePool",
        "Less than half of a pod's host memory lies on the NUMA zone of its GPUs; sleep and wake are slower for it.",
        "Turn the launcher on (INGLE_LAUNCHER_IMAGE), or free memory on that zone and delete the pod.",
    ),
    Reason.HOLDER_PENDING: Explanation(
        "Event on the Node",
        "The holder pod of a managed node has no room: other pods use its GPUs.",
        "Drain those pods, or set the label ingle.dev/managed to the number of GPUs that are free.",
    ),
    Reason.HOLDER_REFUSED: Explanation(
        "Event on the Node",
        "The API server refuses the holder pod of a managed node; the message says why.",
        "Correct what the message names (quota, PriorityClass ingle-holder, an admission policy).",
    ),
    Reason.BAD_MANAGED_LABEL: Explanation(
        "Event on the Node",
        "The label ingle.dev/managed is neither true nor a number of GPUs; no holder pod is made or ended for it.",
        "Set it to true or to a number from 1, or remove it.",
    ),
    Reason.GPU_NOT_HELD: Explanation(
        "GPUNode, Attached; Event on the InferencePool",
        "An engine holds memory on a GPU that the kubelet gave to another pod, or that no holder pod of ours has any more."
        " The GPU takes no new claims and no wakes; the engine moves once it sleeps.",
        "Wait, or delete the engine's pod; or free the GPU and raise the label ingle.dev/managed.",
    ),
    Reason.KUBELET_SILENT: Explanation(
        "GPUNode, Attached (Unknown)",
        "The kubelet has not answered the agent for two minutes, or never: which GPUs our holder pods got is not known,"
        " so that none takes new claims.",
        "See that the agent's pod mounts the kubelet's folder pod-resources and that INGLE_POD_RESOURCES_SOCKET names"
        " the socket in it.",
    ),
    Reason.PROBED: Explanation(
        _ENGINE, "An engine answered our own test requests at its usual speed.", _NOTHING
    ),
    Reason.WANTED: Explanation(_ENGINE, "A sleeper is woken, for requests or for replicas.min.", _NOTHING),
    Reason.FOUND_ASLEEP: Explanation(
        _ENGINE,
        "An engine thought awake says it sleeps; it is charged as asleep and woken when wanted.",
        _NOTHING,
    ),
    Reason.SLEEP_FAILED: Explanation(
        _ENGINE, "An engine did not go to sleep; it is replaced.", "Read its log where this repeats."
    ),
    Reason.STOPPED: Explanation(_ENGINE, "An engine is ended because it is not wanted any more.", _NOTHING),
    Reason.NOT_MANAGED: Explanation(
        _EXPLAIN, "The node has no GPUs that Ingle manages.", "Run the agent on the node if it should."
    ),
    Reason.NODE_NOT_READY: Explanation(
        _EXPLAIN, "Kubernetes says the node is not ready.", "Look at its kubelet."
    ),
    Reason.CORDONED: Explanation(_EXPLAIN, "As NodeCordoned.", "Uncordon the node when it is well."),
    Reason.LEDGER_BEHIND: Explanation(
        _EXPLAIN,
        "An engine runs on the node without a claim in its ledger, which was lost or restored from a backup; nothing "
        "new is placed there until the operator has put the claim back.",
        "Nothing; where it lasts, look at the operator's log.",
    ),
    Reason.WRONG_PRODUCT: Explanation(
        _EXPLAIN,
        "As NoMatchingProduct: too few GPUs of the products that the variant names.",
        "Correct gpuProducts.",
    ),
    Reason.GPU_UNHEALTHY: Explanation(
        _EXPLAIN,
        "Too few GPUs of the node are healthy (see health in its GPUNode).",
        "Reset or replace the GPU.",
    ),
    Reason.NUMA_SPLIT: Explanation(
        _EXPLAIN,
        "The free GPUs do not share a NUMA zone, which placement.numa Required asks for.",
        "Wait, or set placement.numa to Preferred.",
    ),
    Reason.NVLINK_SPLIT: Explanation(
        _EXPLAIN,
        "The free GPUs are not linked by NVLink, which placement.nvlink Required asks for.",
        "Wait, or set placement.nvlink to Preferred.",
    ),
    Reason.OUTRANKED: Explanation(_EXPLAIN, "The node fits, another was better.", _NOTHING),
    Reason.FITS: Explanation(_EXPLAIN, "The node has room.", _NOTHING),
    Reason.NO_CLAIM: Explanation(
        _LEDGER,
        "A pod was to change state but holds nothing in the ledger.",
        "Nothing; it is reconciled again.",
    ),
    Reason.CACHE_MISS: Explanation(
        _EVENT,
        "An engine starts on a node whose disk lacks its weights or its compile cache, though another node has them, or"
        " a cache for another GPU or driver.",
        "Nothing for one; where many are told, keep drivers alike or copy to more nodes (docs/weights.md).",
    ),
    Reason.FETCHING: Explanation(
        _EVENT, "Weights of the pool are copied to a node's disk, in the background.", _NOTHING
    ),
    Reason.FETCH_FAILED: Explanation(
        _EVENT,
        "A copy of weights to a node's disk failed; it is tried again after a pause, and engines read the claim"
        " meanwhile.",
        "Do what the message says: it names the file, the claim or the room that is missing.",
    ),
    Reason.UNKNOWN_GPU: Explanation(
        _LEDGER,
        "A claim names a GPU that the node's ledger does not have.",
        "Check the GPU's health on that node.",
    ),
    Reason.UNKNOWN_ZONE: Explanation(
        _LEDGER,
        "A claim names a NUMA zone that the node's ledger does not have.",
        "Check the agent's numa status.",
    ),
    Reason.BELOW_CLAIMS: Explanation(
        _BUDGET,
        "A node's share is less than what its engines claim; nothing new starts there and limits come down.",
        "Raise the budget, or let engines sleep.",
    ),
    Reason.RAISING: Explanation(
        _BUDGET, "A node's share is raised after others were read back lower.", _NOTHING
    ),
    Reason.SILENT: Explanation(
        _BUDGET, "A node is not heard and is counted with the most it may draw.", "Look at its agent."
    ),
    Reason.NOT_ENFORCED: Explanation(
        "Agent's log and GPUNode", "A limit was set and the read-back differs.", "As LimitsNotSet."
    ),
}
