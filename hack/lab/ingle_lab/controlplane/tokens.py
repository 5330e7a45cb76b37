"""Service-account tokens by TokenRequest, as the kubelet gets them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ingle_lab.controlplane.rest import Rest

MIN_EXPIRATION_S = 600


def request_token(
    rest: Rest,
    namespace: str,
    name: str,
    *,
    bound_kind: str | None = None,
    bound_name: str | None = None,
    bound_uid: str | None = None,
    audiences: Sequence[str] = (),
    expiration_s: int = 3600,
) -> str:
    """A signed token of a service account that must exist.

    Bound to an object (`bound_kind` Pod, Node or Secret) it ends with that object; bound to a Pod or a Node it
    carries `authentication.kubernetes.io/node-name`. No audience means the API server's own. The server gives at
    least 600 s. Raises ControlPlaneError with the server's reason.
    """
    if (bound_kind is None) != (bound_name is None):
        raise ValueError("give bound_kind and bound_name together")
    if expiration_s < MIN_EXPIRATION_S:
        raise ValueError(f"expiration_s is {expiration_s}, the API server takes {MIN_EXPIRATION_S} or more")
    spec: dict[str, Any] = {"audiences": list(audiences), "expirationSeconds": expiration_s}
    if bound_kind is not None:
        bound = {"apiVersion": "v1", "kind": bound_kind, "name": bound_name}
        spec["boundObjectRef"] = {**bound, "uid": bound_uid} if bound_uid else bound
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
    answer = rest.json("POST", f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token", body)
    token: str = answer["status"]["token"]
    return token
