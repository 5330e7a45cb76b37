"""Settings of the router, from the environment with the prefix INGLE_."""

from __future__ import annotations

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from ingle_kit import names


class Settings(BaseSettings):
    """Each value is one environment variable, e.g. `listen` is INGLE_LISTEN. Times are in seconds."""

    model_config = SettingsConfigDict(env_prefix="INGLE_")

    kubeconfig: str | None = Field(
        None, description="Path of a kubeconfig; absent: the pod's service account."
    )
    pod_name: str = Field("router", description="Name under which this router reports demand.")
    pod_ip: str = Field("", description="Address of this pod; the listen address unless INGLE_LISTEN is set.")
    listen: str = Field("", description="Address on which every port is opened. Empty: INGLE_POD_IP.")
    namespace: str = Field("", description="Watch only this namespace. Empty: all.")

    gateway_listen: str = Field("", description="Address of Envoy's listener for clients. Empty: as listen.")
    envoy_admin: str = Field(
        "",
        description="Unix socket of Envoy's admin interface, for `ingle-router leave`. Empty: it has none.",
    )
    port_gateway: int = Field(names.PORT_GATEWAY, description="Envoy: clients.")
    port_gateway_internal: int = Field(
        names.PORT_GATEWAY_INTERNAL, description="Envoy: from the waiting room."
    )
    port_picker: int = Field(names.PORT_PICKER, description="Endpoint picker (gRPC ext_proc).")
    port_picker_health: int = Field(names.PORT_PICKER_HEALTH, description="gRPC health.")
    port_http: int = Field(names.PORT_ROUTER, description="/v1/demand, /metrics, /healthz.")
    port_waiting_room: int = Field(names.PORT_WAITING_ROOM, description="Waiting room, called by Envoy only.")

    body_bytes_max: int = Field(
        8 * 1024 * 1024, description="Largest request body; beyond it Envoy answers 413."
    )
    waiting_bytes_max: int = Field(
        512 * 1024 * 1024, description="Bodies held in the waiting room, together."
    )
    waiting_max: int = Field(10_000, description="Requests held in the waiting room, all pools together.")
    released_max: int = Field(
        32, gt=0, description="Held requests that go on at once, for each awake engine of their pool."
    )
    released_s: float = Field(
        0.5, gt=0, description="After so long the next one goes on although none of them is answered."
    )
    again_s: float = Field(0.25, gt=0, description="Pause before a held request is tried again after a 503.")
    stream_idle_s: int = Field(
        3900, gt=0, description="A response that is silent for longer is cut. Above the pools' hold.seconds."
    )
    connect_s: float = Field(2.0, gt=0, description="Time to connect to an engine.")
    drain_s: float = Field(30.0, ge=0, description="After SIGTERM, time to let open requests end.")

    audience: str = Field(names.AUDIENCE, description="Audience that a caller's token must have.")
    token_known_s: float = Field(10.0, ge=0, le=10, description="A good token is believed so long.")
    token_unknown_s: float = Field(2.0, ge=0, le=2, description="A bad token is refused unasked so long.")
    token_cache_max: int = Field(10_000, gt=0, description="Tokens remembered.")
    token_reviews_max: int = Field(256, gt=0, description="Token reviews waiting for the API server at once.")

    gauge_period_s: float = Field(5.0, gt=0, description="How often each awake engine's sleep gauge is read.")
    gauge_timeout_s: float = Field(2.0, gt=0, description="Time for one reading of a gauge.")
    demand_period_s: float = Field(1.0, gt=0, description="Longest silence on the demand stream.")
    demand_readers_max: int = Field(32, gt=0, description="Subscribers of the demand stream.")
    conformance: bool = Field(
        False, description="Honour the test headers of the Gateway API inference conformance suite."
    )

    @model_validator(mode="after")
    def _addresses(self) -> Settings:
        self.listen = self.listen or self.pod_ip
        if not self.listen:
            raise ValueError("no address to listen on: set INGLE_LISTEN or INGLE_POD_IP")
        self.gateway_listen = self.gateway_listen or self.listen
        return self
