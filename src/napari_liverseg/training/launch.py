"""Who started this process, and how many others: torchrun, SLURM's srun, or a user."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


def by_torchrun(environment: Mapping[str, str]) -> bool:
    """Whether torchrun started this process, be it within a job of SLURM."""
    return "TORCHELASTIC_RUN_ID" in environment


def slurm_tasks(environment: Mapping[str, str]) -> int:
    """Return how many processes srun started with this one; 1 where it did not.

    A batch script, or a shell in an allocation, is one process, however many tasks
    the job has room for.
    """
    if by_torchrun(environment):
        return 1
    return int(environment.get("SLURM_STEP_NUM_TASKS", "1"))


def cores_of_task(environment: Mapping[str, str]) -> int | None:
    """Return the cores that srun gave each of several processes, None where unknown."""
    said = environment.get("SLURM_CPUS_PER_TASK")
    return int(said) if said and slurm_tasks(environment) > 1 else None


def processes(environment: Mapping[str, str], devices: int) -> tuple[int, int]:
    """Return processes on each computer and computers, as whoever started them says.

    Parameters
    ----------
    environment : mapping of str to str
        Variables that torchrun and SLURM set.
    devices : int
        What is taken where neither started this.
    """
    if by_torchrun(environment):
        here = int(environment["LOCAL_WORLD_SIZE"])
        return here, int(environment["WORLD_SIZE"]) // here
    tasks = slurm_tasks(environment)
    if tasks > 1:
        nodes = int(environment.get("SLURM_NNODES", "1"))
        return tasks // nodes, nodes
    return devices, 1


def rank_in(environment: Mapping[str, str]) -> int:
    """Return the number of this process among those of a training, from 0."""
    if slurm_tasks(environment) > 1:
        return int(environment.get("SLURM_PROCID", "0"))
    return int(environment.get("RANK", environment.get("LOCAL_RANK", "0")))
