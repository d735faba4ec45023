"""The volumes of a pod as folders of this machine, and the paths that lead into them.

A process has no file system of its own here. So what its environment says of a mounted path is said
of the folder instead: SASL_PASSWORD_FILE=/etc/…/password names the real file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.cluster.pod_environment import Unsupported, data_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tests.cluster.api import Object
    from tests.cluster.pod_environment import Lookup

TEMPORARY = "/tmp"  # noqa: S108 - the path in the pod, not here
KINDS = {"configMap": "configmaps", "secret": "secrets"}


def make_volumes(pod: Object, folder: Path, lookup: Lookup) -> None:
    """Write each volume into a folder of its name, with the modes that the spec asks for."""
    for volume in pod["spec"].get("volumes", []):
        target = folder / volume["name"]
        target.mkdir(parents=True)
        kinds = set(volume) - {"name"}
        if kinds == {"emptyDir"}:
            continue
        if kinds == {"projected"}:
            mode = volume["projected"].get("defaultMode", 0o644)
            for source in volume["projected"]["sources"]:
                _write(source, target, mode, lookup)
        elif kinds <= set(KINDS):
            (kind,) = kinds
            named = {"name": volume[kind].get("secretName") or volume[kind].get("name")}
            _write({kind: {**volume[kind], **named}}, target, 0o644, lookup)
        else:
            raise Unsupported(f"a volume of {kinds}")


def with_real_paths(
    environment: Mapping[str, str], container: Object, folder: Path
) -> dict[str, str]:
    """Return the environment with each mounted path replaced by the folder behind it."""
    mounts = {it["mountPath"]: folder / it["name"] for it in container.get("volumeMounts", [])}
    found = {}
    for name, value in environment.items():
        at = next((path for path in mounts if f"{value}/".startswith(f"{path}/")), None)
        found[name] = value if at is None else f"{mounts[at]}{value.removeprefix(at)}"
    if TEMPORARY in mounts:
        found["TMPDIR"] = str(mounts[TEMPORARY])
    return found


def _write(source: Object, target: Path, mode: int, lookup: Lookup) -> None:
    (kind,) = source
    if kind not in KINDS:
        raise Unsupported(f"a volume with {kind}")
    data = data_of(lookup(KINDS[kind], source[kind]["name"]))
    items = source[kind].get("items") or [{"key": key, "path": key} for key in data]
    for item in items:
        path = target / item["path"]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data[item["key"]])
        path.chmod(item.get("mode", mode))
