#!/usr/bin/env bash
# Slurm and munge from Debian's packages, for the tests in this folder; nothing is started here.
# Where that cannot be, it says why and ends well: the tests are then skipped with the same reason.
set -euo pipefail
if command -v slurmctld munged >/dev/null; then
  exit 0
elif [[ $(id -u) -ne 0 ]] || ! command -v apt-get >/dev/null; then
  echo "Slurm is not installed: that takes root and apt-get; the tests marked slurm are skipped"
  exit 0
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update --quiet=2
apt-get install --quiet=2 --yes --no-install-recommends \
  slurm-wlm slurm-client slurm-wlm-basic-plugins munge
