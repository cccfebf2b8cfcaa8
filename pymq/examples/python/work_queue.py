"""Puts jobs for the workers of ../work_queue.rs.

    PYMQ_URL=redis://127.0.0.1:6379 .venv/bin/python pymq/examples/python/work_queue.py 5
"""

import sys
from dataclasses import dataclass

import pymq

from by_url import by_url


@dataclass
class Job:
    number: int
    milliseconds: int


def main():
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10
    pymq.init(by_url)
    jobs = pymq.queue("work_queue.jobs")
    for number in range(1, count + 1):
        jobs.put(Job(number, milliseconds=200))
    print(f"put {count} jobs, {jobs.qsize()} wait for a worker", flush=True)
    pymq.shutdown()


if __name__ == "__main__":
    main()
