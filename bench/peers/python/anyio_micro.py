"""The micro benches on anyio, on its default backend, asyncio."""

import anyio
import anyio.lowlevel
import micro

HOUR = 3600


async def nothing():
    pass


async def spawn_join(count):
    async with anyio.create_task_group() as tasks:
        for _ in range(count):
            tasks.start_soon(nothing)


async def spin(count):
    for _ in range(count):
        await anyio.sleep(0)


async def yield_between_two(count):
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(spin, count // 2)
        tasks.start_soon(spin, count // 2)


async def sleep_in(scope):
    with scope:
        await anyio.sleep(HOUR)


async def cancel_join(count, clock):
    scopes = [anyio.CancelScope() for _ in range(count)]
    async with anyio.create_task_group() as tasks:
        for scope in scopes:
            tasks.start_soon(sleep_in, scope)
        await anyio.wait_all_tasks_blocked()
        clock.start()
        for scope in scopes:
            scope.cancel()
    clock.stop()
    assert all(scope.cancelled_caught for scope in scopes)


async def timeout_scope(count):
    for _ in range(count):
        with anyio.move_on_after(HOUR):
            pass


async def return_balls(there, back):
    async for ball in there:
        await back.send(ball + 1)


async def channel_round_trip(count):
    there_send, there_receive = anyio.create_memory_object_stream(0)
    back_send, back_receive = anyio.create_memory_object_stream(0)
    ball = 0
    with there_receive, back_send, back_receive:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(return_balls, there_receive, back_send)
            for _ in range(count):
                await there_send.send(ball)
                ball = await back_receive.receive()
            there_send.close()
    assert ball == count


async def lock(count):
    lock = anyio.Lock()
    for _ in range(count):
        await lock.acquire()
        lock.release()


async def pass_it_on(lock, count):
    for _ in range(count):
        await lock.acquire()
        lock.release()


async def lock_hand_over(count):
    lock = anyio.Lock()
    async with anyio.create_task_group() as tasks:
        await lock.acquire()  # both wait
        for _ in range(2):
            tasks.start_soon(pass_it_on, lock, count // 2)
        await anyio.wait_all_tasks_blocked()
        lock.release()


async def event_set(count, clock):
    event = anyio.Event()
    async with anyio.create_task_group() as tasks:
        for _ in range(count):
            tasks.start_soon(event.wait)
        await anyio.wait_all_tasks_blocked()
        clock.start()
        event.set()
    clock.stop()


if __name__ == "__main__":
    anyio.run(micro.measure, spawn_join, yield_between_two, cancel_join, timeout_scope,
             channel_round_trip, lock, lock_hand_over, event_set)
