"""A PyMQ program that runs the Python code it reads.

usage: peer.py REDIS_URL NAMESPACE

Each line of its input is a piece of code as JSON, and it answers each with one line. The pieces run
one after the other in this module. It ends at the end of its input, whatever it is doing then, so
that it does not outlive the test that started it.
"""

import ast
import json
import logging
import os
import queue
import sys
import textwrap
import threading
import traceback

import pymq
import redis
from pymq.provider.redis import RedisEventBus

import shop.events
from shop.events import Basket, Customer, Line, Outer, Ping, Placed

# What the library logged as an error: it only logs failures of handlers and decoders.
errors = []

# The events that handlers received.
seen = queue.Queue()


def _bus(url, namespace):
    # See requirements.txt. The tests find these connections by the name of the client.
    rds = redis.Redis.from_url(
        url, decode_responses=True, socket_timeout=None, client_name=namespace
    )
    return RedisEventBus(namespace, rds=rds)


def _run(code):
    """Runs a piece; if it ends with an expression, that is its value."""
    tree = ast.parse(textwrap.dedent(code))
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, "<test>", "exec"), globals())
    return last and eval(compile(ast.Expression(last.value), "<test>", "eval"), globals())


def _answer(id, code, wants_value):
    try:
        value = _run(code)
        return json.dumps({"id": id, "value": value if wants_value else None})
    except BaseException as e:
        raised = {"type": type(e).__name__, "args": e.args, "traceback": traceback.format_exc()}
        return json.dumps({"id": id, "raised": raised}, default=repr)


class _Errors(logging.Handler):
    def emit(self, record):
        errors.append(self.format(record))


def _read(pieces):
    for line in sys.stdin:
        pieces.put(line)
    os._exit(0)


def _main(url, namespace):
    # Only answers go to the standard output. What a piece prints goes to the standard error.
    answers, sys.stdout = sys.stdout, sys.stderr
    logging.getLogger().addHandler(_Errors(logging.ERROR))
    pymq.init(lambda: _bus(url, namespace))
    pieces = queue.SimpleQueue()
    threading.Thread(target=_read, args=(pieces,), daemon=True).start()
    while True:
        print(_answer(**json.loads(pieces.get())), file=answers, flush=True)


if __name__ == "__main__":
    _main(*sys.argv[1:])
