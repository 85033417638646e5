"""`ser-worker`: Beam's Python worker on a machine without containers.

A runner starts it with `--environment_type=PROCESS`. It replaces the boot program of Beam's
containers: it asks the runner for the job's settings and becomes the worker. It installs nothing.
This package and its models must be installed on the machine.
"""

from __future__ import annotations

import argparse
import os
import runpy
import threading

from ser_core.child import end_with

ASK_S = 60.0


def main() -> None:
    """Become the worker that the runner's command line describes."""
    # End with the runner, also if it is killed.
    threading.Thread(target=end_with, args=(os.getppid(),), daemon=True).start()
    parser = argparse.ArgumentParser(prog="ser-worker", description=__doc__)
    parser.add_argument("--id", required=True)
    parser.add_argument("--provision_endpoint", required=True)
    for name in ("control", "logging"):
        parser.add_argument(f"--{name}_endpoint", help="default: as the provision endpoint says")
    options, _ = parser.parse_known_args()
    os.environ.update(worker_environment(options))
    runpy.run_module("apache_beam.runners.worker.sdk_worker_main", run_name="__main__")


def worker_environment(options: argparse.Namespace) -> dict[str, str]:
    """The environment variables from which Beam's worker reads its settings.

    Parameters
    ----------
    options : Namespace
        `id`, `provision_endpoint`, and `control_endpoint` and `logging_endpoint` or None.
    """
    import grpc
    from apache_beam.portability.api import (
        beam_provision_api_pb2,
        beam_provision_api_pb2_grpc,
        endpoints_pb2,
    )
    from google.protobuf import json_format, text_format

    with grpc.insecure_channel(options.provision_endpoint) as channel:
        service = beam_provision_api_pb2_grpc.ProvisionServiceStub(channel)
        info = service.GetProvisionInfo(
            beam_provision_api_pb2.GetProvisionInfoRequest(),
            timeout=ASK_S,
            metadata=[("worker_id", options.id)],
        ).info
    endpoints = {
        "CONTROL": options.control_endpoint or info.control_endpoint.url,
        "LOGGING": options.logging_endpoint or info.logging_endpoint.url,
        "STATUS": info.status_endpoint.url,
    }
    return {
        "WORKER_ID": options.id,
        "PIPELINE_OPTIONS": json_format.MessageToJson(info.pipeline_options),
        "RUNNER_CAPABILITIES": " ".join(info.runner_capabilities),
        **{
            f"{name}_API_SERVICE_DESCRIPTOR": text_format.MessageToString(
                endpoints_pb2.ApiServiceDescriptor(url=url)
            )
            for name, url in endpoints.items()
            if url
        },
    }


if __name__ == "__main__":
    main()
