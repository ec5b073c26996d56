"""An echo server on asyncio: a Protocol, its fastest way. TCP_NODELAY is asyncio's own default."""

import asyncio
import signal

import cli


class Echo(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.transport.write(data)


async def main(name: str) -> None:
    port = cli.port()
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    server = await loop.create_server(Echo, "127.0.0.1", port, backlog=1024)
    cli.announce(port, name)
    await stop.wait()
    server.close()


if __name__ == "__main__":
    asyncio.run(main("asyncio"))
