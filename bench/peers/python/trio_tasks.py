"""The tasks program on trio."""

import os

import trio
import trio.testing
from protocol import CHILDREN, GROUP_SIZE, HOUR, answer_all, connected_sockets


async def yield_(run):
    made = 0

    async def take_turns():
        nonlocal made
        for _ in range(run.count // 2):
            await trio.lowlevel.checkpoint()
            made += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(take_turns)
        nursery.start_soon(take_turns)
    return made


async def spawn_join(run):
    ran = 0

    async def add_one():
        nonlocal ran
        ran += 1

    for done in range(0, run.count, GROUP_SIZE):
        async with trio.open_nursery() as nursery:
            for _ in range(min(GROUP_SIZE, run.count - done)):
                nursery.start_soon(add_one)
    return ran


async def grow(first, leaves, sums):
    if leaves == 1:
        sums.append(first)
        return
    each = leaves // CHILDREN
    below = []
    async with trio.open_nursery() as nursery:
        for i in range(CHILDREN):
            nursery.start_soon(grow, first + i * each, each, below)
    sums.append(sum(below))


async def skynet(run):
    sums = []
    await grow(0, run.count, sums)
    return sums[0]


async def return_balls(there, back):
    async for ball in there:
        await back.send(ball + 1)


async def channel_round_trip(run):
    there_send, there_receive = trio.open_memory_channel(0)
    back_send, back_receive = trio.open_memory_channel(0)
    ball = 0
    with there_receive, back_send, back_receive:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(return_balls, there_receive, back_send)
            for _ in range(run.count):
                await there_send.send(ball)
                ball = await back_receive.receive()
            there_send.close()
    return ball


async def lock(run):
    lock = trio.Lock()
    held = 0
    for _ in range(run.count):
        async with lock:
            held += 1
    return held


async def lock_hand_over(run):
    lock = trio.Lock()
    holder, passed = None, 0

    async def run_with(me):
        nonlocal holder, passed
        for _ in range(run.count // 2):
            async with lock:
                passed += holder != me
                holder = me

    async with trio.open_nursery() as nursery:
        async with lock:  # both wait
            nursery.start_soon(run_with, 1)
            nursery.start_soon(run_with, 2)
            await trio.testing.wait_all_tasks_blocked()
    return passed


async def event_set(run):
    event = trio.Event()
    ran = 0

    async def wait():
        nonlocal ran
        await event.wait()
        ran += 1

    async with trio.open_nursery() as nursery:
        for _ in range(run.count):
            nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
        run.start()
        event.set()
    return ran


async def timeout_scope(run):
    ended = 0
    for _ in range(run.count):
        with trio.move_on_after(HOUR):
            pass
        ended += 1
    return ended


async def sleep_in(scope):
    with scope:
        await trio.sleep(HOUR)


async def cancel_join(run):
    scopes = [trio.CancelScope() for _ in range(run.count)]
    async with trio.open_nursery() as nursery:
        for scope in scopes:
            nursery.start_soon(sleep_in, scope)
        await trio.testing.wait_all_tasks_blocked()
        run.start()
        for scope in scopes:
            scope.cancel()
    run.stop()
    return sum(scope.cancelled_caught for scope in scopes)


async def cancel_tree(run):
    sockets = [trio.socket.from_stdlib_socket(s) for s in connected_sockets(run.count // 3)]
    free = iter(sockets)
    seen = 0

    async def leaf(wait, *args):
        nonlocal seen
        try:
            await wait(*args)
        except trio.Cancelled:
            seen += 1
            raise

    async def branch():
        sender, receiver = trio.open_memory_channel(0)
        async with trio.open_nursery() as nursery:
            for i in range(GROUP_SIZE):
                if i % 3 == 1:
                    nursery.start_soon(leaf, receiver.receive)
                elif i % 3 == 2 and (s := next(free, None)):
                    nursery.start_soon(leaf, s.recv, 1)
                else:
                    nursery.start_soon(leaf, trio.sleep, HOUR)

    async with trio.open_nursery() as nursery:
        for _ in range(run.count // GROUP_SIZE):
            nursery.start_soon(branch)
        await trio.testing.wait_all_tasks_blocked()
        run.start()
        nursery.cancel_scope.cancel()
    run.stop()
    for s in sockets:
        s.close()
    return seen


async def pool_call(run):
    done = 0
    for _ in range(run.count):
        await trio.to_thread.run_sync(os.stat, "/")
        done += 1
    return done


async def sleepers(run):
    seen = 0

    async def sleep_long():
        nonlocal seen
        try:
            await trio.sleep(HOUR)
        except trio.Cancelled:
            seen += 1
            raise

    async with trio.open_nursery() as nursery:
        for _ in range(run.count):
            nursery.start_soon(sleep_long)
        await trio.testing.wait_all_tasks_blocked()
        run.asleep(len(nursery.child_tasks))
        nursery.cancel_scope.cancel()
    return seen


BENCHES = {
    "yield": yield_, "spawn_join": spawn_join, "channel_round_trip": channel_round_trip,
    "lock": lock, "lock_hand_over": lock_hand_over, "event_set": event_set,
    # A nursery of eight receives, cancelled when one has something, loses what another has too.
    "select_ready": "many senders share one channel; nothing receives from the first of several",
    "timers": "a deadline is a scope's; that is timeout_scope",
    "timeout_scope": timeout_scope, "cancel_join": cancel_join, "cancel_tree": cancel_tree,
    "skynet": skynet, "pool_call": pool_call, "sleepers": sleepers,
    "sleepers_later": "nothing waits without a task",
}


if __name__ == "__main__":
    trio.run(answer_all, f"trio {trio.__version__}", BENCHES)
