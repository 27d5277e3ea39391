"""Trainings in processes of their own: killed ones, and several that train together."""

import json
import os
import random
import signal
import socket
import time

import numpy as np
import pytest

from tests.albert_model.training import train_in_process
from tests.forks import Fork

SETTINGS = {"batch_size": 8, "epochs": 4, "max_steps": 20, "learning_rate": 0.01, "warmup_steps": 2, "log_every": 5}
SETTINGS |= {"precision": "float32", "strategy": "one"}


class Job:
    """What `train_in_process` is given."""

    def __init__(self, folder, data, config, devices=1, checkpoints=None, **settings):
        (one,) = data.train_bins
        folder.mkdir(parents=True, exist_ok=True)
        self.target, self.checkpoints = folder / "weights.npz", checkpoints or folder / "checkpoints"
        self._job = {"folder": str(folder), "target": str(self.target), "config": config.model_dump()}
        self._job |= {"checkpoints": str(self.checkpoints)}
        self._job |= {"settings": SETTINGS | settings, "devices": devices}
        self._job |= {"train_files": list(one.files), "eval_files": list(data.eval_files), "records": one.records}

    def start(self, **environment) -> Fork:
        return Fork(train_in_process.main, self._job, env=os.environ | environment)

    def run(self, **environment) -> dict[str, np.ndarray]:
        process = self.start(**environment)
        _, errors = process.communicate()
        assert process.returncode == 0, errors
        return dict(np.load(self.target))


def without_dropout(config):
    return config.model_copy(update={"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0})


def assert_close(ours, theirs):
    assert ours.keys() == theirs.keys()
    for name in theirs:
        np.testing.assert_allclose(ours[name], theirs[name], atol=2e-5, err_msg=name)


@pytest.fixture(scope="module", params=["lamb", "sgd"])
def one_device(request, tmp_path_factory, data, small_config):
    folder = tmp_path_factory.mktemp(request.param)
    return request.param, Job(folder, data, without_dropout(small_config), optimizer=request.param).run()


def test_two_devices_train_as_one(one_device, tmp_path, data, small_config):
    optimizer, expected = one_device
    job = Job(tmp_path, data, without_dropout(small_config), 2, optimizer=optimizer, strategy="mirror", accumulation=2)
    assert_close(job.run(), expected)


def cluster(index, ports):
    workers = [f"localhost:{port}" for port in ports]
    return json.dumps({"cluster": {"worker": workers}, "task": {"type": "worker", "index": index}})


def together(jobs):
    ports = free_ports(len(jobs))
    return [job.start(TF_CONFIG=cluster(i, ports)) for i, job in enumerate(jobs)]


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("localhost", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def test_two_machines_train_as_one(one_device, tmp_path, data, small_config):
    optimizer, expected = one_device
    settings = {"optimizer": optimizer, "strategy": "multiworker", "checkpoint_every": 10}
    jobs = [Job(tmp_path / str(i), data, without_dropout(small_config), **settings) for i in range(2)]
    for process in together(jobs):
        _, errors = process.communicate()
        assert process.returncode == 0, errors
    for job in jobs:
        assert_close(dict(np.load(job.target)), expected)
    assert list(jobs[0].checkpoints.glob("ckpt-20.index"))
    assert not list(jobs[1].checkpoints.glob("*.index")), "the chief alone writes"


def test_a_lost_machine_ends_the_run_with_a_message_and_the_restart_resumes(tmp_path, data, small_config):
    settings = {"strategy": "multiworker", "max_steps": 200, "epochs": 40, "checkpoint_every": 20, "log_every": 20}
    checkpoints = tmp_path / "checkpoints"
    jobs = [Job(tmp_path / str(i), data, small_config, checkpoints=checkpoints, **settings) for i in range(2)]
    chief, worker = together(jobs)
    while chief.poll() is None and not list(checkpoints.glob("ckpt-*.index")):
        time.sleep(0.01)
    worker.send_signal(signal.SIGKILL)
    _, errors = chief.communicate()
    worker.communicate()
    assert chief.returncode == 1
    assert "a machine of the cluster was lost" in errors.splitlines()[-1]
    for process in together(jobs):
        _, errors = process.communicate()
        assert process.returncode == 0, errors
    log = [json.loads(line) for line in (tmp_path / "0" / "metrics" / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in log].count(0) == 1, "the held-out examples are scored at a start, not at a restart"
    assert log[-1]["step"] == 200


def test_machines_that_do_not_share_checkpoints_are_told_so(tmp_path, data, small_config):
    alone = Job(tmp_path / "0", data, small_config, max_steps=1)
    alone.run()
    jobs = [Job(tmp_path / str(i), data, small_config, strategy="multiworker", max_steps=2) for i in range(2)]
    for process in together(jobs):
        _, errors = process.communicate()
        assert process.returncode == 1
        assert "must reach the same folder of checkpoints" in errors


def test_a_training_that_is_killed_again_and_again_ends_with_the_same_weights(tmp_path, data, small_config):
    """SIGKILL at random moments, with checkpoints after every step, so that many fall into the writing of one."""
    expected = Job(tmp_path / "undisturbed", data, small_config, checkpoint_every=20).run()
    job = Job(tmp_path / "killed", data, small_config, checkpoint_every=1)
    moments = random.Random(0)
    kills = 0
    for _ in range(4):
        process = job.start()
        newest = len(list(job.checkpoints.glob("ckpt-*.index")))
        while process.poll() is None and len(list(job.checkpoints.glob("ckpt-*.index"))) <= min(newest, 1):
            time.sleep(0.01)
        time.sleep(moments.uniform(0, 0.3))
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            kills += 1
        process.communicate()
    found = job.run()
    assert kills >= 2
    assert found.keys() == expected.keys()
    assert all(np.array_equal(found[name], expected[name]) for name in expected)


def test_sigterm_is_answered_with_a_checkpoint(tmp_path, data, small_config):
    settings = {"max_steps": 200, "epochs": 40, "checkpoint_every": 1000, "log_every": 1}
    expected = Job(tmp_path / "undisturbed", data, small_config, **settings).run()
    job = Job(tmp_path / "ended", data, small_config, **settings)
    process = job.start()
    log = tmp_path / "ended" / "metrics" / "metrics.jsonl"
    while process.poll() is None and not (log.is_file() and log.read_text().count('"train"') >= 3):
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    process.communicate()
    assert process.returncode == -signal.SIGTERM
    (checkpoint,) = job.checkpoints.glob("ckpt-*.index")
    assert 3 <= int(checkpoint.stem.removeprefix("ckpt-")) < 200
    found = job.run()
    assert all(np.array_equal(found[name], expected[name]) for name in expected)
