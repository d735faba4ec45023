"""The lists of Tinker and Fireworks, made from the jobs and checkpoints of `ProviderServer`.

Tinker: pages by `limit` and `offset` with a cursor that counts, no status of a run, all checkpoints
of a run in one answer. Fireworks: pages by `pageSize` and `pageToken`, oldest first, full names.
"""

from __future__ import annotations

import base64
import datetime as dt
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

TINKER_LIMIT = 20
FIREWORKS_PAGE = 50
ACCOUNT = "accounts/acme"
DAY_SECONDS = 86_400
Document = dict[str, Any]


def tinker_runs(jobs: list[Document], query: Mapping[str, str]) -> Document:
    """Return a page of training runs, newest first."""
    limit, offset = int(query.get("limit", TINKER_LIMIT)), int(query.get("offset", 0))
    shown = jobs[::-1][offset : offset + limit]
    return {
        "training_runs": [_tinker_run(job) for job in shown],
        "cursor": {"offset": offset, "limit": limit, "total_count": len(jobs)},
    }


def tinker_checkpoints(run: str, documents: Iterable[Document]) -> Document:
    """Return all checkpoints of a run: one for training and one for sampling at each step."""
    return {
        "checkpoints": [
            {
                "checkpoint_id": f"{kind}/{document['step_number']:06}",
                "checkpoint_type": "training" if kind == "weights" else "sampler",
                "time": _text(document["created_at"]),
                "tinker_path": f"tinker://{run}/{kind}/{document['step_number']:06}",
                "size_bytes": 1000,
                "public": False,
                "expires_at": _text(document["created_at"] + DAY_SECONDS)
                if kind == "weights"
                else None,
            }
            for document in documents
            for kind in ("weights", "sampler_weights")
        ],
        "cursor": None,
    }


def fireworks_jobs(jobs: list[Document], query: Mapping[str, str]) -> Document:
    """Return a page of trainer jobs, by their names."""
    rows = [
        {
            "name": f"{ACCOUNT}/rlorTrainerJobs/{job['id']}",
            "createTime": _text(job["created_at"]),
            "completedTime": None,
            "state": "JOB_STATE_RUNNING" if job["status"] == "running" else "JOB_STATE_COMPLETED",
            "trainingConfig": {"baseModel": "accounts/fireworks/models/qwen3-8b"},
        }
        for job in sorted(jobs, key=lambda job: str(job["id"]))
    ]
    return _fireworks_page("rlorTrainerJobs", rows, query)


def fireworks_checkpoints(
    job: str, documents: Iterable[Document], query: Mapping[str, str]
) -> Document:
    """Return a page of checkpoints: of each step one that is promotable, and one that is not."""
    rows = [
        {
            "name": f"{ACCOUNT}/rlorTrainerJobs/{job}/checkpoints/{name}",
            "createTime": _text(document["created_at"]),
            "updateTime": _text(int(time.time())),
            "checkpointType": f"CHECKPOINT_TYPE_{kind}",
            "promotable": kind == "INFERENCE_LORA",
        }
        for document in documents
        for kind, name in (
            ("INFERENCE_LORA", f"step-{document['step_number']}-0a1b2c3d"),
            ("TRAINING_LORA", f"state-{document['step_number']}"),
        )
    ]
    return _fireworks_page("checkpoints", rows, query)


def _tinker_run(job: Document) -> Document:
    is_running = job["status"] == "running"
    return {
        "training_run_id": job["id"],
        "base_model": "meta-llama/Llama-3.1-8B",
        "model_owner": "acme",
        "is_lora": True,
        "last_request_time": _text(int(time.time()) - (0 if is_running else 2 * DAY_SECONDS)),
    }


def _fireworks_page(name: str, rows: list[Document], query: Mapping[str, str]) -> Document:
    size = int(query.get("pageSize", FIREWORKS_PAGE))
    token = query.get("pageToken")
    start = int(base64.b64decode(token)) if token else 0
    end = start + size
    page: Document = {name: rows[start:end], "totalSize": len(rows)}
    if end < len(rows):
        page["nextPageToken"] = base64.b64encode(b"%d" % end).decode()
    return page


def _text(seconds: int) -> str:
    return dt.datetime.fromtimestamp(seconds, dt.UTC).isoformat()
