"""A server in a process of its own: `python -m tests.serving.run_server KIND [--name value ...]`."""

import argparse
import os
import sys
import time

from lightning_posttrain.serving.limits import Limits
from lightning_posttrain.serving.server import serve
from tests.serving.models import Digits


class Slow(Digits):
    def run(self, inputs):
        time.sleep(0.05)
        return super().run(inputs)


def say(line):
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("model", choices=["digits", "slow"])
    parser.add_argument("--grace", type=float, default=0.0)
    parser.add_argument("--seconds", type=float, default=30.0)
    chosen = parser.parse_args()
    predictor = {"digits": Digits, "slow": Slow}[chosen.model]()
    limits = Limits(seconds=chosen.seconds, body_bytes=1 << 20)
    key = os.environ.get("KEY")
    return serve(predictor, say=say, port=0, key=key, grace=chosen.grace, limits=limits)


if __name__ == "__main__":
    sys.exit(main())
