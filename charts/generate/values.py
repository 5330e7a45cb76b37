"""The chart's values: names, defaults and what they mean."""

from __future__ import annotations

from typing import Annotated, Literal

from charts.generate.parts import (
    Annotations,
    Cidr,
    Image,
    LabelKey,
    Labels,
    Name,
    OptionalName,
    Part,
    Resources,
    Settings,
    Toleration,
    Where,
    sized,
)
from pydantic import Field, StringConstraints

Seconds = Annotated[str, StringConstraints(pattern=r"^[1-9][0-9]*(s|m)$")]
HostPath = Annotated[str, StringConstraints(pattern=r"^/[-A-Za-z0-9_.]+(/[-A-Za-z0-9_.]+)*$")]


class Images(Part):
    registry: Annotated[
        str, StringConstraints(pattern=r"^[a-zA-Z0-9][-a-zA-Z0-9.]*(:[0-9]+)?(/[-a-z0-9._]+)*$|^$")
    ] = Field(
        "",
        description="Takes the place of the registry in every repository below, for mirrors. Empty: as they say.",
    )
    pull_policy: Literal["Always", "IfNotPresent", "Never"] = Field(
        "IfNotPresent", description="When images are pulled."
    )
    pull_secrets: list[Name] = Field([], description="Names of pull secrets in ingle-system.")
    ingle: Image = Field(
        Image(repository="ingle.dev/ingle"),
        description="All of our processes. Tag empty: the chart's appVersion.",
    )
    envoy: Image = Field(
        Image(repository="docker.io/envoyproxy/envoy", tag="v1.40.0"), description="Envoy of the gateway."
    )
    kube_scheduler: Image = Field(
        Image(repository="registry.k8s.io/kube-scheduler"),
        description="Our own kube-scheduler, which must not be newer than the API server. Tag empty: the cluster's"
        " version.",
    )
    holder: Image = Field(
        Image(repository="registry.k8s.io/pause", tag="3.10"), description="Holder pods of managed nodes."
    )


class Gpus(Part):
    attach: Literal["RuntimeClassEnv", "CDI"] = Field(
        "RuntimeClassEnv", description="How GPUs come into the containers of engines and agents."
    )
    runtime_class_name: OptionalName = Field(
        "nvidia", description="RuntimeClass of engines and agents; it must exist. Empty: the node's default."
    )
    keep_engines_on_zone: bool = Field(
        False,
        description="Start vLLM engines by our launcher, which keeps them on the NUMA zone of their GPUs.",
    )
    node_cache: bool = Field(
        False,
        description="Keep compile caches and copies of weights in agent.hostDirectory of each node. Engines and copiers"
        " get hostPath volumes there, so the pools' namespaces must allow Pod Security `privileged`.",
    )


class Pools(Part):
    namespaces: Annotated[list[Name], Field(json_schema_extra={"uniqueItems": True})] = Field(
        [],
        description="Existing namespaces with pools: in each, engines are closed to all but our gateway and operator.",
    )


class Operator(Where):
    replicas: int = Field(2, ge=1, le=5, description="One leads, the others stand by.")
    resources: Resources = Field(sized("20m", "256Mi", "1Gi"), description="Of its container.")
    settings: Settings = Field({}, description="Settings of the operator, below.")


class Scheduler(Where):
    replicas: int = Field(
        2, ge=1, le=3, description="One leads. At most 3: the role ingle-view-scheduler names them."
    )
    resources: Resources = Field(sized("20m", "256Mi", "1Gi"), description="Of the extender's container.")
    kube_scheduler_resources: Resources = Field(
        sized("20m", "128Mi", "1Gi"), description="Of kube-scheduler's container."
    )
    settings: Settings = Field({}, description="Settings of the extender, below.")


class Service(Part):
    type: Literal["ClusterIP", "NodePort", "LoadBalancer"] = Field(
        "ClusterIP", description="Kind of Service."
    )
    port: int = Field(80, ge=1, le=65535, description="Port for clients, plain HTTP.")
    annotations: Annotations = Field({}, description="Annotations, for load balancers.")


class Gateway(Where):
    replicas: int = Field(2, ge=1, le=100, description="Pods with Envoy and the router.")
    service: Service = Field(Service(), description="What clients talk to.")
    drain_seconds: int = Field(
        60,
        ge=5,
        le=3600,
        description="A gateway that is asked to end serves on for so long, and asks clients to open new connections;"
        " what has not ended then is cut. Twice the longest answer is right for clients that keep connections. Not"
        " below the pools' hold.seconds.",
    )
    envoy_concurrency: int = Field(2, ge=1, le=256, description="Worker threads of Envoy.")
    resources: Resources = Field(sized("100m", "256Mi", "2Gi"), description="Of the router's container.")
    envoy_resources: Resources = Field(sized("100m", "128Mi", "2Gi"), description="Of Envoy's container.")
    settings: Settings = Field({}, description="Settings of the router, below.")


class Agent(Part):
    node_selector: Labels = Field(
        {},
        description="Labels of the nodes with GPUs that Ingle sees. Empty: nvidia.com/gpu.present=true, which NVIDIA's"
        " feature discovery sets.",
    )
    tolerations: list[Toleration] = Field(
        [Toleration(operator="Exists")], description="Taints that it bears."
    )
    priority_class_name: OptionalName = Field(
        "system-node-critical", description="Priority class. Empty: the cluster's default."
    )
    set_limits: bool = Field(
        False,
        description="Let agents set the GPUs' power limits, without which a PowerBudget cannot be kept. That needs root and"
        " the capability SYS_ADMIN.",
    )
    split: bool = Field(
        True,
        description="With setLimits: a container of its own sets limits, with that capability and without a token; the"
        " one with the token has no capability for it. False: one process for both, about 36 MiB a node less.",
    )
    check_zones: bool = Field(
        False,
        description="Let agents look at where engines' memory lies. They run as root with the capability SYS_PTRACE then.",
    )
    pod_resources: bool = Field(
        False,
        description="Let agents ask the kubelet which GPUs holder pods got. They run as root then: the socket is root's.",
    )
    host_directory: HostPath = Field(
        "/var/lib/ingle",
        description="Folder of the node with the inventory of weights and compile caches, and the limits to give back.",
    )
    max_unavailable: Annotated[str, StringConstraints(pattern=r"^([1-9][0-9]?|100)%$")] = Field(
        "10%", description="Agents that an upgrade replaces at once."
    )
    resources: Resources = Field(sized("20m", "128Mi", "512Mi"), description="Of its container.")
    setter_resources: Resources = Field(
        sized("5m", "48Mi", "128Mi"), description="Of the container that sets limits, where there is one."
    )
    settings: Settings = Field({}, description="Settings of the agent, below.")


class NetworkPolicy(Part):
    enabled: bool = Field(True, description="Close every port to all but those who need it.")
    clients: list[Cidr] = Field([], description="Who may call the gateway, as CIDRs. Empty: everybody.")
    api_servers: list[Cidr] = Field(
        [],
        description="Addresses of the API servers, as CIDRs, to let `ingle explain` and `whatif` ask the scheduler."
        " Empty: it answers from objects alone.",
    )


class ServiceMonitor(Part):
    enabled: bool = Field(False, description="ServiceMonitor for all of our processes, with its Service.")
    interval: Seconds = Field("15s", description="How often Prometheus reads.")
    labels: Labels = Field({}, description="Labels that Prometheus selects by.")


class PrometheusRule(Part):
    enabled: bool = Field(False, description="Alerts and recorded rates.")
    labels: Labels = Field({}, description="Labels that Prometheus selects by.")


class Dashboard(Part):
    enabled: bool = Field(False, description="ConfigMap with a dashboard for Grafana.")
    label: LabelKey = Field("grafana_dashboard", description="Label that Grafana's side car looks for.")


class Monitoring(Part):
    namespace: OptionalName = Field(
        "",
        description="Namespace of Prometheus, which may read metrics. Needed with serviceMonitor and networkPolicy.",
    )
    service_monitor: ServiceMonitor = Field(ServiceMonitor(), description="For the Prometheus operator.")
    prometheus_rule: PrometheusRule = Field(PrometheusRule(), description="For the Prometheus operator.")
    dashboard: Dashboard = Field(Dashboard(), description="For Grafana.")


class Crds(Part):
    install: bool = Field(
        True,
        description="Install and upgrade our kinds with the chart. An uninstall leaves them and their objects.",
    )


class PodDisruptionBudgets(Part):
    enabled: bool = Field(True, description="At most one pod of each Deployment is evicted at a time.")


class Values(Part):
    """The whole of values.yaml."""

    global_: Settings = Field({}, alias="global", description="Not read; a chart around this one may set it.")
    images: Images = Field(Images(), description="Images. A digest goes before a tag.")
    crds: Crds = Field(Crds(), description="Kinds of objects.")
    gpus: Gpus = Field(Gpus(), description="How containers get GPUs.")
    pools: Pools = Field(Pools(), description="Where models are served.")
    operator: Operator = Field(Operator(), description="Makes engines, puts them to sleep and wakes them.")
    scheduler: Scheduler = Field(
        Scheduler(), description="kube-scheduler with our extender, for engines only."
    )
    gateway: Gateway = Field(Gateway(), description="Envoy with our router.")
    agent: Agent = Field(Agent(), description="One on each node with GPUs.")
    network_policy: NetworkPolicy = Field(NetworkPolicy(), description="Who may talk to whom.")
    pod_disruption_budgets: PodDisruptionBudgets = Field(
        PodDisruptionBudgets(), description="Limits of voluntary evictions."
    )
    monitoring: Monitoring = Field(Monitoring(), description="Prometheus and Grafana.")
