"""An echo server on anyio, on its default backend, asyncio, which sets TCP_NODELAY."""

import signal

import anyio
import cli
from anyio.abc import SocketStream


async def echo(stream: SocketStream) -> None:
    async with stream:
        try:
            while True:
                await stream.send(await stream.receive(16384))
        except (anyio.EndOfStream, anyio.BrokenResourceError):
            pass


async def main() -> None:
    port = cli.port()
    with anyio.open_signal_receiver(signal.SIGTERM) as signals:
        async with anyio.create_task_group() as tasks:
            listener = await anyio.create_tcp_listener(
                local_host="127.0.0.1", local_port=port, backlog=1024
            )
            tasks.start_soon(listener.serve, echo)
            cli.announce(port, "anyio")
            async for _ in signals:
                tasks.cancel_scope.cancel()


if __name__ == "__main__":
    anyio.run(main)
