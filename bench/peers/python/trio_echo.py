"""An echo server on trio. TCP_NODELAY is trio's own default."""

import signal

import cli
import trio


async def echo(stream: trio.SocketStream) -> None:
    while data := await stream.receive_some(16384):
        await stream.send_all(data)


async def main() -> None:
    port = cli.port()
    with trio.open_signal_receiver(signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:
            listeners = await trio.open_tcp_listeners(port, host="127.0.0.1", backlog=1024)
            nursery.start_soon(trio.serve_listeners, echo, listeners)
            cli.announce(port, "trio")
            async for _ in signals:
                nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main)
