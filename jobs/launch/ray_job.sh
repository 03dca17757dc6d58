#!/bin/bash
# Score a pool on a Ray cluster: a job on its head node, which hires actors on all nodes.
#
#     RAY_API_SERVER_ADDRESS=http://HEAD:8265 STORE=/shared/pool/curate.duckdb jobs/launch/ray_job.sh \
#         --scorer likelihood --model /shared/models/MODEL --num-gpus-per-worker 1 --max-workers 8
#
# The folders of STORE and of MODEL must be the same on every node, and curate-sft[ray] installed there. The same
# command goes on with a job that was stopped: ray job stop ID.
set -euo pipefail
: "${STORE:?is the path of the store: STORE=/shared/pool/curate.duckdb}"
exec ray job submit -- curate score --store "$STORE" --executor ray "$@"
