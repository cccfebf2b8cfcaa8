"""A Python member of the chat room of ../chat.rs.

    PYMQ_URL=redis://127.0.0.1:6379 .venv/bin/python pymq/examples/python/chat.py Bob
"""

import os
import sys
from dataclasses import dataclass

import pymq

from by_url import by_url


@dataclass
class Said:
    who: str
    text: str


def main():
    me = sys.argv[1] if len(sys.argv) > 1 else f"guest-{os.getpid()}"
    pymq.init(by_url)
    room = pymq.topic("chat")

    # The annotation decides what is built: a Rust member sends plain data.
    def show(said: Said):
        if said.who != me:
            print(f"{said.who}: {said.text}", flush=True)

    room.subscribe(show)

    print(f"you are {me}; type, and end with Ctrl-D", flush=True)
    for line in sys.stdin:
        members = room.publish(Said(me, line.rstrip("\n")))
        if members == 1:
            print("(nobody else is here)", flush=True)
    pymq.shutdown()


if __name__ == "__main__":
    main()
