"""TLS between client, scheduler and workers: who has no key is refused."""

import asyncio

import dask
import pytest
import yaml
from distributed import Security
from distributed.comm import connect

from connectome.errors import InputError
from connectome.runtime.cluster import Cluster
from connectome.runtime.dask import DaskRunner
from connectome.runtime.engine import execute
from connectome.runtime.queues import Progress
from connectome.runtime.run import run
from connectome.workflow.workflow import Workflow
from tests.runtime.services import services
from tests.runtime.troubled import troubled_plan
from tests.tissue import workflow_content


def test_a_local_run_is_encrypted_on_request(stored_affinities, tmp_path):
    content = workflow_content(tmp_path / "run", stored_affinities[0], (60, 70, 90))
    assert run(Workflow.parse(content), n_workers=1, is_secure=True).is_complete


def test_who_has_no_keys_or_others_is_refused():
    with Cluster({"cpu": 1}, is_secure=True) as cluster:
        assert cluster.address.startswith("tls://")
        stranger = Security.temporary().get_connection_args("client")
        for address, keys in (
            (cluster.address, {}),
            (cluster.address.replace("tls", "tcp"), {}),
            (cluster.address, stranger),
        ):
            with pytest.raises((OSError, TypeError, RuntimeError, ValueError)):
                asyncio.run(_asked(address, keys))
        own = cluster.security.get_connection_args("client")
        assert cluster.address in asyncio.run(_asked(cluster.address, own))


async def _asked(address, keys):
    """Ask a scheduler who it is; a refusal may come with the connection or with the first answer."""
    connection = await connect(address, timeout=3, **keys)
    try:
        await connection.write({"op": "identity", "reply": True})
        return str(await asyncio.wait_for(connection.read(), 3))
    finally:
        connection.abort()


@pytest.fixture
def keys(tmp_path):
    """Dask's settings with a key pair of our own, in the environment."""
    made, settings = Security.temporary(), {}
    (tmp_path / "ca.pem").write_text(made.tls_ca_file)
    (tmp_path / "cert.pem").write_text(made.tls_client_cert)
    (tmp_path / "key.pem").write_text(made.tls_client_key)
    settings["DASK_DISTRIBUTED__COMM__TLS__CA_FILE"] = str(tmp_path / "ca.pem")
    for role in ("SCHEDULER", "WORKER", "CLIENT"):
        settings[f"DASK_DISTRIBUTED__COMM__TLS__{role}__CERT"] = str(tmp_path / "cert.pem")
        settings[f"DASK_DISTRIBUTED__COMM__TLS__{role}__KEY"] = str(tmp_path / "key.pem")
    return settings


def test_tls_scheduler_and_worker_with_keys_of_dask_settings(tmp_path, keys):
    plan, dataset = troubled_plan(tmp_path / "run", 10)
    with services(tmp_path, **keys) as started:
        scheduler = started.scheduler(0, "127.0.0.1", "--secure")
        assert scheduler.address.startswith("tls://")
        assert "of pool cpu" in started.worker(scheduler.address).first_line()
        tls = {"ca-file": "ca.pem", "client.cert": "cert.pem", "client.key": "key.pem"}
        with dask.config.set({f"distributed.comm.tls.{name}": str(tmp_path / file) for name, file in tls.items()}):
            runner = DaskRunner(dataset, address=scheduler.address, is_secure=True)
            try:
                ended = execute(plan, runner, progress := Progress(plan), [])
            finally:
                runner.close()
        assert (ended.quarantined, progress.done["troubled"].count) == ((), 10)
        with pytest.raises(InputError, match="keys"):
            DaskRunner(dataset, address=scheduler.address, is_secure=True)


def test_who_has_no_keys_is_told_which_are_wanted(tmp_path):
    with services(tmp_path) as started:
        for role, arguments in (("scheduler", ("--port", 0, "--secure")), ("worker", ("tls://127.0.0.1:9",))):
            assert started.start(role, *arguments).wait(60) == 2
            wanted = f"wants keys: set distributed.comm.tls (ca-file, {role}.cert, {role}.key) in Dask's settings"
            assert wanted in " ".join(started.errors().split())


def test_secure_is_for_dask_alone(tmp_path, stored_affinities):
    file = tmp_path / "workflow.yaml"
    file.write_text(yaml.safe_dump(workflow_content(tmp_path / "run", stored_affinities[0])))
    with services(tmp_path) as started:
        process = started.start("run", file, "--runner", "serial", "--secure")
        assert process.wait(60) == 2
        assert "--secure" in started.errors()
    assert not (tmp_path / "run").exists()
