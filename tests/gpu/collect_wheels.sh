#!/usr/bin/env bash
# Collect the wheels that the tests on a GPU need and a machine with PyTorch and transformers lacks.
#
#   tests/gpu/collect_wheels.sh FOLDER
#
# For Python 3.12 on x86-64 Linux, with none of their own requirements: FOLDER can be carried to a
# machine without a network. There:
#
#   python3 -m pip install --no-index --no-deps --target /tmp/site FOLDER/*.whl
#   PYTHONPATH=/tmp/site tests/gpu/run.sh OUT
#
# The versions are those of envs/requirements.txt. The ffmpeg program and decord are left out: they
# would double the size, and PyAV has all that decoding needs.
set -euo pipefail
folder=${1:?folder for the wheels}
repository=$(cd "$(dirname "$0")/../.." && pwd)
names=(annotated-types av ffmpeg-python ftfy future open-clip-torch pydantic pydantic-core soxr
    typing-extensions typing-inspection wcwidth)
pinned=()
for name in "${names[@]}"; do
    pinned+=("$(grep -ioE "^${name}==[^ ;\\]+" "$repository/envs/requirements.txt")")
done
platforms=()
for platform in manylinux_2_28 manylinux_2_27 manylinux_2_17 manylinux2014 manylinux1; do
    platforms+=(--platform "${platform}_x86_64")
done
mkdir -p "$folder"
rm -f "$folder"/*.whl
"${PYTHON:-python3}" -m pip download --quiet --no-deps --only-binary=:all: --dest "$folder" \
    --python-version 3.12 --implementation cp "${platforms[@]}" "${pinned[@]}"
du -cb "$folder"/*.whl
