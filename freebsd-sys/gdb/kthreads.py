# SPDX-License-Identifier: BSD-2-Clause
"""gdb's view of the kernel threads of the machines in a process.

    (gdb) source freebsd-sys/gdb/kthreads.py
    (gdb) kthreads            a line for each kernel thread: CPU, state, td_critnest, what it waits for
    (gdb) kthreads bt         the same, with the backtrace of each that is parked on its own stack
    (gdb) kthreads bt NAME    of those whose name contains NAME

A kernel thread that is not on a CPU is a coroutine that has switched away: its stack holds, from the saved stack pointer up, RIP,
RBX and RBP (`switch_stacks` in host/coroutine.rs). The backtrace is taken by lending these registers to a stopped host thread and putting
its own back, so it needs a live process, not a core file. Those on a CPU are in gdb's own `thread apply all bt`.
"""

import gdb

STATES = {0: "inactive", 1: "inhibited", 2: "can run", 3: "run queue", 4: "running"}
IDLE_OR_PARKED = 0x20 | 0x80000


def plain(value):
    """The number in a Rust newtype, however deeply wrapped (Owned32, AtomicUsize, UnsafeCell, ...)."""
    while value.type.code == gdb.TYPE_CODE_STRUCT:
        value = value[value.type.fields()[0]]
    return int(value)


def text(string):
    """A Rust String."""
    vec = string["vec"]
    at = vec["buf"]["inner"]["ptr"]
    while at.type.code == gdb.TYPE_CODE_STRUCT:
        at = at[at.type.fields()[0]]
    length = int(vec["len"])
    return gdb.selected_inferior().read_memory(int(at), length).tobytes().decode(errors="replace") if length else ""


def inside(guarded):
    """The value in a Guarded<T>."""
    return guarded["__0"]["value"]


def machines():
    """The machine that each host thread's GS block names, once each."""
    found = {}
    for thread in gdb.selected_inferior().threads():
        thread.switch()
        block = int(gdb.parse_and_eval("$gs_base"))
        if block == 0:
            continue
        # Block: curthread, curcpu, word, machine, at the offsets that host/gs.rs asserts.
        machine = int.from_bytes(gdb.selected_inferior().read_memory(block + 24, 8).tobytes(), "little")
        if machine != 0:
            found.setdefault(machine, thread)
    kind = gdb.lookup_type("freebsd_sys::machine::Machine").pointer()
    return [(gdb.Value(machine).cast(kind).dereference(), thread) for machine, thread in found.items()]


def kernel_threads(machine):
    count = plain(machine["live"])
    first = machine["first_thread"]
    kind = gdb.lookup_type("freebsd_sys::thread::Thread").pointer()
    for at in range(count):
        address = int.from_bytes(gdb.selected_inferior().read_memory(int(first) + 8 * at, 8).tobytes(), "little")
        yield gdb.Value(address).cast(kind).dereference()


def saved_stack_pointer(td):
    """Where a parked thread's registers lie; None if it has no context."""
    control = plain(td["control"])
    if not control:
        return None
    kind = gdb.lookup_type("freebsd_sys::host::coroutine::Control").pointer()
    return plain(gdb.Value(control).cast(kind).dereference()["sp"])


class Kthreads(gdb.Command):
    """Lists kernel threads: kthreads [bt [NAME]]."""

    def __init__(self):
        super().__init__("kthreads", gdb.COMMAND_STACK)

    def invoke(self, argument, from_tty):
        words = argument.split(None, 1)
        backtrace = bool(words) and words[0] == "bt"
        wanted = words[1] if len(words) > 1 else ""
        before = gdb.selected_thread()
        try:
            for number, (machine, host) in enumerate(machines()):
                print(f"machine {number} at {int(machine.address):#x}")
                for td in kernel_threads(machine):
                    self.show(td, host, backtrace, wanted)
        finally:
            before.switch()

    def show(self, td, host, backtrace, wanted):
        name = text(inside(td["name"]))
        if wanted not in name:
            return
        state = plain(td["state"])
        cpu = plain(td["oncpu"])
        if state == 0 and cpu < 0:
            return
        waits = ""
        if plain(td["wchan"]):
            waits = f" sleeps on {plain(td['wchan']):#x}"
        elif plain(td["blocked_on"]):
            waits = f" blocked on {plain(td['blocked_on']):#x}"
        elif plain(td["awaiting"]):
            waits = " spins"
        where = f"cpu{cpu}" if cpu >= 0 else "-"
        print(f"  {name:24} {where:5} {STATES[state]:9} critnest {plain(td['critnest'])} pri {plain(td['priority'])}{waits}")
        if backtrace and cpu < 0 and not plain(td["flags"]) & IDLE_OR_PARKED:
            self.backtrace(td, host)

    def backtrace(self, td, host):
        sp = saved_stack_pointer(td)
        if not sp:
            return
        host.switch()
        gdb.newest_frame().select()
        own = {register: int(gdb.parse_and_eval(f"${register}")) for register in ("rip", "rsp", "rbp", "rbx")}
        saved = gdb.selected_inferior().read_memory(sp, 24).tobytes()
        rip, rbx, rbp = (int.from_bytes(saved[at:at + 8], "little") for at in (0, 8, 16))
        try:
            for register, value in (("rip", rip), ("rbx", rbx), ("rbp", rbp), ("rsp", sp + 24)):
                gdb.execute(f"set ${register} = {value}", to_string=True)
            for line in gdb.execute("bt", to_string=True).splitlines():
                # Below this the stack is the coroutine's own beginning.
                if "::new_context::" in line:
                    break
                print(f"      {line}")
        except gdb.error as error:
            print(f"      {error}")
        finally:
            for register in ("rip", "rbx", "rbp", "rsp"):
                gdb.execute(f"set ${register} = {own[register]}", to_string=True)


Kthreads()
