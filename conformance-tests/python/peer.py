"""A PyMQ program that is told what to do: it runs the Python it reads, one JSON line for each piece, and answers by a line.

usage: peer.py REDIS_URL NAMESPACE

The pieces run one after the other in this module, as if they stood here. Ends when its input does, whatever it is doing
then, so that it does not outlive the test that started it.
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

# What the library logged as an error: it swallows what goes wrong in handlers and decoders.
errors = []

# Where handlers put what they see.
seen = queue.Queue()


def _bus(url, namespace):
    # See requirements.txt. The client's name is for the tests, which find out by it what we are waiting for.
    rds = redis.Redis.from_url(url, decode_responses=True, socket_timeout=None, client_name=namespace)
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
    # The answers have the output for themselves; what a piece prints goes where errors go.
    answers, sys.stdout = sys.stdout, sys.stderr
    logging.getLogger().addHandler(_Errors(logging.ERROR))
    pymq.init(lambda: _bus(url, namespace))
    pieces = queue.SimpleQueue()
    threading.Thread(target=_read, args=(pieces,), daemon=True).start()
    while True:
        print(_answer(**json.loads(pieces.get())), file=answers, flush=True)


if __name__ == "__main__":
    _main(*sys.argv[1:])
