"""etcd, kube-apiserver, kube-controller-manager and kube-scheduler on this machine's loopback.

As in a cluster each has an account of its own, and RBAC says what it may do.
"""

from __future__ import annotations

import json
import secrets
import ssl
import subprocess
import urllib.request
from functools import partial
from typing import TYPE_CHECKING, Any, Self

from dev.cluster_binaries import cluster_binaries
from dev.free_ports import free_ports
from tests.cluster.api import Api
from tests.support.child_process import ChildProcess
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from pathlib import Path

HOST = "127.0.0.1"
READY_SECONDS = 120.0
STOP_SECONDS = 10.0
ADMIN, AGENT = "admin", "node-agent"
CONTROLLER_MANAGER, SCHEDULER = "system:kube-controller-manager", "system:kube-scheduler"
GROUPS = {ADMIN: "system:masters"}


class ControlPlane:
    """A context manager: running inside, with everything in one folder; nothing is left outside."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._daemons: dict[str, ChildProcess] = {}
        ports = free_ports(5)
        self._etcd_port, self._peer_port, self._api_port = ports[:3]
        self._manager_port, self._scheduler_port = ports[3:]
        self._tokens = {
            user: secrets.token_hex() for user in (ADMIN, AGENT, CONTROLLER_MANAGER, SCHEDULER)
        }

    def __enter__(self) -> Self:
        """Start everything, in order."""
        try:
            self._start()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Stop everything."""
        self._stop()

    @property
    def kubeconfig(self) -> Path:
        """How kubectl and Helm get in, as one who may do everything."""
        return self._kubeconfig(ADMIN)

    def api(self, user: str) -> Api:
        """Return the API server in the hands of a user."""
        server = f"https://{HOST}:{self._api_port}"
        return Api(server, self._tokens[user], self._authorities)

    def require_alive(self) -> None:
        """Complain if a part of it has ended."""
        for name, daemon in self._daemons.items():
            if daemon.exit_code is not None:
                raise AssertionError(f"{name} ended with {daemon.exit_code}:\n{daemon.tail()}")

    @property
    def _authorities(self) -> Path:
        return self._folder / "pki" / "apiserver.crt"

    def _start(self) -> None:
        programs = cluster_binaries()
        (self._folder / "pki").mkdir()
        self._write_accounts()
        self._start_daemon("etcd", programs.etcd, *self._etcd_flags())
        self._start_daemon("kube-apiserver", programs.apiserver, *self._api_flags())
        wait_until(self._serves_api, READY_SECONDS, what="the API server", poll_seconds=0.1)
        for name, program, user, port in (
            (
                "kube-controller-manager",
                programs.controller_manager,
                CONTROLLER_MANAGER,
                self._manager_port,
            ),
            ("kube-scheduler", programs.scheduler, SCHEDULER, self._scheduler_port),
        ):
            kubeconfig = self._kubeconfig(user)
            flags = [
                f"--kubeconfig={kubeconfig}",
                f"--authentication-kubeconfig={kubeconfig}",
                f"--authorization-kubeconfig={kubeconfig}",
                f"--bind-address={HOST}",
                f"--secure-port={port}",
                f"--cert-dir={self._folder / 'pki' / name}",
                "--leader-elect=false",
            ]
            if user == CONTROLLER_MANAGER:
                flags += [
                    "--use-service-account-credentials",
                    f"--service-account-private-key-file={self._folder / 'pki' / 'accounts.key'}",
                    f"--root-ca-file={self._authorities}",
                ]
            self._start_daemon(name, program, *flags)
        for port in (self._manager_port, self._scheduler_port):
            wait_until(partial(self._is_healthy, port), READY_SECONDS, what="its health")

    def _stop(self) -> None:
        """Stop the API server before etcd: without it, it takes its time to end."""
        for name in ("kube-scheduler", "kube-controller-manager", "kube-apiserver", "etcd"):
            daemon = self._daemons.pop(name, None)
            if daemon is not None:
                daemon.stop(STOP_SECONDS)

    def _start_daemon(self, name: str, program: Path, *flags: str) -> None:
        self._daemons[name] = ChildProcess([str(program), *flags], log=self._folder / f"{name}.log")

    def _write_accounts(self) -> None:
        rows = [
            f'{token},{user},{user},"{GROUPS.get(user, "")}"'
            for user, token in self._tokens.items()
        ]
        (self._folder / "pki" / "tokens.csv").write_text("\n".join(rows) + "\n")
        for user in self._tokens:
            self._kubeconfig(user).write_text(json.dumps(self._access(user)))
        key = self._folder / "pki" / "accounts.key"
        subprocess.run(
            ["openssl", "genrsa", "-out", str(key), "2048"], check=True, capture_output=True
        )

    def _kubeconfig(self, user: str) -> Path:
        return self._folder / f"{user.replace(':', '-')}.kubeconfig"

    def _access(self, user: str) -> dict[str, Any]:
        server = {
            "server": f"https://{HOST}:{self._api_port}",
            "certificate-authority": str(self._authorities),
        }
        return {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "test",
            "clusters": [{"name": "test", "cluster": server}],
            "users": [{"name": user, "user": {"token": self._tokens[user]}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": user}}],
        }

    def _etcd_flags(self) -> list[str]:
        clients = f"http://{HOST}:{self._etcd_port}"
        peers = f"http://{HOST}:{self._peer_port}"
        return [
            f"--data-dir={self._folder / 'etcd'}",
            f"--listen-client-urls={clients}",
            f"--advertise-client-urls={clients}",
            f"--listen-peer-urls={peers}",
            f"--initial-advertise-peer-urls={peers}",
            f"--initial-cluster=default={peers}",
        ]

    def _api_flags(self) -> list[str]:
        pki = self._folder / "pki"
        return [
            f"--etcd-servers=http://{HOST}:{self._etcd_port}",
            f"--bind-address={HOST}",
            f"--advertise-address={HOST}",
            f"--secure-port={self._api_port}",
            f"--cert-dir={pki}",
            f"--token-auth-file={pki / 'tokens.csv'}",
            "--authorization-mode=RBAC",
            f"--service-account-key-file={pki / 'accounts.key'}",
            f"--service-account-signing-key-file={pki / 'accounts.key'}",
            "--service-account-issuer=https://kubernetes.default.svc",
            "--service-cluster-ip-range=10.96.0.0/16",
            "--endpoint-reconciler-type=none",  # an address of the loopback cannot be an endpoint
        ]

    def _serves_api(self) -> bool:
        self.require_alive()
        return self._authorities.exists() and self.api(ADMIN).is_ready()

    def _is_healthy(self, port: int) -> bool:
        self.require_alive()
        context = ssl._create_unverified_context()  # noqa: S323, SLF001 - its certificate is its own
        try:
            with urllib.request.urlopen(f"https://{HOST}:{port}/healthz", context=context):
                return True
        except OSError:
            return False
