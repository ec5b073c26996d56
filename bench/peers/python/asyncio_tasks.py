"""The tasks program on asyncio; with --uvloop on uvloop, whose tasks are asyncio's own."""

import asyncio
import os
import sys

from protocol import CHILDREN, CHOICES, GROUP_SIZE, HOUR, answer_all, connected_sockets


async def take_turns(count):
    made = 0
    for _ in range(count):
        await asyncio.sleep(0)
        made += 1
    return made


async def yield_(run):
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(take_turns(run.count // 2)) for _ in range(2)]
    return sum(task.result() for task in tasks)


async def spawn_join(run):
    ran = 0

    async def add_one():
        nonlocal ran
        ran += 1

    for done in range(0, run.count, GROUP_SIZE):
        async with asyncio.TaskGroup() as group:
            for _ in range(min(GROUP_SIZE, run.count - done)):
                group.create_task(add_one())
    return ran


async def grow(first, leaves):
    if leaves == 1:
        return first
    each = leaves // CHILDREN
    async with asyncio.TaskGroup() as group:
        children = [group.create_task(grow(first + i * each, each)) for i in range(CHILDREN)]
    return sum(child.result() for child in children)


async def skynet(run):
    return await grow(0, run.count)


async def return_balls(there, back):
    while (ball := await there.get()) is not None:
        await back.put(ball + 1)


async def channel_round_trip(run):
    there, back = asyncio.Queue(1), asyncio.Queue(1)
    ball = 0
    async with asyncio.TaskGroup() as group:
        group.create_task(return_balls(there, back))
        for _ in range(run.count):
            await there.put(ball)
            ball = await back.get()
        await there.put(None)
    return ball


async def select_ready(run):
    queues = [asyncio.Queue(1) for _ in range(CHOICES)]
    gets = {asyncio.create_task(queue.get()): queue for queue in queues}
    total = 0
    for i in range(run.count):
        await queues[i % CHOICES].put(i)
        done, _ = await asyncio.wait(gets, return_when=asyncio.FIRST_COMPLETED)
        for get in done:  # the others go on waiting
            total += get.result()
            queue = gets.pop(get)
            gets[asyncio.create_task(queue.get())] = queue
    for get in gets:
        get.cancel()
    await asyncio.wait(gets)
    return total


async def lock(run):
    lock = asyncio.Lock()
    held = 0
    for _ in range(run.count):
        async with lock:
            held += 1
    return held


async def lock_hand_over(run):
    lock = asyncio.Lock()
    holder, passed = None, 0

    async def run_with(me):
        nonlocal holder, passed
        for _ in range(run.count // 2):
            async with lock:
                passed += holder != me
                holder = me

    async with asyncio.TaskGroup() as group:
        async with lock:  # both wait
            group.create_task(run_with(1))
            group.create_task(run_with(2))
            await asyncio.sleep(0)
    return passed


async def event_set(run):
    event = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        waits = [group.create_task(event.wait()) for _ in range(run.count)]
        await asyncio.sleep(0)
        run.start()
        event.set()
    run.stop()
    return sum(wait.result() for wait in waits)


def never():
    raise AssertionError("it ran")


async def timers(run):
    call_later = asyncio.get_running_loop().call_later
    handles = [call_later(HOUR, never) for _ in range(run.count)]
    for handle in handles[run.count // 100:]:
        handle.cancel()
    await asyncio.sleep(0)  # what was cancelled is cleared away at the loop's next turn
    run.stop()
    left = sum(not handle.cancelled() for handle in handles)
    for handle in handles:
        handle.cancel()
    return left


async def timeout_scope(run):
    ended = 0
    for _ in range(run.count):
        async with asyncio.timeout(HOUR):
            pass
        ended += 1
    return ended


async def cancel_join(run):
    tasks = [asyncio.create_task(asyncio.sleep(HOUR)) for _ in range(run.count)]
    await asyncio.sleep(0)
    run.start()
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    run.stop()
    return sum(task.cancelled() for task in tasks)


async def cancel_tree(run):
    loop = asyncio.get_running_loop()
    sockets = connected_sockets(run.count // 3)
    free = iter(sockets)
    leaves = []

    def leaf(i, queue):
        if i % 3 == 1:
            return queue.get()
        if i % 3 == 2 and (receiver := next(free, None)):
            return loop.sock_recv(receiver, 1)
        return asyncio.sleep(HOUR)

    async def branch():
        queue = asyncio.Queue()
        async with asyncio.TaskGroup() as group:
            leaves.extend(group.create_task(leaf(i, queue)) for i in range(GROUP_SIZE))

    async def trunk():
        async with asyncio.TaskGroup() as group:
            for _ in range(run.count // GROUP_SIZE):
                group.create_task(branch())

    root = asyncio.create_task(trunk())
    await asyncio.sleep(0.001)
    run.start()
    root.cancel()
    await asyncio.wait([root])
    run.stop()
    for s in sockets:
        s.close()
    return sum(leaf.cancelled() for leaf in leaves)


async def pool_call(run):
    loop = asyncio.get_running_loop()
    done = 0
    for _ in range(run.count):
        await loop.run_in_executor(None, os.stat, "/")
        done += 1
    return done


async def sleepers(run):
    tasks = [asyncio.create_task(asyncio.sleep(HOUR)) for _ in range(run.count)]
    await asyncio.sleep(0)
    run.asleep(sum(not task.done() for task in tasks))
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    run.stop()
    return sum(task.cancelled() for task in tasks)


async def sleepers_later(run):
    call_later = asyncio.get_running_loop().call_later
    handles = [call_later(HOUR, never) for _ in range(run.count)]
    run.asleep(len(handles))
    for handle in handles:
        handle.cancel()
    await asyncio.sleep(0)
    run.stop()
    return sum(handle.cancelled() for handle in handles)


BENCHES = {
    "yield": yield_, "spawn_join": spawn_join, "channel_round_trip": channel_round_trip,
    "lock": lock, "lock_hand_over": lock_hand_over, "event_set": event_set,
    "select_ready": select_ready, "timers": timers, "timeout_scope": timeout_scope,
    "cancel_join": cancel_join, "cancel_tree": cancel_tree, "skynet": skynet,
    "pool_call": pool_call, "sleepers": sleepers, "sleepers_later": sleepers_later,
}


def main():
    if "--uvloop" in sys.argv[1:]:
        import uvloop
        uvloop.run(answer_all(f"uvloop {uvloop.__version__}", BENCHES))
    else:
        asyncio.run(answer_all("asyncio", BENCHES))


if __name__ == "__main__":
    main()
