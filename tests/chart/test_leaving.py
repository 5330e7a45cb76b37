"""A gateway that is to end asks clients to go, by a socket that only its own pod has."""

from __future__ import annotations

from typing import Any

import pytest

from ingle_router.envoy import bootstrap
from ingle_router.settings import Settings


def test_the_router_tells_envoy_by_a_folder_that_both_have(
    helm: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    pod = helm.render({}).workloads["gateway"]["spec"]["template"]["spec"]
    made = {c["name"]: c for c in [*pod["initContainers"], *pod["containers"]]}
    assert made["router"]["lifecycle"]["preStop"]["exec"]["command"] == ["ingle-router", "leave"]
    for name in ("envoy-config", "router"):
        variable = next(one for one in made[name]["env"] if one["name"] == "INGLE_ENVOY_ADMIN")
        monkeypatch.setenv(variable["name"], variable["value"])
    path = Settings(listen="192.0.2.1").envoy_admin
    assert bootstrap(Settings(listen="192.0.2.1"))["admin"]["address"]["pipe"]["path"] == path
    router, envoy = (
        next(m for m in made[name]["volumeMounts"] if path.startswith(f"{m['mountPath']}/"))
        for name in ("router", "envoy")
    )
    assert router == envoy
    assert "emptyDir" in next(v for v in pod["volumes"] if v["name"] == router["name"])
