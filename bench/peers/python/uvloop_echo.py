"""An echo server on uvloop: the same Protocol on uvloop's loop, which sets TCP_NODELAY."""

import uvloop

from asyncio_echo import main

if __name__ == "__main__":
    uvloop.run(main("uvloop"))
