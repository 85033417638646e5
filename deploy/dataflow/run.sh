#!/usr/bin/env bash
# A night on Dataflow: submits, waits for the end, checks the books and publishes. Ends with `ser`'s
# exit status; Ctrl-C and SIGTERM cancel the job. Without options it takes the three days up to
# yesterday, so that files that came late are met. Further options are passed on:
#
#     deploy/dataflow/run.sh
#     deploy/dataflow/run.sh --date 2026-03-01
#     deploy/dataflow/run.sh --from 2026-03-01 --to yesterday
#
# Credentials: `gcloud auth application-default login`, or the service account of the machine.
set -euo pipefail
. "$(dirname "$0")/settings.sh"

night=(--date yesterday --days 3)
if [[ " $*" == *" --from"* ]]; then night=(); fi

exec ser run \
    --input "$INPUT" \
    --output "$OUTPUT" \
    --channel-roles "$CHANNEL_ROLES" \
    --min-age-s 60 \
    --time-zone "$TIME_ZONE" \
    "${night[@]}" \
    --runner=DataflowRunner \
    --project="$PROJECT" \
    --region="$REGION" \
    --staging_location="$BUCKET/staging" \
    --temp_location="$BUCKET/temp" \
    --sdk_container_image="$IMAGE" \
    --machine_type="$MACHINE_TYPE" \
    --autoscaling_algorithm=THROUGHPUT_BASED \
    --max_num_workers="$MAX_WORKERS" \
    --disk_size_gb="$DISK_GB" \
    --service_account_email="$SERVICE_ACCOUNT" \
    --subnetwork="$SUBNETWORK" \
    --no_use_public_ips \
    --labels=job=ser \
    "$@"
