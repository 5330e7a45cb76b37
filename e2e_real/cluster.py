"""The cluster on the real node as a person uses it: kubectl, helm, requests to the gateway."""

from __future__ import annotations

import asyncio
import copy
import json
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import aiohttp

from ingle_lab.checks import wrong_claims
from ingle_lab.demo.clients import Answer, Client

Object = dict[str, Any]
Found = TypeVar("Found")
ROOT = Path(__file__).parents[1]
CHART = ROOT / "charts" / "ingle"
SYSTEM = "ingle-system"
LIMIT_S = 120.0


@dataclass(frozen=True)
class Installed:
    """Helm's values, the gateway's URL, seconds from `helm install` to the first answer, and when that was."""

    values: Object
    gateway: str
    took_s: float
    at_s: float


def first_pool() -> Object:
    """A pool with one engine awake; the stand-in's quickest model."""
    memory = {"awake": 12000, "asleep": 1200, "host": 1000, "kvCache": 8000}
    return {
        "apiVersion": "ingle.dev/v1alpha1",
        "kind": "InferencePool",
        "metadata": {"name": "first", "namespace": "chat"},
        "spec": {
            "model": "first/quick",
            "aliases": ["first"],
            "engine": {"kind": "VLLM", "image": "vllm/vllm-openai:v0.14.0", "startSeconds": 60},
            "variants": [
                {"name": "only", "gpus": 1, "memoryMiB": memory, "watts": {"busy": 300, "idle": 60}}
            ],
            "replicas": {"min": 1, "max": 1},
            "warm": {"asleep": 1, "idleSeconds": 600},
            "hold": {"seconds": 60, "heartbeatSeconds": 1, "waiting": 100},
        },
    }


def wanted(objects: list[Object]) -> dict[str, Object]:
    """What somebody asked for, by name: all but status and the API server's own bookkeeping."""
    found: dict[str, Object] = {}
    for obj in copy.deepcopy(objects):
        obj.pop("status", None)
        metadata = obj["metadata"]
        for name in ("resourceVersion", "managedFields"):
            metadata.pop(name, None)
        found[f"{obj['kind']} {metadata.get('namespace', '')}/{metadata['name']}"] = obj
    return found


class Cluster:
    """As administrator. Use it from the node's network."""

    def __init__(self, kubectl: Path, helm: Path, kubeconfig: Path) -> None:
        self._kubectl, self._helm, self._kubeconfig = str(kubectl), str(helm), str(kubeconfig)
        self._tokens: dict[str, str] = {}

    def try_kubectl(self, *words: str, text: str | None = None) -> subprocess.CompletedProcess[str]:
        command = [self._kubectl, "--kubeconfig", self._kubeconfig, *words]
        return subprocess.run(
            command, input=text, capture_output=True, text=True, check=False, timeout=LIMIT_S
        )

    def kubectl(self, *words: str, text: str | None = None) -> str:
        """Its output. Fails the test when it fails."""
        done = self.try_kubectl(*words, text=text)
        assert done.returncode == 0, f"kubectl {' '.join(words)}: {done.stderr}"
        return done.stdout

    def apply(self, obj: Object) -> str:
        return self.kubectl("apply", "--server-side", "-f", "-", text=json.dumps(obj))

    def get(self, *words: str) -> Any:
        return json.loads(self.kubectl("get", *words, "-o", "json"))

    def items(self, *words: str) -> list[Object]:
        found: list[Object] = self.get(*words)["items"]
        return found

    def helm(self, verb: str, *words: str, values: Object | None = None, chart: Path = CHART) -> str:
        """A command about our release; with `values`, on the chart."""
        command = [self._helm, "--kubeconfig", self._kubeconfig, verb, "ingle", *words, "--namespace", SYSTEM]
        command += [str(chart), "--values", "-"] if values is not None else []
        text = json.dumps(values or {})
        done = subprocess.run(
            command, input=text, capture_output=True, text=True, check=False, timeout=LIMIT_S
        )
        assert done.returncode == 0, f"helm {verb}: {done.stderr}"
        return done.stdout

    def release(self) -> list[Object]:
        """The release's objects as the API server has them."""
        text = self._plain_manifest()
        found: list[Object] = json.loads(
            self.kubectl("get", "--show-managed-fields", "-o", "json", "-f", "-", text=text)
        )["items"]
        return found

    def drift(self) -> list[str]:
        """Objects in which a re-apply of the release by server-side apply would change a field."""
        words = ("apply", "--server-side", "--dry-run=server", "--field-manager=drift", "--force-conflicts")
        applied = json.loads(self.kubectl(*words, "-o", "json", "-f", "-", text=self._plain_manifest()))
        before, after = wanted(self.release()), wanted(applied["items"])
        return [name for name in before | after if before.get(name) != after.get(name)]

    def _plain_manifest(self) -> str:
        command = [self._helm, "--kubeconfig", self._kubeconfig, "get", "manifest", "ingle", "-n", SYSTEM]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=LIMIT_S).stdout

    def token(self, account: str = "default", namespace: str = "chat") -> str:
        key = f"{namespace}/{account}"
        if key not in self._tokens:
            words = ("-n", namespace, "create", "token", account, "--audience", "ingle.dev")
            self._tokens[key] = self.kubectl(*words).strip()
        return self._tokens[key]

    def forget_tokens(self) -> None:
        """After their accounts went with a namespace; one made anew under the same name has others."""
        self._tokens.clear()

    def gateway(self) -> str:
        service = self.try_kubectl(
            "-n", SYSTEM, "get", "service", "ingle-gateway", "-o", "jsonpath={.spec.clusterIP}"
        )
        return f"http://{service.stdout}" if service.returncode == 0 else ""

    def ask(self, model: str, tokens: int = 8, url: str = "") -> Answer:
        """One streaming request through the gateway's Service."""

        async def one() -> Answer:
            async with aiohttp.ClientSession() as session:
                return await Client(session, url or self.gateway(), self.token()).ask(model, tokens=tokens)

        return asyncio.run(one())

    def answering(self, model: str) -> str:
        """The gateway's URL when the model answers there."""
        url = self.gateway()
        return url if url and self.ask(model, url=url).good else ""

    def disagreements(self) -> list[str]:
        """Where engines and ledgers do not fit together; empty when they do and every engine is ready."""
        pods = self.items("pods", "-n", "chat", "-l", "ingle.dev/pool")
        nodes = self.items("gpunodes")
        wrong = wrong_claims(nodes, pods)
        states = {pod["uid"]: pod["state"] for node in nodes for pod in node["spec"].get("pods") or ()}
        for pod in pods:
            name, uid = pod["metadata"]["name"], pod["metadata"]["uid"]
            if pod["status"].get("phase") != "Running" or states.get(uid) not in ("Awake", "Asleep"):
                wrong.append(f"{name}: {pod['status'].get('phase')}, in the ledger {states.get(uid)}")
        return wrong if pods else ["no engine"]

    def own_pods_ready(self) -> bool:
        pods = self.items("pods", "-n", SYSTEM)
        return bool(pods) and all(
            "deletionTimestamp" not in pod["metadata"]
            and any(
                c["type"] == "Ready" and c["status"] == "True" for c in pod["status"].get("conditions", ())
            )
            for pod in pods
        )

    def rolled_out(self) -> None:
        """Returns when every workload is as it was last asked to be."""
        for name in (
            "deployment/ingle-operator",
            "deployment/ingle-gateway",
            "statefulset/ingle-scheduler",
            "daemonset/ingle-agent",
        ):
            self.kubectl("-n", SYSTEM, "rollout", "status", name, "--timeout=110s")
        self.until("old pods to go", self.own_pods_ready, 60)

    def until(self, what: str, check: Callable[[], Found], timeout_s: float) -> Found:
        """The first true answer of `check`. Fails the test after `timeout_s`."""
        deadline_s = time.monotonic() + timeout_s
        while not (found := check()):
            assert time.monotonic() < deadline_s, f"waited {timeout_s:.0f} s for {what}"
            time.sleep(0.2)
        return found

    def picture(self) -> str:
        words = (
            ("get", "pods", "-A", "-o", "wide"),
            ("get", "inferencepools,gpunodes", "-A"),
            ("get", "events", "-A", "--field-selector", "type=Warning"),
        )
        return "\n".join(self.try_kubectl(*one).stdout for one in words)


@dataclass
class Traffic:
    """Streams through the gateway, one begun every `apart_s` until it is left, each on a connection of its own; `kept`: on
    any that an earlier one left open. Nothing is ever sent twice.
    """

    url: str
    token: str
    model: str = "first"
    tokens: int = 200
    apart_s: float = 0.25
    kept: bool = False
    answers: list[Answer] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def __enter__(self) -> Traffic:
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        assert self._thread is not None
        self._thread.join(60)

    @property
    def failed(self) -> list[Answer]:
        return [answer for answer in self.answers if not answer.good]

    async def _run(self) -> None:
        tasks: set[asyncio.Task[None]] = set()
        connector = aiohttp.TCPConnector(limit=0, force_close=not self.kept)
        async with aiohttp.ClientSession(connector=connector) as session:
            client = Client(session, self.url, self.token)
            while not self._stop.is_set():
                task = asyncio.create_task(self._one(client))
                tasks.add(task)
                task.add_done_callback(tasks.discard)
                await asyncio.sleep(self.apart_s)
            await asyncio.gather(*tasks)

    async def _one(self, client: Client) -> None:
        self.answers.append(await client.ask(self.model, tokens=self.tokens))
