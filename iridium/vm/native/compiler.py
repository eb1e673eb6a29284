"""The compiler, as LLVM IR: one function for each region of a program, made of the lowerings of its instructions.

Operands are constants, and registers and flags are values of the function: they are read from the record where it
is entered and written where it is left. Whatever is rare is left to the native interpreter, at the very
instruction: faults, waiting, the first use of memory, and the end of a turn.

**Budget.** At a checkpoint the cost of its block is taken off the budget, or the function is left if that is more
than there is. A shorter way than the longest gives back the difference, so that what is taken off and not executed
yet is the cost of the block that control is in; what leaves in the middle of a block gives back the rest of it.
All these numbers are constants, and a loop with one way costs one subtraction and one branch that is never taken.
"""

from __future__ import annotations

from iridium.isa import WORD, Fault
from iridium.vm.native import loops
from iridium.vm.native.emit import MODULE, OFFSETS, UNLIKELY, Effects, Emitter, nothing
from iridium.vm.native.flow import Flow, Op
from iridium.vm.native.lowering import INTERPRETED, LOWERINGS
from iridium.vm.record import Stop, Waiting
from iridium.vm.runtime.layout import ELSEWHERE, LEFT, SHORT, ProgramRecord

_SCOPES = """
!1 = distinct !{!1}
!2 = distinct !{!2, !1}
!3 = distinct !{!3, !1}
!4 = !{!2}
!5 = !{!3}
"""


class _Region(Emitter):
    """The function of one region."""

    HEAP = ", !alias.scope !4, !noalias !5"
    STACK = ", !alias.scope !5, !noalias !4"

    def __init__(self, flow: Flow, blocks: list[int], name: str) -> None:
        super().__init__()
        self._flow = flow
        self._blocks = frozenset(blocks)
        self._name = name
        self._read: dict[str, str] = {}  # the IR type of each variable that is used
        self._written: set[str] = set()
        self._exits: list[str] = []
        self.called: dict[str, str] = {}
        self._op: Op
        self._index = 0  # of the instruction that is emitted
        self._place = ""  # the address of the accesses that are not checked
        self._taken = 0  # off the budget for this instruction and what follows it in its longest way
        self._loops = {block: loop for block in blocks if (loop := loops.find_loop(flow, block))}
        self._unchecked: loops.HeapLoop | None = None  # the loop whose second version is emitted
        for block in blocks:
            self._emit_block(block)
        self.entries = [block for block in blocks if block in flow.checkpoints]
        for block in self.entries:
            self._emit_checkpoint(block)
        for block, loop in self._loops.items():
            self._emit_loop(block, loop)

    def text(self) -> str:
        """The function."""
        header = [f"define i64 @{self._name}(i64 %address, i64 %budget, i32 %entry) nounwind {{", "start:"]
        header += [
            "  %vm = inttoptr i64 %address to ptr",
            "  %left = alloca i64",
            "  store i64 %budget, ptr %left",
            "  %pc = alloca i32",
            "  %stop = alloca i32",
        ]
        self.lines, body = header, self.lines
        for name, kind in self._read.items():
            self.line(f"%{name} = alloca {kind}")
        for name in self._read:
            self._load(name)
        ways = " ".join(f"i32 {block}, label %{self._door(block)}" for block in self.entries)
        self.line(f"switch i32 %entry, label %nowhere [{ways}]")
        self.lines += ["nowhere:", "  unreachable", *body, *self._exits, "exit:"]
        for name in sorted(self._written):
            kind = self._read[name]
            value = self.op(f"load {kind}, ptr %{name}")
            if kind == "i1":
                kind, value = "i32", self.op(f"zext i1 {value} to i32")
            self.line(f"store {kind} {value}, ptr {self._field(name)}")
        for name in ("pc", "stop"):
            value = self.op(f"load i32, ptr %{name}")
            self.line(f"store i32 {value}, ptr {self._record(name)}")
        self.line(f"ret i64 {self.op('load i64, ptr %left')}")
        return "\n".join([*self.lines, "}"])

    # Blocks.

    def _emit_block(self, block: int) -> None:
        self.begin(f"block{block}")
        end = self._flow.blocks[block]
        self._taken = self._flow.cost[block]
        self._emit_instructions(block, end)
        if not self.ended:
            self._index = end - 1
            self._taken += 1
            self._go(end)

    def _emit_instructions(self, start: int, end: int) -> None:
        self.ended = False
        for self._index in range(start, end):
            self._op = self._flow.ops[self._index]
            if self._op.row is None or self._op.row.name in INTERPRETED:
                self.line(f"br label %{self._leave()}")
                self.ended = True
                break
            self.lower(self._op.row, LOWERINGS[self._op.row.name])
            self._taken -= 1

    def _emit_loop(self, block: int, loop: loops.HeapLoop) -> None:
        """The second version of a loop: see :mod:`iridium.vm.native.loops`."""
        end = self._flow.blocks[block]
        self.begin(f"enter{block}")
        entrance = loops.enter(self, loop, f"check{block}")
        self.line(f"br i1 {entrance.may}, label %round{block}, label %check{block}")
        self.begin(f"round{block}")
        self._place = f"%place{block}"
        self.line(
            f"{self._place} = phi i64 [ {entrance.place}, %{entrance.block} ], [ %next{block}, %again{block} ]"
        )
        self.set(f"r{loop.place}", self.op(f"trunc i64 {self._place} to i32"))
        loops.take(self, loop, entrance, self._place)
        self._taken = loop.cost
        self._unchecked = loop
        self._emit_instructions(block, end - 1)
        self._unchecked = None
        self.line(f"br label %again{block}")
        self.begin(f"again{block}")
        self.line(f"%next{block} = add nuw nsw i64 {self._place}, {entrance.step}")
        more = self.op(f"icmp slt i64 %next{block}, {entrance.limit}")
        self.line(f"br i1 {more}, label %round{block}, label %stop{block}")
        self.begin(f"stop{block}")
        self._emit_instructions(end - 1, end)

    def heap(self, address: str, size: int) -> str:
        if self._unchecked is not None and self._unchecked.free(self._index, self._op):
            return self.op(f"getelementptr i8, ptr {self.get('heap')}, i64 {self._place}")
        return super().heap(address, size)

    def _emit_checkpoint(self, block: int) -> None:
        cost = self._flow.cost[block]
        self.begin(f"check{block}")
        left = self.op("load i64, ptr %left")
        taken = self.op(f"call {{ i64, i1 }} @llvm.usub.with.overflow.i64(i64 {left}, i64 {cost})")
        # Taken off first and given back where it was too much: so nothing needs the old value in a loop.
        self.line(f"store i64 {self.op(f'extractvalue {{ i64, i1 }} {taken}, 0')}, ptr %left")
        short = self.op(f"extractvalue {{ i64, i1 }} {taken}, 1")
        leave = self._exit(self._flow.address(block), SHORT, cost)
        self.line(f"br i1 {short}, label %{leave}, label %block{block}, {UNLIKELY}")

    # Variables.

    def _variable(self, name: str) -> str:
        if name not in self._read:
            kind = {"r": "i32", "f": "double"}.get(name[0]) if name[1:].isdigit() else None
            self._read[name] = kind or self.FIELDS[name]
        return self._read[name]

    def _field(self, name: str) -> str:
        """A pointer to what a variable stands for."""
        if name[1:].isdigit():
            file, size = ("registers", 4) if name[0] == "r" else ("float_registers", 8)
            return self.op(f"getelementptr i8, ptr %vm, i64 {OFFSETS[file] + size * int(name[1:])}")
        if name in ("read_only", "read_only_size"):
            program = self.op(f"load ptr, ptr {self._record('program')}")
            return self.op(f"getelementptr i8, ptr {program}, i64 {getattr(ProgramRecord, name).offset}")
        return self._record(name)

    def _record(self, name: str) -> str:
        return self.op(f"getelementptr i8, ptr %vm, i64 {OFFSETS[name]}")

    def _load(self, name: str) -> None:
        kind = self._variable(name)
        value = self.op(f"load {'i32' if kind == 'i1' else kind}, ptr {self._field(name)}")
        if kind == "i1":
            value = self.op(f"trunc i32 {value} to i1")
        self.line(f"store {kind} {value}, ptr %{name}")

    def _register(self, at: int) -> str:
        return f"{'f' if self.row.operands[at].register == 'f64' else 'r'}{self._op.values[at]}"

    def read(self, at: int) -> str:
        return self.get(self._register(at))

    def write(self, at: int, value: str) -> None:
        self.set(self._register(at), value)

    def number(self, at: int) -> str:
        return str(self._op.values[at])

    def here(self) -> str:
        return str(self._flow.address(self._index))

    def get(self, field: str) -> str:
        return self.op(f"load {self._variable(field)}, ptr %{field}")

    def set(self, field: str, value: str) -> None:
        self.line(f"store {self._variable(field)} {value}, ptr %{field}")
        self._written.add(field)

    def call(self, function: str, *arguments: tuple[str, str], result: str = "i32") -> str:
        kinds = "".join(f", {kind}" for kind, _ in arguments)
        self.called[function] = f"declare {result} @{function}(i64{kinds})"
        passed = "".join(f", {kind} {value}" for kind, value in arguments)
        return self.op(f"call {result} @{function}(i64 %address{passed})")

    def record(self, field: str) -> str:
        return self.op(f"load i32, ptr {self._record(field)}")

    def reload(self, *fields: str) -> None:
        for field in fields:
            self._load(field)

    # Where it goes.

    def _exit(self, pc: int | str, stop: int, give_back: int) -> str:
        """The label of a way out of the function."""
        label = self.fresh("out")
        stub = [f"{label}:"]
        if give_back:
            stub += [
                f"  %{label}.had = load i64, ptr %left",
                f"  %{label}.has = add i64 %{label}.had, {give_back}",
                f"  store i64 %{label}.has, ptr %left",
            ]
        stub += [f"  store i32 {pc}, ptr %pc", f"  store i32 {int(stop)}, ptr %stop", "  br label %exit"]
        self._exits += stub
        return label

    def _leave(self) -> str:
        """The way out before this instruction, which is the interpreter's."""
        return self._exit(self.here(), LEFT, self._taken)

    def _give_back(self, more: int) -> None:
        if more:
            left = self.op("load i64, ptr %left")
            self.line(f"store i64 {self.op(f'add i64 {left}, {more}')}, ptr %left")

    def _door(self, block: int, origin: int = -1) -> str:
        """The label of a checkpoint, for what comes from an instruction or from outside the region."""
        outside = not block <= origin < self._flow.blocks[block]
        return f"enter{block}" if block in self._loops and outside else f"check{block}"

    def _go(self, target: int) -> None:
        """Go on at an instruction, after this one has been executed."""
        rest = self._taken - 1
        flow = self._flow
        if target not in self._blocks:
            self.line(f"br label %{self._exit(flow.address(target), ELSEWHERE, rest)}")
        elif target in flow.checkpoints:
            self._give_back(rest)
            self.line(f"br label %{self._door(target, self._index)}")
        else:
            self._give_back(rest - flow.cost[target])
            self.line(f"br label %block{target}")
        self.ended = True

    def require(self, holds: str, fault: Fault, otherwise: tuple[str, ...] = ()) -> None:
        right = self.fresh("right")
        self.line(f"br i1 {self.op(f'xor i1 {holds}, true')}, label %{self._leave()}, label %{right}, {UNLIKELY}")
        self.begin(right)

    def wait_unless(self, ready: str, waiting: Waiting) -> None:
        wait, go = self.fresh("wait"), self.fresh("go")
        self.line(f"br i1 {ready}, label %{go}, label %{wait}")
        self.begin(wait)
        self.line(f"store i32 {int(waiting)}, ptr {self._record('waiting')}")
        self.line(f"br label %{self._exit(self.here(), Stop.WAITING, self._taken)}")
        self.begin(go)

    def _branch(self, condition: str | None) -> Effects:
        """Begin the block of a jump that is taken; what is returned adds the way to the next instruction."""
        if condition is None:
            return nothing
        taken, passed = self.fresh("taken"), self.fresh("passed")
        self.line(f"br i1 {condition}, label %{taken}, label %{passed}")
        self.begin(taken)

        def go_on() -> None:
            self.begin(passed)
            self._go(self._index + 1)

        return go_on

    def jump(self, target: str, effects: Effects = nothing, condition: str | None = None) -> None:
        go_on = self._branch(condition)
        if int(target) < 0:
            self.line(f"br label %{self._leave()}")
            self.ended = True
        else:
            effects()
            self._go(int(target))
        go_on()

    def jump_computed(self, address: str, effects: Effects = nothing, condition: str | None = None) -> None:
        go_on = self._branch(condition)
        flow = self._flow
        likely = sorted(self._blocks & flow.candidates.get(self._index, set()))
        labels = [self.fresh("to") for _ in likely]
        elsewhere = self.fresh("elsewhere")
        ways = " ".join(
            f"i32 {flow.address(target)}, label %{label}" for target, label in zip(likely, labels, strict=True)
        )
        self.line(f"switch i32 {address}, label %{elsewhere} [{ways}]")
        for target, label in zip(likely, labels, strict=True):
            self.begin(label)
            effects()
            self._go(target)
        self.begin(elsewhere)
        offset = self.op(f"sub i32 {address}, {flow.base}")
        # Rotated by two bits, an offset that is no multiple of four is larger than any index.
        index = self.op(f"call i32 @llvm.fshr.i32(i32 {offset}, i32 {offset}, i32 2)")
        self.require(self.op(f"icmp ult i32 {index}, {len(flow.ops)}"), Fault.BAD_JUMP)
        effects()
        self.line(f"br label %{self._exit(address, ELSEWHERE, self._taken - 1)}")
        self.ended = True
        go_on()

    def halt(self, code: str) -> None:
        self.line(f"store i32 {code}, ptr {self._record('stop_code')}")
        self.line(f"br label %{self._exit(int(self.here()) + WORD, Stop.HALTED, self._taken - 1)}")
        self.ended = True


def region_ir(flow: Flow, number: int) -> tuple[str, list[int]]:
    """The module of one region, and the instructions that it can be entered at.

    Its function is called ``region``, with the number behind it.
    """
    region = _Region(flow, flow.regions[number], f"region{number}")
    text = region.text()
    return "\n".join([MODULE, _SCOPES, *region.called.values(), text]), region.entries
