"""One Prometheus process on loopback, over a folder of its own."""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

from ingle_lab.controlplane.errors import ControlPlaneError
from ingle_lab.controlplane.processes import spawn
from ingle_lab.prometheus.package import programs, promtool_path

READY_S = 30.0
ADDRESS = "127.0.0.1"


def backfill(data: Path, openmetrics: Iterable[str]) -> None:
    """Writes samples with times of the past into a data folder, before a server runs on it.

    `openmetrics`: lines `name{labels} value unix_seconds` in order of time, with their `# TYPE`; the end is added.
    """
    source = data.with_suffix(".openmetrics")
    source.write_text("\n".join([*openmetrics, "# EOF", ""]))
    words = ["tsdb", "create-blocks-from", "openmetrics", "--quiet", str(source), str(data)]
    command = [str(promtool_path()), *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode:
        raise ControlPlaneError(f"promtool could not write the samples: {done.stdout}{done.stderr}")
    source.unlink()


class Prometheus:
    """Runs while it is entered. `url` is its address; it scrapes `targets` (host:port) every `scrape_s`."""

    def __init__(self, folder: Path, targets: Iterable[str] = (), scrape_s: int = 1) -> None:
        self.data = folder / "data"
        self._folder, self._targets, self._scrape_s = folder, list(targets), scrape_s
        self._port = _free_port()
        self.url = f"http://{ADDRESS}:{self._port}"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        config = self._folder / "prometheus.yaml"
        scrape = {"job_name": "lab", "static_configs": [{"targets": self._targets}]}
        every = {"scrape_interval": f"{self._scrape_s}s", "scrape_timeout": f"{self._scrape_s}s"}
        config.write_text(json.dumps({"global": every, "scrape_configs": [scrape]}))
        command = [
            str(programs() / "prometheus"),
            f"--config.file={config}",
            f"--storage.tsdb.path={self.data}",
            "--storage.tsdb.retention.time=30d",
            f"--web.listen-address={ADDRESS}:{self._port}",
        ]
        log = self._folder / "prometheus.log"
        self._process = spawn(command, log, detached=False)
        until_s = time.monotonic() + READY_S
        while not self._ready():
            if self._process.poll() is not None or time.monotonic() > until_s:
                self.stop()
                raise ControlPlaneError(f"Prometheus does not come up: {log.read_text()[-2000:]}")
            time.sleep(0.05)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _ready(self) -> bool:
        connection = http.client.HTTPConnection(ADDRESS, self._port, timeout=1)
        try:
            connection.request("GET", "/-/ready")
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((ADDRESS, 0))
        port: int = probe.getsockname()[1]
        return port
