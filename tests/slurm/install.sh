#!/usr/bin/env bash
# Slurm and munge from Debian's packages, for the tests in this folder; nothing is started here.
# Where that cannot be, it says why and ends well: the tests are then skipped, with their reason.
set -euo pipefail
export PATH=$PATH:/usr/sbin DEBIAN_FRONTEND=noninteractive
if command -v slurmctld >/dev/null && command -v munged >/dev/null; then
  exit 0
fi
if [[ $(id -u) -ne 0 ]] || ! command -v apt-get >/dev/null; then
  echo "no Slurm tests: slurmctld is not here, and only root can install it with apt-get"
  exit 0
fi
{
  apt-get -qq update &&
    apt-get -qq install -y --no-install-recommends \
      slurm-wlm slurm-client slurm-wlm-basic-plugins munge
} >/dev/null 2>&1 || echo "no Slurm tests: apt-get could not install slurm-wlm"
