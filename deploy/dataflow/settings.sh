# What a night on Dataflow needs to know: change this block, nothing else. run.sh and template.sh
# read it; a variable that is set already wins.

: "${PROJECT:=my-project}"
: "${REGION:=europe-west3}"                       # near the recordings
: "${BUCKET:=gs://my-bucket}"                     # staging, temporary files, the flex template
: "${INPUT:=gs://my-calls/{date:%Y/%m/%d\}/**}"   # as for ser run
: "${OUTPUT:=gs://my-tables/ser}"
: "${CHANNEL_ROLES:=agent,customer}"

# The image of deploy/Dockerfile, target beam, in a registry that the workers can reach. It must
# hold the very version of `ser` that submits.
: "${IMAGE:=$REGION-docker.pkg.dev/$PROJECT/ser/ser-beam:0.2.0}"
: "${FLEX_IMAGE:=$REGION-docker.pkg.dev/$PROJECT/ser/ser-flex:0.2.0}"

# One worker process a core, each with a model (0.6 GB) and a child that decodes: 4 GB a core.
: "${MACHINE_TYPE:=n2-standard-4}"
: "${MAX_WORKERS:=10}"                            # autoscaling starts with few and ends there
: "${DISK_GB:=50}"                                # the image, and recordings while they are decoded

# Roles: Dataflow worker on the project, objectViewer on the recordings, objectAdmin on tables and
# $BUCKET, reader of the image's registry.
: "${SERVICE_ACCOUNT:=ser-worker@$PROJECT.iam.gserviceaccount.com}"

# Workers without public addresses: the subnetwork needs Private Google Access.
: "${SUBNETWORK:=regions/$REGION/subnetworks/default}"
