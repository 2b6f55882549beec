"""Runs in the tests' own venv: Procrastinate defers, runs and ends jobs."""

from __future__ import annotations

import asyncio
import sys

import procrastinate

app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=sys.argv[2]))


@app.task(name="good")
def good(number: int) -> int:
    return number


@app.task(name="bad")
def bad(number: int) -> int:
    raise ValueError(number)


AGED = """
UPDATE procrastinate_events SET at = at - interval '4 days'
WHERE job_id IN (SELECT id FROM procrastinate_jobs WHERE args->>'number' < '5')
"""


async def main() -> None:
    async with app.open_async():
        if sys.argv[1] == "write":
            await app.schema_manager.apply_schema_async()
            for number in range(10):
                await good.defer_async(number=number)
                await bad.defer_async(number=number)
            await app.run_worker_async(wait=False, install_signal_handlers=False)
            for number in range(10):
                await good.defer_async(number=number)  # waits
            await app.connector.execute_query_async(AGED)
            return
        count = "SELECT count(*) AS n FROM procrastinate_jobs"
        before = (await app.connector.execute_query_one_async(count))["n"]
        await app.job_manager.delete_old_jobs(
            nb_hours=72, include_failed=True, include_cancelled=True, include_aborted=True
        )
        after = (await app.connector.execute_query_one_async(count))["n"]
        print("Job", before, before - after)


asyncio.run(main())
