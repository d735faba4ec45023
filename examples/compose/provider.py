"""A sample provider: the lists of fine-tuning jobs and checkpoints, as OpenAI documents them.

One job has ended with a dozen checkpoints. Another one runs, writes a checkpoint every ten seconds,
and ends after a dozen. Lists are newest first, in pages with the cursor `after`.
"""

import json
import os
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

PORT = int(os.environ.get("PROVIDER_PORT", "8090"))
KEY = Path(sys.argv[1]).read_text(encoding="utf-8").strip()
BEGAN = int(time.time())
CHECKPOINT_SECONDS = 10
CHECKPOINTS = 12
PAGE = 10
ENDED, RUNNING = "ftjob-ended", f"ftjob-{BEGAN}"


def checkpoints(job: str) -> list[dict[str, Any]]:
    """Return the checkpoints of a job until now, newest first."""
    began = BEGAN if job == RUNNING else 1_750_000_000
    count = min(CHECKPOINTS, int(time.time() - began) // CHECKPOINT_SECONDS)
    return [
        {
            "id": f"ftckpt_{job}_{step}",
            "object": "fine_tuning.job.checkpoint",
            "created_at": began + step * CHECKPOINT_SECONDS,
            "fine_tuned_model_checkpoint": f"ft:gpt-4o-mini-2024-07-18:acme::{step:08}",
            "fine_tuning_job_id": job,
            "metrics": {"step": step, "train_loss": round(2 / step, 4)},
            "step_number": step,
        }
        for step in range(count, 0, -1)
    ]


def jobs() -> list[dict[str, Any]]:
    """Return the jobs, newest first."""
    return [
        {
            "id": job,
            "object": "fine_tuning.job",
            "created_at": BEGAN if job == RUNNING else 1_750_000_000,
            "finished_at": None,
            "model": "gpt-4o-mini-2024-07-18",
            "status": "succeeded" if len(checkpoints(job)) == CHECKPOINTS else "running",
        }
        for job in (RUNNING, ENDED)
    ]


class Handler(BaseHTTPRequestHandler):
    """Answers GET with a page of a list."""

    def do_GET(self) -> None:
        """Answer."""
        url = urlsplit(self.path)
        match url.path.strip("/").split("/"):
            case _ if self.headers["Authorization"] != f"Bearer {KEY}":
                self.answer(401, {"error": {"message": "the API key is wrong"}})
            case ["v1", "fine_tuning", "jobs"]:
                self.answer(200, page(jobs(), dict(parse_qsl(url.query))))
            case ["v1", "fine_tuning", "jobs", job, "checkpoints"] if job in (RUNNING, ENDED):
                self.answer(200, page(checkpoints(job), dict(parse_qsl(url.query))))
            case _:
                self.answer(404, {"error": {"message": "there is no such list"}})

    def answer(self, status: int, document: object) -> None:
        """Send a document."""
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def page(elements: list[dict[str, Any]], query: dict[str, str]) -> dict[str, Any]:
    """Return the elements after the cursor, at most `limit`."""
    ids = [one["id"] for one in elements]
    start = ids.index(query["after"]) + 1 if query.get("after") in ids else 0
    end = start + int(query.get("limit", PAGE))
    return {"object": "list", "data": elements[start:end], "has_more": end < len(elements)}


if __name__ == "__main__":
    ThreadingHTTPServer(("", PORT), Handler).serve_forever()
