#!/usr/bin/env bash
# The flex template, to start jobs from the console, Cloud Scheduler or a workflow:
#
#     deploy/dataflow/template.sh build     # writes the template's file, after the images are pushed
#     deploy/dataflow/template.sh launch    # starts a night; more parameters: name=value name=value
#
# Without other parameters a launch takes the three days up to yesterday, as run.sh does.
#
# A launch ends once the job has begun. Its tables are published by the next `ser` command that opens
# the output after the job's end, such as the next night; run.sh waits and publishes itself.
set -euo pipefail
here=$(dirname "$0")
. "$here/settings.sh"
template="$BUCKET/templates/ser.json"

case "${1:-}" in
build)
    exec gcloud dataflow flex-template build "$template" \
        --project="$PROJECT" \
        --image="$FLEX_IMAGE" \
        --sdk-language=PYTHON \
        --metadata-file="$here/metadata.json"
    ;;
launch)
    shift
    # ^|^ makes | the separator between parameters, because roles contain commas.
    parameters="^|^input=$INPUT|output=$OUTPUT|channel_roles=$CHANNEL_ROLES|sdk_container_image=$IMAGE"
    parameters+="|time_zone=$TIME_ZONE"
    for word in date=yesterday days=3; do
        [[ " $*" == *" ${word%%=*}="* ]] || parameters+="|$word"
    done
    for word in "$@"; do parameters+="|$word"; done
    exec gcloud dataflow flex-template run "ser-$(date -u +%Y%m%d-%H%M%S)" \
        --project="$PROJECT" \
        --region="$REGION" \
        --template-file-gcs-location="$template" \
        --staging-location="$BUCKET/staging" \
        --temp-location="$BUCKET/temp" \
        --worker-machine-type="$MACHINE_TYPE" \
        --max-workers="$MAX_WORKERS" \
        --service-account-email="$SERVICE_ACCOUNT" \
        --subnetwork="$SUBNETWORK" \
        --disable-public-ips \
        --parameters="$parameters"
    ;;
*)
    echo "usage: template.sh build | launch [name=value ...]" >&2
    exit 2
    ;;
esac
