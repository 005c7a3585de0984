"""A run of several processes on this machine, started by torchrun's own launcher: one a GPU, or gloo on the processor.

Rank 0 holds the job's row; the others only train. When one dies, the launcher ends all, and the run goes on from its
checkpoint as after any other death.
"""

import os
import signal
import sys

from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from worker.supervise import EXIT_LOST, EXIT_REPORTED

SAVES_WITHIN_S = 95  # just less than the supervisor's own grace


def train_together(job_id: int, token: int, processes: int) -> int:
    """The exit code of the job's process: rank 0's own where it says how the job ended; dies of the signal that a rank died of."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # as torchrun does: ranks share the cores
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=processes,
        run_id=f"job-{job_id}-{token}",
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=0,
        monitor_interval=0.2,
        shutdown_timeout=SAVES_WITHIN_S,
    )
    try:
        elastic_launch(config, sys.executable)("-m", "worker.rank", str(job_id), str(token))
    except SignalException:  # asked to stop: the ranks have saved and left
        return 0
    except ChildFailedError as error:
        codes = [failure.exitcode for failure in error.failures.values()]
        for known in (EXIT_REPORTED, EXIT_LOST):
            if known in codes:
                return known
        killed = [code for code in codes if code < 0 and -code != signal.SIGTERM]
        if killed:
            os.kill(os.getpid(), -killed[0])
        return 1
    return 0
