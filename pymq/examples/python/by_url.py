"""A PyMQ bus from a URL as the Rust examples read it, its namespace included: redis://host:6379/0?namespace=shop"""

import os
from urllib.parse import parse_qs, urlsplit, urlunsplit

import redis
from pymq.provider.redis import RedisEventBus


def by_url():
    """The bus that PYMQ_URL names; for pymq.init."""
    url = urlsplit(os.environ.get("PYMQ_URL", "redis://127.0.0.1:6379"))
    namespace = parse_qs(url.query).get("namespace", ["global"])[0]
    # From redis-py 8.0 on a socket gives up after 5 s unless told otherwise, and with it a `get` that waits longer.
    rds = redis.Redis.from_url(urlunsplit(url._replace(query="")), decode_responses=True, socket_timeout=None)
    return RedisEventBus(namespace, rds=rds)
