"""Real servers of object stores on loopback, and a proxy that makes them slow or faulty."""

from __future__ import annotations

import http.client
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.dataflow_stand_in import storage_emulator

KEYS = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}
BUCKET = "calls"
ANONYMOUS = Path(__file__).parent / "anonymous"


@dataclass
class Bucket:
    """A bucket of a running server.

    Parameters
    ----------
    url : str
        Such as `s3://calls`.
    endpoint : str
        The server.
    put, get : callable
        Key and bytes; key -> bytes.
    keys : callable
        Beginning -> keys.
    """

    url: str
    endpoint: str
    put: Callable[[str, bytes], None]
    get: Callable[[str], bytes]
    keys: Callable[[str], list[str]]

    def options(self, endpoint: str | None = None) -> list[str]:
        """For the command line."""
        if self.url.startswith("s3:"):
            return [f"--s3_endpoint_url={endpoint or self.endpoint}"]
        return ["--no_auth"]

    def environment(self, endpoint: str | None = None) -> dict[str, str]:
        """For the command."""
        if self.url.startswith("s3:"):
            return KEYS
        return {
            "STORAGE_EMULATOR_HOST": endpoint or self.endpoint,
            "PYTHONPATH": os.pathsep.join([str(ANONYMOUS), os.environ.get("PYTHONPATH", "")]),
        }


@contextmanager
def s3() -> Iterator[Bucket]:
    """Moto's server; the keys must be in the environment."""
    import boto3
    from moto.backends import get_backend
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        endpoint = f"http://{host}:{port}"
        client = boto3.client("s3", endpoint_url=endpoint)
        client.create_bucket(Bucket=BUCKET)

        def keys(prefix: str) -> list[str]:
            pages = client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
            return [item["Key"] for page in pages for item in page.get("Contents", ())]

        yield Bucket(
            f"s3://{BUCKET}",
            endpoint,
            put=lambda key, data: client.put_object(Bucket=BUCKET, Key=key, Body=data),
            get=lambda key: client.get_object(Bucket=BUCKET, Key=key)["Body"].read(),
            keys=keys,
        )
    finally:
        # Moto keeps its objects for the process, whatever the server: the next one begins empty.
        get_backend("s3").reset()
        server.stop()


@contextmanager
def gcs() -> Iterator[Bucket]:
    """gcp-storage-emulator. It does not look at conditions of a write."""
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import storage

    with storage_emulator(BUCKET) as endpoint:
        client = storage.Client(
            project="test",
            credentials=AnonymousCredentials(),
            client_options={"api_endpoint": endpoint},
        )
        bucket = client.bucket(BUCKET)
        yield Bucket(
            f"gs://{BUCKET}",
            endpoint,
            put=lambda key, data: bucket.blob(key).upload_from_string(data),
            get=lambda key: bucket.blob(key).download_as_bytes(),
            keys=lambda prefix: [blob.name for blob in client.list_blobs(BUCKET, prefix=prefix)],
        )


@dataclass
class Faults:
    """What a proxy does; it may be changed while it runs.

    Parameters
    ----------
    error_every, slow_every : int
        Each so-manieth request is answered by 503, or late; 0 is never.
    slow_s : float
    lost_every : int
        Each so-manieth request is done, but answered by 503; 0 is never.
    denied : tuple of str
        Methods that are answered by 403.
    down_after : int
        After so many requests all are answered by 503, for `down_s` seconds; 0 is never.
    """

    error_every: int = 0
    slow_every: int = 0
    slow_s: float = 1.0
    lost_every: int = 0
    denied: tuple[str, ...] = ()
    down_after: int = 0
    down_s: float = 0.0
    up_at: float | None = None
    requests: int = 0
    errors: int = 0
    seen: list[str] = field(default_factory=list)


@contextmanager
def proxy(target: str, faults: Faults) -> Iterator[str]:
    """An address that passes requests on to a server, but for the faults."""
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def pass_on(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            with lock:
                faults.requests += 1
                faults.seen.append(f"{self.command} {self.path}")
                fails = faults.error_every and faults.requests % faults.error_every == 0
                if faults.down_after and faults.requests > faults.down_after:
                    faults.up_at = faults.up_at or time.monotonic() + faults.down_s
                    fails = fails or time.monotonic() < faults.up_at
                late = faults.slow_every and faults.requests % faults.slow_every == 0
                lost = faults.lost_every and faults.requests % faults.lost_every == 0
                faults.errors += bool(lost)
                faults.errors += bool(fails)
            if late:
                time.sleep(faults.slow_s)
            if self.command in faults.denied:
                return self.answer(403, {}, _ACCESS_DENIED)
            if fails:
                return self.answer(503, {}, _SLOW_DOWN)
            passed = {
                name: value
                for name, value in self.headers.items()
                if name.lower() not in ("host", "content-length", "connection", "expect")
            }
            connection = http.client.HTTPConnection(target.removeprefix("http://"), timeout=60)
            try:
                connection.request(self.command, self.path, body or None, passed)
                answer = connection.getresponse()
                content = answer.read()
                if lost:
                    return self.answer(503, {}, _SLOW_DOWN)
                return self.answer(answer.status, answer.headers, content)
            finally:
                connection.close()

        def answer(self, status: int, headers, body: bytes) -> None:
            self.send_response(status)
            length = str(len(body))
            for name, value in headers.items():
                if name.lower() == "content-length" and self.command == "HEAD":
                    length = value
                elif name.lower() not in (
                    "transfer-encoding", "connection", "date", "server", "content-length",
                ):  # fmt: skip
                    self.send_header(name, value)
            self.send_header("Content-Length", length)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = do_PATCH = pass_on  # noqa: N815

        def log_message(self, *args) -> None:
            pass

    class Server(ThreadingHTTPServer):
        def handle_error(self, request, client_address) -> None:
            """A client that was killed is no fault of the server."""
            if not isinstance(sys.exception(), ConnectionError):
                super().handle_error(request, client_address)

    server = Server(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


_SLOW_DOWN = b"<Error><Code>SlowDown</Code></Error>"
_ACCESS_DENIED = b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
