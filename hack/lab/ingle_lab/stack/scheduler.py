"""Stands for the kube-scheduler image: writes its configuration as an init container would, then becomes the binary.

In a cluster kube-scheduler finds its service account at the usual path; here the path is another, so a kubeconfig
names it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import yaml


def main() -> None:
    binary = sys.argv[1]
    account = Path(os.environ["INGLE_SERVICE_ACCOUNT_DIR"])
    kubeconfig = Path("scheduler.kubeconfig").absolute()
    server = f"https://{os.environ['KUBERNETES_SERVICE_HOST']}:{os.environ['KUBERNETES_SERVICE_PORT']}"
    kubeconfig.write_text(
        yaml.safe_dump(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [
                    {
                        "name": "lab",
                        "cluster": {"server": server, "certificate-authority": str(account / "ca.crt")},
                    }
                ],
                "users": [{"name": "pod", "user": {"tokenFile": str(account / "token")}}],
                "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": "pod"}}],
                "current-context": "lab",
            }
        )
    )
    config = Path("scheduler.yaml").absolute()
    environment = os.environ | {"INGLE_SCHEDULER_KUBECONFIG": str(kubeconfig)}
    command = [str(Path(sys.executable).with_name("ingle-extender")), "scheduler-config"]
    config.write_bytes(subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True).stdout)
    os.execv(binary, [binary, f"--config={config}", "--secure-port=0", "-v=1"])


if __name__ == "__main__":
    main()
