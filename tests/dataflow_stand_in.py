"""A stand-in for Dataflow's REST interface (v1b3), and an emulator of Cloud Storage, on loopback.

The stand-in takes jobs and says of them what it was told to say. Asked to, it does the work of a
job as well: it runs the pipeline that was staged, on Beam's local runner.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

RUNNING, DONE, FAILED, CANCELLED = (
    f"JOB_STATE_{name}" for name in ("RUNNING", "DONE", "FAILED", "CANCELLED")
)
# As the interface numbers them, where a request says a number.
_CANCELLED = 5


class DataflowStandIn:
    """A job is pending, then in one state after the other, each for one look at it.

    Parameters
    ----------
    states : sequence of str
        The last one stays.
    message : str
        An error of the job's, among its messages.
    work : callable, optional
        Called with the job's JSON as it becomes DONE.
    refuses : bool
        Every request is forbidden.
    """

    def __init__(
        self,
        states: Sequence[str] = (RUNNING, DONE),
        message: str = "",
        work: Callable[[dict], None] | None = None,
        refuses: bool = False,
    ) -> None:
        self.states, self.message, self.work = list(states), message, work
        self.refuses = refuses
        self.jobs: list[dict] = []
        self.cancelled = threading.Event()
        self.looked = threading.Event()
        self.endpoint = ""
        self._now = "JOB_STATE_PENDING"

    def state(self) -> str:
        self._now = self.states.pop(0) if len(self.states) > 1 else self.states[0]
        if self._now == DONE and self.work:
            work, self.work = self.work, None
            work(self.jobs[-1])
        return self._now

    def answer(self, method: str, path: str, body: dict) -> dict:
        if method == "POST" and path.endswith("/jobs"):
            self.jobs.append(body)
            return {**body, "id": "job-1", "currentState": self._now}
        if path.endswith("/jobs"):  # those that are active
            over = self.cancelled.is_set() or self._now in (DONE, FAILED, CANCELLED)
            names = [] if over else [job["name"] for job in self.jobs]
            return {"jobs": [{"id": "job-1", "name": name} for name in names]}
        if method == "PUT":
            if body.get("requestedState") in (CANCELLED, _CANCELLED):
                self.cancelled.set()
                self.states = ["JOB_STATE_CANCELLING", CANCELLED]
            return {"id": "job-1", "currentState": self.states[0]}
        if path.endswith("/messages"):
            if not self.message:
                return {}
            message = {"id": "m1", "messageText": self.message, "time": "2026-03-01T02:15:00Z"}
            return {"jobMessages": [{**message, "messageImportance": "JOB_MESSAGE_ERROR"}]}
        if path.endswith("/metrics"):
            return {}
        self.looked.set()
        return {"id": "job-1", "currentState": self.state()}

    @contextmanager
    def serving(self):
        """The address to give as --dataflow_endpoint is `endpoint` meanwhile."""
        stand_in = self

        class Handler(BaseHTTPRequestHandler):
            def handle_one(self):
                length = int(self.headers.get("Content-Length") or 0)
                body = json.loads(self.rfile.read(length) or "{}")
                if stand_in.refuses:
                    status, answer = 403, {"error": {"code": 403, "message": "not yours"}}
                else:
                    path = self.path.partition("?")[0]
                    status, answer = 200, stand_in.answer(self.command, path, body)
                text = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            do_GET = do_POST = do_PUT = handle_one  # noqa: N815

            def log_message(self, *args):
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        # Beam takes the word localhost for leave to speak plain HTTP.
        self.endpoint = f"http://localhost:{server.server_port}"
        try:
            yield self
        finally:
            server.shutdown()
            server.server_close()


@contextmanager
def storage_emulator(bucket: str):
    """Cloud Storage with one bucket, in memory; the address for STORAGE_EMULATOR_HOST."""
    from gcp_storage_emulator.server import create_server

    server = create_server("127.0.0.1", 0, in_memory=True, default_bucket=bucket)
    server.start()
    try:
        yield f"http://127.0.0.1:{server._api._httpd.server_port}"
    finally:
        server.stop()
