# The settings of a night on Dataflow: change this block and nothing else. run.sh and template.sh
# read it. A variable that is already set takes precedence.

: "${PROJECT:=my-project}"
: "${REGION:=europe-west3}"                       # near the recordings
: "${BUCKET:=gs://my-bucket}"                     # staging, temporary files, the flex template
: "${INPUT:=gs://my-calls/{date:%Y/%m/%d\}/**}"   # as for ser run
: "${OUTPUT:=gs://my-tables/ser}"
: "${CHANNEL_ROLES:=agent,customer}"
: "${TIME_ZONE:=UTC}"                             # of the days in INPUT, and of times in paths

# The image of deploy/Dockerfile, target beam, in a registry that the workers can reach. It must
# have exactly the version of `ser` that submits.
: "${IMAGE:=$REGION-docker.pkg.dev/$PROJECT/ser/ser-beam:0.3.0}"
: "${FLEX_IMAGE:=$REGION-docker.pkg.dev/$PROJECT/ser/ser-flex:0.3.0}"

# One worker process per core, each with a model (0.6 GB) and a decoding child: 4 GB per core.
: "${MACHINE_TYPE:=n2-standard-4}"
: "${MAX_WORKERS:=10}"                            # upper limit of autoscaling
: "${DISK_GB:=50}"                                # the image, and recordings while they are decoded

# Roles: Dataflow worker on the project, objectViewer on the recordings, objectAdmin on tables and
# $BUCKET, reader of the image's registry.
: "${SERVICE_ACCOUNT:=ser-worker@$PROJECT.iam.gserviceaccount.com}"

# Workers without public addresses: the subnetwork needs Private Google Access.
: "${SUBNETWORK:=regions/$REGION/subnetworks/default}"
