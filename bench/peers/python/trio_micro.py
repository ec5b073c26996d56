"""The micro benches on trio."""

import micro
import trio

HOUR = 3600


async def nothing():
    pass


async def spawn_join(count):
    async with trio.open_nursery() as nursery:
        for _ in range(count):
            nursery.start_soon(nothing)


async def spin(count):
    for _ in range(count):
        await trio.lowlevel.checkpoint()


async def yield_between_two(count):
    async with trio.open_nursery() as nursery:
        nursery.start_soon(spin, count // 2)
        nursery.start_soon(spin, count // 2)


async def sleep_in(scope):
    with scope:
        await trio.sleep(HOUR)


async def cancel_join(count, clock):
    scopes = [trio.CancelScope() for _ in range(count)]
    async with trio.open_nursery() as nursery:
        for scope in scopes:
            nursery.start_soon(sleep_in, scope)
        await trio.testing.wait_all_tasks_blocked()
        clock.start()
        for scope in scopes:
            scope.cancel()
    clock.stop()
    assert all(scope.cancelled_caught for scope in scopes)


async def timeout_scope(count):
    for _ in range(count):
        with trio.move_on_after(HOUR):
            pass


async def return_balls(there, back):
    async for ball in there:
        await back.send(ball + 1)


async def channel_round_trip(count):
    there_send, there_receive = trio.open_memory_channel(0)
    back_send, back_receive = trio.open_memory_channel(0)
    ball = 0
    with there_receive, back_send, back_receive:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(return_balls, there_receive, back_send)
            for _ in range(count):
                await there_send.send(ball)
                ball = await back_receive.receive()
            there_send.close()
    assert ball == count


async def lock(count):
    lock = trio.Lock()
    for _ in range(count):
        await lock.acquire()
        lock.release()


async def pass_it_on(lock, count):
    for _ in range(count):
        await lock.acquire()
        lock.release()


async def lock_hand_over(count):
    lock = trio.Lock()
    async with trio.open_nursery() as nursery:
        await lock.acquire()  # both wait
        for _ in range(2):
            nursery.start_soon(pass_it_on, lock, count // 2)
        await trio.testing.wait_all_tasks_blocked()
        lock.release()


async def event_set(count, clock):
    event = trio.Event()
    async with trio.open_nursery() as nursery:
        for _ in range(count):
            nursery.start_soon(event.wait)
        await trio.testing.wait_all_tasks_blocked()
        clock.start()
        event.set()
    clock.stop()


if __name__ == "__main__":
    import trio.testing
    trio.run(micro.measure, spawn_join, yield_between_two, cancel_join, timeout_scope,
             channel_round_trip, lock, lock_hand_over, event_set)
