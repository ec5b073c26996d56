"""The tasks program on anyio, on its default backend, asyncio."""

import importlib.metadata
import os

import anyio
import anyio.lowlevel
import anyio.to_thread
from anyio.abc import UNIXSocketStream
from protocol import CHILDREN, GROUP_SIZE, HOUR, answer_all, connected_sockets


async def take_turns(count):
    made = 0
    for _ in range(count):
        await anyio.lowlevel.checkpoint()
        made += 1
    return made


async def yield_(run):
    async with anyio.create_task_group() as group:
        tasks = [group.create_task(take_turns(run.count // 2)) for _ in range(2)]
    return sum(task.return_value for task in tasks)


async def spawn_join(run):
    ran = 0

    async def add_one():
        nonlocal ran
        ran += 1

    for done in range(0, run.count, GROUP_SIZE):
        async with anyio.create_task_group() as group:
            for _ in range(min(GROUP_SIZE, run.count - done)):
                group.start_soon(add_one)
    return ran


async def grow(first, leaves):
    if leaves == 1:
        return first
    each = leaves // CHILDREN
    async with anyio.create_task_group() as group:
        children = [group.create_task(grow(first + i * each, each)) for i in range(CHILDREN)]
    return sum(child.return_value for child in children)


async def skynet(run):
    return await grow(0, run.count)


async def return_balls(there, back):
    async for ball in there:
        await back.send(ball + 1)


async def channel_round_trip(run):
    there_send, there_receive = anyio.create_memory_object_stream(0)
    back_send, back_receive = anyio.create_memory_object_stream(0)
    ball = 0
    with there_receive, back_send, back_receive:
        async with anyio.create_task_group() as group:
            group.start_soon(return_balls, there_receive, back_send)
            for _ in range(run.count):
                await there_send.send(ball)
                ball = await back_receive.receive()
            there_send.close()
    return ball


async def lock(run):
    lock = anyio.Lock(fast_acquire=True)
    held = 0
    for _ in range(run.count):
        async with lock:
            held += 1
    return held


async def lock_hand_over(run):
    lock = anyio.Lock()
    holder, passed = None, 0

    async def run_with(me):
        nonlocal holder, passed
        for _ in range(run.count // 2):
            async with lock:
                passed += holder != me
                holder = me

    async with anyio.create_task_group() as group:
        async with lock:  # both wait
            group.start_soon(run_with, 1)
            group.start_soon(run_with, 2)
            await anyio.wait_all_tasks_blocked()
    return passed


async def event_set(run):
    event = anyio.Event()
    ran = 0

    async def wait():
        nonlocal ran
        await event.wait()
        ran += 1

    async with anyio.create_task_group() as group:
        for _ in range(run.count):
            group.start_soon(wait)
        await anyio.wait_all_tasks_blocked()
        run.start()
        event.set()
    return ran


async def timeout_scope(run):
    ended = 0
    for _ in range(run.count):
        with anyio.move_on_after(HOUR):
            pass
        ended += 1
    return ended


async def cancel_join(run):
    async with anyio.create_task_group() as group:
        tasks = [group.create_task(anyio.sleep(HOUR)) for _ in range(run.count)]
        await anyio.wait_all_tasks_blocked()
        run.start()
        for task in tasks:
            task.cancel()
    run.stop()
    return sum(task.status is anyio.TaskHandle.Status.CANCELLED for task in tasks)


async def cancel_tree(run):
    streams = [await UNIXSocketStream.from_socket(s) for s in connected_sockets(run.count // 3)]
    free = iter(streams)
    leaves = []

    def leaf(i, receiver):
        if i % 3 == 1:
            return receiver.receive()
        if i % 3 == 2 and (stream := next(free, None)):
            return stream.receive(1)
        return anyio.sleep(HOUR)

    async def branch():
        sender, receiver = anyio.create_memory_object_stream(0)
        with sender, receiver:
            async with anyio.create_task_group() as group:
                leaves.extend(group.create_task(leaf(i, receiver)) for i in range(GROUP_SIZE))

    async with anyio.create_task_group() as group:
        for _ in range(run.count // GROUP_SIZE):
            group.start_soon(branch)
        await anyio.wait_all_tasks_blocked()
        run.start()
        group.cancel_scope.cancel()
    run.stop()
    for stream in streams:
        await stream.aclose()
    return sum(leaf.status is anyio.TaskHandle.Status.CANCELLED for leaf in leaves)


async def pool_call(run):
    done = 0
    for _ in range(run.count):
        await anyio.to_thread.run_sync(os.stat, "/")
        done += 1
    return done


async def sleepers(run):
    async with anyio.create_task_group() as group:
        tasks = [group.create_task(anyio.sleep(HOUR)) for _ in range(run.count)]
        await anyio.wait_all_tasks_blocked()
        run.asleep(sum(task.status is anyio.TaskHandle.Status.PENDING for task in tasks))
        group.cancel_scope.cancel()
    run.stop()
    return sum(task.status is anyio.TaskHandle.Status.CANCELLED for task in tasks)


BENCHES = {
    "yield": yield_, "spawn_join": spawn_join, "channel_round_trip": channel_round_trip,
    "lock": lock, "lock_hand_over": lock_hand_over, "event_set": event_set,
    # A group of eight receives, cancelled when one has something, loses what another has too.
    "select_ready": "many senders share one stream; nothing receives from the first of several",
    "timers": "a deadline is a scope's; that is timeout_scope",
    "timeout_scope": timeout_scope, "cancel_join": cancel_join, "cancel_tree": cancel_tree,
    "skynet": skynet, "pool_call": pool_call, "sleepers": sleepers,
    "sleepers_later": "nothing waits without a task",
}


if __name__ == "__main__":
    anyio.run(answer_all, f"anyio {importlib.metadata.version('anyio')}", BENCHES)
