"""The settings of jobs and their workers."""

from pydantic import Field

from servey.core.settings.group import SettingsGroup


class JobSettings(SettingsGroup):
    """Jobs and their workers."""

    job_concurrency: int = Field(50, ge=1, description="maximum number of concurrent jobs in one worker process")
    job_queues: str | None = Field(
        None, description="queues that a worker reads, e.g. `mail=3,default`; by default all"
    )
    job_grace: float = Field(30, ge=0, description="how long running jobs may continue after SIGTERM")
    job_lease: float = Field(15, ge=1, description="how long a job stays assigned to a worker that sends no heartbeat")
    webhook_concurrency: int = Field(
        10, ge=1, description="maximum number of concurrent deliveries of one webhook in one worker process"
    )
    job_keep: float = Field(86_400, ge=1, description="how long the result of a job and its key are kept")
    job_max_entries: int = Field(10_000, ge=1, description="maximum number of waiting jobs in memory, without Redis")
    job_max_bytes: int = Field(64 << 20, ge=1, description="maximum total size of jobs and results in memory")
