"""The configuration of the kube-scheduler that calls us."""

from __future__ import annotations

from typing import Any

import yaml

from ingle_extender.settings import Settings
from ingle_kit.names import RESOURCE_GPU_MEMORY, SCHEDULER_NAME


def scheduler_config(settings: Settings) -> dict[str, Any]:
    """A KubeSchedulerConfiguration: one profile that shows us every node, one extender that is never skipped."""
    connection = {"kubeconfig": settings.scheduler_kubeconfig} if settings.scheduler_kubeconfig else {}
    return {
        "apiVersion": "kubescheduler.config.k8s.io/v1",
        "kind": "KubeSchedulerConfiguration",
        "clientConnection": {**connection, "qps": 200, "burst": 400},
        "leaderElection": {
            "leaderElect": settings.scheduler_leader_elect,
            "resourceNamespace": settings.namespace,
            "resourceName": "ingle-scheduler",
            "leaseDuration": f"{settings.scheduler_lease_s:g}s",
            "renewDeadline": f"{settings.scheduler_lease_s * 2 / 3:g}s",
            "retryPeriod": f"{settings.scheduler_lease_s * 2 / 15:g}s",
        },
        "percentageOfNodesToScore": 100,
        "podInitialBackoffSeconds": 1,
        "podMaxBackoffSeconds": settings.scheduler_backoff_max_s,
        "profiles": [
            {
                "schedulerName": SCHEDULER_NAME,
                "percentageOfNodesToScore": 100,
                "plugins": {"postFilter": {"disabled": [{"name": "DefaultPreemption"}]}},
            }
        ],
        "extenders": [
            {
                "urlPrefix": settings.url,
                "filterVerb": "filter",
                "bindVerb": "bind",
                "nodeCacheCapable": True,
                "ignorable": False,
                "httpTimeout": "10s",
                "managedResources": [{"name": RESOURCE_GPU_MEMORY, "ignoredByScheduler": True}],
            }
        ],
    }


def scheduler_config_yaml(settings: Settings) -> str:
    """The same as YAML, for `kube-scheduler --config`."""
    text: str = yaml.safe_dump(scheduler_config(settings), sort_keys=False)
    return text
