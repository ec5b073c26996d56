"""coil-gdb.py - `coil tasks`: the tasks of a loop, as a tree, each with a backtrace.

    (gdb) source coil-gdb.py        or installed, where gdb finds it with libcoil.so
    (gdb) coil tasks                the loop of the selected thread, or of every thread that has one
    (gdb) coil tasks 0x5555...      the loop at that address

On a live process and on a core, x86-64 and aarch64. Nothing of the process is changed: a parked task's frames
are shown by an unwinder that says of the thread's innermost frame that the task's called it. It needs the
library's symbols (coil__layout, coil__here, coil__switch_parked), and no debugging information.
"""
import gdb
import gdb.unwinder

MAGIC = 0xc0110003
NAMES = [
    'loop.root', 'loop.living', 'loop.now_ns',
    'scope.parent', 'scope.siblings', 'scope.children', 'scope.task', 'scope.site', 'scope.deadline_ns', 'scope.asked',
    'scope.shielded', 'scope.of_group', 'group.count', 'group.dormant', 'group.dormant_count',
    'dormant.link', 'dormant.name', 'dormant.has_handle', 'dormant.site', 'dormant.watches', 'dormant.is_deadline',
    'dormant.armed', 'dormant.at_ns', 'sleeper.since_ns', 'watcher.fd', 'watcher.since_ns', 'handle.name',
    'task.own', 'task.sp', 'task.state', 'task.name', 'task.waits_for', 'task.since_ns',
    'here.loop', 'here.task',
]
READY, RUNNING, PARKED = range(3)
FOREVER = (1 << 63) - 1
FRAMES_MOST = 64
DORMANT_MOST = 1000
INDENT_MOST = 32

# What coil__switch leaves at a parked task's stack pointer: register and offset; then where the stack was.
PARKED_AT = {
    'i386:x86-64': ({'r15': 0, 'r14': 8, 'r13': 16, 'r12': 24, 'rbx': 32, 'rbp': 40, 'rip': 48}, 56, 'rsp', 'rip'),
    'aarch64': ({**{f'x{n}': (n - 19) * 8 for n in range(19, 31)}, 'pc': 88}, 160, 'sp', 'pc'),
}


def read(address, size):
    data = gdb.selected_inferior().read_memory(address, size).tobytes()
    return int.from_bytes(data, 'little')


def word(address):
    return read(address, 8)


def words(address):
    """The string there, printable, on one line."""
    if not address:
        return '(unknown)'
    data = b''
    while len(data) < 200:
        byte = gdb.selected_inferior().read_memory(address + len(data), 1).tobytes()
        if byte == b'\0':
            break
        data += byte
    return ''.join(c if c.isprintable() else repr(c)[1:-1] for c in data.decode('utf-8', 'replace'))


def symbol(name):
    return int(gdb.parse_and_eval(f'(unsigned long)&{name}'))


def layout():
    table = symbol('coil__layout')
    if read(table, 4) != MAGIC:
        raise gdb.GdbError('this script and this coil are of different versions')
    return {name: read(table + 4 * (1 + i), 4) for i, name in enumerate(NAMES)}


def duration(ns):
    for size, unit in ((86400 * 10**9, 'd'), (3600 * 10**9, 'h'), (60 * 10**9, 'min'), (10**9, 's'), (10**6, 'ms')):
        if ns >= size:
            return f'{ns / size:.1f} {unit}'
    return f'{max(ns, 0) / 1000:.1f} us'


class ParkedUnwinder(gdb.unwinder.Unwinder):
    """Claims the thread's innermost frame, while there is a task to show, and sends gdb on to the task's."""

    class Id:
        def __init__(self, sp, pc):
            self.sp = sp
            self.pc = pc

    def __init__(self):
        super().__init__('coil: parked tasks')
        self.sp = None

    def __call__(self, pending):
        if not self.sp:
            return None
        name = pending.architecture().name()
        if name not in PARKED_AT:
            return None
        saved, size, sp_name, pc_name = PARKED_AT[name]
        here = (int(pending.read_register(sp_name)), int(pending.read_register(pc_name)))
        if here != self.top:
            return None
        u64 = gdb.selected_inferior().architecture().integer_type(64, False)
        made = pending.create_unwind_info(self.Id(gdb.Value(self.sp).cast(u64), gdb.Value(here[1]).cast(u64)))
        for register, offset in saved.items():
            made.add_saved_register(register, gdb.Value(word(self.sp + offset)).cast(u64))
        made.add_saved_register(sp_name, gdb.Value(self.sp + size).cast(u64))
        return made

    def frames(self, sp):
        """The frames of the task that is parked there, innermost first."""
        gdb.newest_frame().select()
        name = gdb.selected_inferior().architecture().name()
        _, _, sp_name, pc_name = PARKED_AT[name]
        top = gdb.newest_frame()
        self.top = (int(top.read_register(sp_name)), int(top.read_register(pc_name)))
        self.sp = sp
        gdb.invalidate_cached_frames()
        try:
            yield from older(gdb.newest_frame().older())
        finally:
            self.sp = None
            gdb.invalidate_cached_frames()


def older(frame):
    count = 0
    while frame and count < FRAMES_MOST:
        yield describe(frame)
        frame = frame.older()
        count += 1


def describe(frame):
    where = frame.find_sal()
    at = f' at {where.symtab.filename}:{where.line}' if where and where.symtab else ''
    name = frame.name() or hex(frame.pc())
    if name.startswith('coil.'):  # without debugging information gdb takes two underscores for Ada's dot
        name = name.replace('.', '__', 1)
    return f'{name}{at}'


class Loop:
    def __init__(self, address, thread, at):
        self.address = address
        self.thread = thread
        self.at = at
        self.now_ns = self.field(address, 'loop.now_ns')

    def field(self, address, name):
        return word(address + self.at[name])

    def walk(self):
        """(depth, scope), parents first."""
        root = self.address + self.at['loop.root']
        scope, depth = root, 0
        while True:
            yield depth, scope
            first = self.field(scope, 'scope.children')
            if first != scope + self.at['scope.children']:
                scope, depth = first - self.at['scope.siblings'], depth + 1
                continue
            while scope != root:
                parent = self.field(scope, 'scope.parent')
                following = self.field(scope, 'scope.siblings')
                if following != parent + self.at['scope.children']:
                    scope = following - self.at['scope.siblings']
                    break
                scope, depth = parent, depth - 1
            if scope == root:
                return

    def show(self):
        print(f'loop {self.address:#x} of thread {self.thread or "?"}: '
              f'{self.field(self.address, "loop.living")} tasks')
        for depth, scope in self.walk():
            if not depth:
                continue
            indent = '  ' * min(depth, INDENT_MOST) + (f'({depth}) ' if depth > INDENT_MOST else '')
            task = self.field(scope, 'scope.task')
            if scope == task + self.at['task.own']:
                self.show_task(indent, task, scope)
            else:
                self.show_scope(indent, scope)
                if read(scope + self.at['scope.of_group'], 1) and self.field(scope, 'group.dormant_count'):
                    self.show_dormants('  ' + indent, scope)

    def flags(self, scope):
        deadline_ns = self.field(scope, 'scope.deadline_ns')
        if deadline_ns != FOREVER:
            left_ns = deadline_ns - self.now_ns
            yield f'deadline in {duration(left_ns)}' if left_ns > 0 else f'deadline passed {duration(-left_ns)} ago'
        if read(scope + self.at['scope.shielded'], 1):
            yield 'shielded'
        asked = read(scope + self.at['scope.asked'], 1)
        if asked & 3:
            yield 'cancelled' if asked & 1 else 'asked to finish'

    def show_scope(self, indent, scope):
        what = 'scope'
        if read(scope + self.at['scope.of_group'], 1):
            what = f'group of {self.field(scope, "group.count")} tasks'
        site = words(self.field(scope, 'scope.site'))
        print(indent + ', '.join([what, *self.flags(scope), f'begun at {site}']))

    def show_dormants(self, indent, group):
        """The tasks of a group that have no stack, those first that have waited longest."""
        end = group + self.at['group.dormant']
        link, shown = word(end), 0
        while link != end and shown < DORMANT_MOST:
            self.show_dormant(indent, link - self.at['dormant.link'])
            link, shown = word(link), shown + 1
        if link != end:
            print(f'{indent}and {self.field(group, "group.dormant_count") - shown} more, dormant')

    def show_dormant(self, indent, dormant):
        name = self.field(dormant, 'dormant.name')
        if read(dormant + self.at['dormant.has_handle'], 1):
            name = self.field(name, 'handle.name')
        watches = read(dormant + self.at['dormant.watches'], 1)
        since_ns = self.field(dormant, 'watcher.since_ns' if watches else 'sleeper.since_ns')
        what = f'waits {duration(self.now_ns - since_ns)} for '
        if watches:
            what += f'something to read on fd {read(dormant + self.at["watcher.fd"], 4)}'
        else:
            what += 'its time'
        until = []
        if self.field(dormant, 'dormant.armed'):
            left_ns = self.field(dormant, 'dormant.at_ns') - self.now_ns
            if read(dormant + self.at['dormant.is_deadline'], 1):
                until = [f'deadline in {duration(left_ns)}']
            else:
                what += f' in {duration(left_ns)}'
        site = words(self.field(dormant, 'dormant.site'))
        print(indent + ', '.join([f'task {words(name)}: {what}', 'dormant', *until, f'spawned at {site}']))

    def show_task(self, indent, task, scope):
        state = read(task + self.at['task.state'], 1)
        sp = self.field(task, 'task.sp')
        what = {READY: 'ready', RUNNING: 'running', PARKED: 'waits'}.get(state, 'ended')
        if state == PARKED:
            since_ns = self.now_ns - self.field(task, 'task.since_ns')
            what += f' {duration(since_ns)} for {words(self.field(task, "task.waits_for"))}'
        elif state == READY and not sp:
            what += ', has not begun'
        name = words(self.field(task, 'task.name'))
        site = words(self.field(scope, 'scope.site'))
        print(indent + ', '.join([f'task {name} ({task:#x}): {what}', *self.flags(scope), f'spawned at {site}']))
        if state == RUNNING and self.thread:
            frames = older(gdb.newest_frame())
        else:
            frames = parked.frames(sp) if sp and state in (READY, PARKED) else []
        for number, frame in enumerate(frames):
            print(f'{indent}  #{number} {frame}')


def loop_here(at):
    """The loop of the selected thread; 0 if it has none, or gdb cannot tell."""
    try:
        return word(symbol('coil__here') + at['here.loop'])
    except (gdb.error, gdb.MemoryError):
        return 0


def loops(at):
    here = gdb.selected_thread()
    threads = [here] if loop_here(at) else gdb.selected_inferior().threads()
    for thread in threads:
        thread.switch()
        address = loop_here(at)
        if address:
            yield Loop(address, thread.num, at)


class CoilPrefix(gdb.Command):
    """What coil's loops are doing."""

    def __init__(self):
        super().__init__('coil', gdb.COMMAND_STACK, prefix=True)


class CoilTasks(gdb.Command):
    """coil tasks [LOOP] - the tasks of a loop, as a tree, with backtraces."""

    def __init__(self):
        super().__init__('coil tasks', gdb.COMMAND_STACK)

    def invoke(self, argument, from_tty):
        before = gdb.selected_thread()
        if not before:
            raise gdb.GdbError('there is no process and no core')
        frame = gdb.selected_frame()
        level = frame.level()
        try:
            at = layout()
            found = [Loop(int(gdb.parse_and_eval(argument)), 0, at)] if argument else list(loops(at))
            if not found:
                raise gdb.GdbError('no thread runs a loop (or its thread-local data cannot be read: coil tasks LOOP)')
            for loop in found:
                if loop.thread:
                    next(t for t in gdb.selected_inferior().threads() if t.num == loop.thread).switch()
                loop.show()
        except gdb.MemoryError as error:
            raise gdb.GdbError(f'{error}: is it left out of the core?') from error
        finally:
            before.switch()
            gdb.execute(f'frame {level}', to_string=True)


parked = ParkedUnwinder()
gdb.unwinder.register_unwinder(None, parked, replace=True)
CoilPrefix()
CoilTasks()
