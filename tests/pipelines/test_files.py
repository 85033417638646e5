"""Errors of object stores: which are worth another attempt."""

from __future__ import annotations

import errno

import pytest
from apache_beam.io.aws.clients.s3.messages import S3ClientError
from apache_beam.io.filesystem import BeamIOError
from botocore.exceptions import ClientError
from google.api_core.exceptions import Forbidden, InternalServerError, NotFound

from pipelines.storage import files

PATH = "s3://calls/2026-04-04/call-404-403.wav"


def of_botocore(status: int) -> ClientError:
    return ClientError({"ResponseMetadata": {"HTTPStatusCode": status}}, f"GetObject {PATH}")


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (S3ClientError(f"{PATH}: reset", 500), 500),
        (S3ClientError(f"{PATH}: no such key", 404), 404),
        (of_botocore(503), 503),
        (of_botocore(403), 403),
        (InternalServerError(PATH), 500),
        (NotFound(PATH), 404),
        (Forbidden(PATH), 403),
        (BeamIOError("read", {PATH: of_botocore(404)}), 404),
        (OSError(f"connection reset while reading {PATH}: 404 of 403 bytes, Not Found"), None),
        (OSError(errno.ENOENT, f"Not found: {PATH}"), None),
    ],
)
def test_status_of_an_error(error, status):
    assert files.http_status(error) == status
    missing = isinstance(error, FileNotFoundError) or status in (403, 404)
    assert files._may_pass(error) == (not missing)
