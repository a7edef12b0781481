#!/usr/bin/env bash
# All that is to be measured and proved on a GPU, in one command of under 8 minutes.
#
#   tests/gpu/run.sh OUT [--rehearse] [--budget SECONDS] [--only PART ...]
#
# Writes OUT/gpu.json, OUT/gpu.md and OUT/logs.txt, again after every part, so that a run that is cut
# off leaves what it has finished. Needs Python with PyTorch and transformers, no network, and the
# wheels that collect_wheels.sh collects where they are not installed. --rehearse runs every part
# with small models on whatever there is, a CPU too.
set -euo pipefail
repository=$(cd "$(dirname "$0")/../.." && pwd)
tests=$repository/tests
export PYTHONPATH=$repository:$tests/unit:$tests/benchmarks:$tests/gpu${PYTHONPATH:+:$PYTHONPATH}
export HF_HUB_OFFLINE=1 TRANSFORMERS_OFFLINE=1 PYTHONUNBUFFERED=1
exec "${PYTHON:-python3}" "$tests/gpu/parts.py" "$@"
