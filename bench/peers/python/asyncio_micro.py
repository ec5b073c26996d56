"""The micro benches on asyncio; with --uvloop on uvloop, whose tasks are asyncio's own."""

import asyncio
import sys

import micro

HOUR = 3600


async def nothing():
    pass


async def spawn_join(count):
    async with asyncio.TaskGroup() as tasks:
        for _ in range(count):
            tasks.create_task(nothing())


async def spin(count):
    for _ in range(count):
        await asyncio.sleep(0)


async def yield_between_two(count):
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(spin(count // 2))
        tasks.create_task(spin(count // 2))


async def cancel_join(count, clock):
    tasks = [asyncio.create_task(asyncio.sleep(HOUR)) for _ in range(count)]
    await asyncio.sleep(0)
    clock.start()
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    clock.stop()
    assert all(task.cancelled() for task in tasks)


async def timeout_scope(count):
    for _ in range(count):
        async with asyncio.timeout(HOUR):
            pass


async def return_balls(there, back):
    while (ball := await there.get()) is not None:
        await back.put(ball + 1)


async def channel_round_trip(count):
    there, back = asyncio.Queue(1), asyncio.Queue(1)
    ball = 0
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(return_balls(there, back))
        for _ in range(count):
            await there.put(ball)
            ball = await back.get()
        await there.put(None)
    assert ball == count


async def lock(count):
    lock = asyncio.Lock()
    for _ in range(count):
        await lock.acquire()
        lock.release()


async def pass_it_on(lock, count):
    for _ in range(count):
        await lock.acquire()
        lock.release()


async def lock_hand_over(count):
    lock = asyncio.Lock()
    async with asyncio.TaskGroup() as tasks:
        await lock.acquire()  # both wait
        for _ in range(2):
            tasks.create_task(pass_it_on(lock, count // 2))
        await asyncio.sleep(0)
        lock.release()


async def event_set(count, clock):
    event = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        for _ in range(count):
            tasks.create_task(event.wait())
        await asyncio.sleep(0)
        clock.start()
        event.set()
    clock.stop()


def main():
    run = asyncio.run
    if "--uvloop" in sys.argv[1:]:
        import uvloop
        run = uvloop.run
    run(micro.measure(spawn_join, yield_between_two, cancel_join, timeout_scope,
                      channel_round_trip, lock, lock_hand_over, event_set))


if __name__ == "__main__":
    main()
