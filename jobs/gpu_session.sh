#!/bin/bash
# The tests marked gpu, then the bench, on a machine with a GPU and little else: about five minutes.
# PYTHON names the interpreter, OUT the folder of the results (else reports/).
set -u
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-python3}
OUT=${OUT:-$PWD/reports}
mkdir -p "$OUT"
export OUT PYTHONUNBUFFERED=1 PYTHONPATH=.:selectors:tests HF_HUB_OFFLINE=1

nvidia-smi --query-gpu=name,driver_version,memory.total,memory.used --format=csv || true

# The project's own pytest options load packages for type checks, which such a machine may not have.
timeout "${TEST_SECONDS:-100}" "$PYTHON" -m pytest -c jobs/gpu_pytest.ini --rootdir=. \
  -p no:cacheprovider -m gpu -q --tb=short --durations=8 tests/test_curate/test_models/test_passes/test_cuda.py \
  >"$OUT/gpu-tests.txt" 2>&1
TESTS=$?
tail -n 40 "$OUT/gpu-tests.txt"
echo "gpu tests: exit code $TESTS"

timeout "${BENCH_SECONDS:-195}" "$PYTHON" jobs/bench --device "${DEVICE:-cuda}" ${BENCH_OPTIONS:-} \
  --max-seconds "${BENCH_MAX:-180}" 2>&1 | tee "$OUT/gpu-bench.txt"
BENCH=${PIPESTATUS[0]}
echo "gpu bench: exit code $BENCH"
[ "$TESTS" -eq 0 ] && [ "$BENCH" -eq 0 ]
