#!/bin/bash
# Score a pool with a Slurm array: one slice a task, one GPU a slice.
#
#     STORE=/shared/pool/curate.duckdb sbatch --array=0-7 jobs/launch/slurm_array.sh --scorer likelihood --model MODEL
#
# The folder of STORE must be the same on every node. When the tasks have ended, or at any time before,
# on one machine: curate commit --store "$STORE"
#SBATCH --job-name=curate-score
#SBATCH --gpus-per-task=1
#SBATCH --cpus-per-task=8
#SBATCH --requeue
set -euo pipefail
: "${STORE:?is the path of the store: STORE=/shared/pool/curate.duckdb}"
exec curate score --store "$STORE" --slice slurm "$@"
