"""What the Python echo servers share: the argument, and the line that says they are ready."""

import argparse


def port() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    return parser.parse_args().port


def announce(port: int, name: str) -> None:
    print(f"listening on 127.0.0.1:{port}, {name}", flush=True)
