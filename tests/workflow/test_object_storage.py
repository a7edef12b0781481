"""The workflow with every file in S3's object storage, played by a server on this machine."""

import logging
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml
from moto.server import ThreadedMotoServer
from workflow_runs import snakemake

BUCKET = "avvp"
KEYS = {"aws_access_key_id": "key", "aws_secret_access_key": "secret", "region_name": "us-east-1"}
pytestmark = pytest.mark.extended


@dataclass(frozen=True)
class Store:
    """A bucket, and the folder of a run whose files are in it."""

    endpoint: str
    client: Any
    folder: Path

    def snakemake(self, *words: str) -> str:
        storage = {
            "default-storage-provider": "s3",
            "default-storage-prefix": f"s3://{BUCKET}/runs",
            "storage-s3-endpoint-url": self.endpoint,
            "storage-s3-access-key": KEYS["aws_access_key_id"],
            "storage-s3-secret-key": KEYS["aws_secret_access_key"],
        }
        options = [word for key, value in storage.items() for word in (f"--{key}", value)]
        environment = os.environ | {"AWS_DEFAULT_REGION": KEYS["region_name"]}
        # Storage options take several values, and would take a target for one.
        options += ["--configfile", "my.yaml", "--cores", "2"]
        return snakemake(self.folder, *options, *words, environment=environment)

    def objects(self) -> dict[str, bytes]:
        """Return what the run has put into the bucket, by its path in a local run."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET)
        keys = [item["Key"] for page in pages for item in page.get("Contents", [])]
        return {
            key.removeprefix("runs/"): self.client.get_object(Bucket=BUCKET, Key=key)["Body"].read()
            for key in keys
        }


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    client = boto3.client("s3", endpoint_url=endpoint, **KEYS)
    client.create_bucket(Bucket=BUCKET)
    folder = tmp_path_factory.mktemp("run")
    dataset = {"shards": 1, "demo": {"train": 6, "val": 2, "test": 2}}
    (folder / "my.yaml").write_text(yaml.safe_dump({"preset": "demo", "dataset": dataset}))
    yield Store(endpoint, client, folder)
    server.stop()


def test_features_are_kept_in_the_bucket_and_found_there(store: Store) -> None:
    store.snakemake("features")
    objects = store.objects()
    shards = [path for path in objects if path.endswith(".safetensors")]
    assert sorted(path.split("/")[2].split("-")[0] for path in shards) == ["clap", "clip"], (
        "segments are temporary, and the package's files are taken from the package"
    )
    assert sum(path.endswith(".mp4") for path in objects) == 10
    assert not (store.folder / "results").exists()

    assert "Nothing to be done" in store.snakemake("--dry-run", "features")
    (lost,) = (path for path in shards if "/clap-" in path)
    store.client.delete_object(Bucket=BUCKET, Key=f"runs/{lost}")
    planned = store.snakemake("--dry-run", "features")
    rules = set(re.findall(r"^(\w+) +\d+$", planned, re.MULTILINE))
    assert rules == {"segments", "encode_segments", "features", "total"}
