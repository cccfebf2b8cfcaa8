"""Calls of Python PyMQ, for the benches.

usage: caller.py REDIS_URL serve|call

`serve` says "ready" and answers calls. `call` reads lines of two numbers, how many calls and by how
many threads, makes the calls and says "done". Both end at the end of their input.
"""

import os
import sys
from concurrent.futures import ThreadPoolExecutor

import pymq
import redis
from pymq.provider.redis import RedisEventBus

TEXT = "x" * 254


def echo(text: str) -> str:
    return text


def call(times):
    stub = pymq.stub("echo", timeout=10)
    for _ in range(times):
        assert stub(TEXT) == TEXT


def main(url, role):
    # Without a time limit of the socket: newer versions of redis-py have one by default.
    rds = redis.Redis.from_url(url, decode_responses=True, socket_timeout=None)
    pymq.init(lambda: RedisEventBus("python", rds=rds))
    if role == "serve":
        pymq.expose(echo, "echo")
        print("ready", flush=True)
        sys.stdin.read()
        return
    # Until the function is live: Python exposes without waiting for that.
    while pymq.stub("echo", timeout=1)(TEXT) != TEXT:
        pass
    print("ready", flush=True)
    with ThreadPoolExecutor(64) as callers:
        for line in sys.stdin:
            calls, threads = map(int, line.split())
            list(callers.map(call, [calls // threads] * threads))
            print("done", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
    os._exit(0)
