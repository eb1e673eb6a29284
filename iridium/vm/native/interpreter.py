"""The native interpreter, as LLVM IR: one piece of code for each instruction, made by its lowering.

Every piece ends with a jump to the piece of the next instruction, whose address is in the decoded code, so there
is no loop and nothing to look up. ``musttail`` guarantees the jump, and the calling convention ``preserve_nonecc``
that the four values that a piece is passed stay in machine registers: the VM, the instruction, the budget left and
the copy of the code that the instruction is in.
"""

from __future__ import annotations

from iridium.isa import INSTRUCTIONS, WORD, Fault
from iridium.vm.native.emit import MODULE, OFFSETS, UNLIKELY, Effects, Emitter, Lines, nothing
from iridium.vm.native.lowering import LOWERINGS
from iridium.vm.native.program import DECODED, MARKER, OPCODES, PIECES
from iridium.vm.native.translate import translate
from iridium.vm.record import Stop, Waiting
from iridium.vm.runtime import inbound, scheduling
from iridium.vm.runtime.layout import ENTERED, Decoded, ProgramRecord

_PARAMETERS = "ptr %vm, ptr %ip, i64 %budget, ptr %code"
_CONVENTION = "preserve_nonecc i64"
_IMMEDIATE = Decoded.immediate.offset  # type: ignore[attr-defined]
_REGISTERS = Decoded.registers.offset  # type: ignore[attr-defined]


class _Piece(Emitter):
    """The code of one instruction: operands and state are loaded when it runs."""

    def __init__(self) -> None:
        super().__init__()
        self.begin("start")
        # One machine instruction that both counts and tells that nothing was left to count.
        counted = self.op("call { i64, i1 } @llvm.usub.with.overflow.i64(i64 %budget, i64 1)")
        self.line(f"%left = extractvalue {{ i64, i1 }} {counted}, 0")
        none, some = self.fresh("none"), self.fresh("some")
        none_left = self.op(f"extractvalue {{ i64, i1 }} {counted}, 1")
        self.line(f"br i1 {none_left}, label %{none}, label %{some}, {UNLIKELY}")
        self.begin(none)
        self._exit(Stop.BUDGET)
        self.begin(some)

    def finish(self) -> None:
        """Go to the next instruction, if the instruction has not gone anywhere."""
        if not self.ended:
            self._dispatch(self.op(f"getelementptr i8, ptr %ip, i64 {DECODED}"))

    # Operands.

    def _byte(self, at: int) -> str:
        pointer = self.op(f"getelementptr i8, ptr %ip, i64 {_REGISTERS + at}")
        byte = self.op(f"load i8, ptr {pointer}, align 1")
        return self.op(f"zext i8 {byte} to i64")

    def _register(self, at: int) -> tuple[str, str]:
        floats = self.row.operands[at].register == "f64"
        kind, field = ("double", "float_registers") if floats else ("i32", "registers")
        base = self.op(f"getelementptr i8, ptr %vm, i64 {OFFSETS[field]}")
        return kind, self.op(f"getelementptr {kind}, ptr {base}, i64 {self._byte(at)}")

    def read(self, at: int) -> str:
        kind, pointer = self._register(at)
        return self.op(f"load {kind}, ptr {pointer}")

    def write(self, at: int, value: str) -> None:
        kind, pointer = self._register(at)
        self.line(f"store {kind} {value}, ptr {pointer}")

    def number(self, at: int) -> str:
        if self.row.operands[at].width == 1:
            return self.op(f"trunc i64 {self._byte(at)} to i32")
        pointer = self.op(f"getelementptr i8, ptr %ip, i64 {_IMMEDIATE}")
        return self.op(f"load i32, ptr {pointer}")

    def here(self) -> str:
        return _address(self)

    # State.

    def _field(self, name: str) -> str:
        return self.op(f"getelementptr i8, ptr %vm, i64 {OFFSETS[name]}")

    def _program(self, name: str) -> str:
        return _program(self, name)

    def get(self, field: str) -> str:
        if field in ("read_only", "read_only_size"):
            return self.op(f"load {self.FIELDS[field]}, ptr {self._program(field)}")
        if field == "equal_flag":
            return self.op(f"trunc i32 {self.op(f'load i32, ptr {self._field(field)}')} to i1")
        return self.op(f"load {self.FIELDS[field]}, ptr {self._field(field)}")

    def set(self, field: str, value: str) -> None:
        if field == "equal_flag":
            value = self.op(f"zext i1 {value} to i32")
        self.line(f"store i32 {value}, ptr {self._field(field)}")

    def call(self, function: str, *arguments: tuple[str, str], result: str = "i32") -> str:
        vm = self.op("ptrtoint ptr %vm to i64")
        passed = "".join(f", {kind} {value}" for kind, value in arguments)
        if result == "void":
            self.line(f"call void @{function}(i64 {vm}{passed})")
            return ""
        return self.op(f"call {result} @{function}(i64 {vm}{passed})")

    def record(self, field: str) -> str:
        return self.op(f"load i32, ptr {self._field(field)}")

    def reload(self, *fields: str) -> None:
        pass  # nothing is kept from one instruction to the next

    # Where it goes.

    def _dispatch(self, instruction: str) -> None:
        piece = self.op(f"load ptr, ptr {instruction}")
        passed = f"ptr %vm, ptr {instruction}, i64 %left, ptr %code"
        self.line(f"ret i64 {self.op(f'musttail call {_CONVENTION} {piece}({passed})')}")
        self.ended = True

    def _exit(self, stop: Stop, passed: str = "ptr %vm, ptr %ip, i64 %budget, ptr %code") -> None:
        self.line(f"ret i64 {self.op(f'musttail call {_CONVENTION} @leave_{stop.name}({passed})')}")

    def _fault(self, fault: Fault) -> None:
        self.line(f"store i32 {fault.number}, ptr {self._field('fault')}")
        self._exit(Stop.FAULT)

    def require(self, holds: str, fault: Fault, otherwise: tuple[str, ...] = ()) -> None:
        wrong, right = self.fresh("wrong"), self.fresh("right")
        self.line(f"br i1 {self.op(f'xor i1 {holds}, true')}, label %{wrong}, label %{right}, {UNLIKELY}")
        self.begin(wrong)
        if otherwise:
            function, *arguments = otherwise
            certain = self.fresh("certain")
            done = self.call(function, *(("i32", argument) for argument in arguments))
            self.line(f"br i1 {self.op(f'icmp eq i32 {done}, 0')}, label %{certain}, label %{right}, {UNLIKELY}")
            self.begin(certain)
        self._fault(fault)
        self.begin(right)

    def wait_unless(self, ready: str, waiting: Waiting) -> None:
        wait, go = self.fresh("wait"), self.fresh("go")
        self.line(f"br i1 {ready}, label %{go}, label %{wait}")
        self.begin(wait)
        self.line(f"store i32 {int(waiting)}, ptr {self._field('waiting')}")
        self._exit(Stop.WAITING)
        self.begin(go)

    def jump(self, target: str, effects: Effects = nothing, condition: str | None = None) -> None:
        with_next = self._otherwise_next(condition)
        self.require(self.op(f"icmp sge i32 {target}, 0"), Fault.BAD_JUMP)
        self._go(target, effects)
        with_next()

    def jump_computed(self, address: str, effects: Effects = nothing, condition: str | None = None) -> None:
        with_next = self._otherwise_next(condition)
        base = self.op(f"load i32, ptr {self._program('base')}")
        count = self.op(f"load i32, ptr {self._program('count')}")
        offset = self.op(f"sub i32 {address}, {base}")
        # Rotated by two bits, an offset that is no multiple of four is larger than any index.
        index = self.op(f"call i32 @llvm.fshr.i32(i32 {offset}, i32 {offset}, i32 2)")
        self.require(self.op(f"icmp ult i32 {index}, {count}"), Fault.BAD_JUMP)
        self._go(index, effects)
        with_next()

    def _otherwise_next(self, condition: str | None) -> Effects:
        """Begin the block of a jump that is taken; what is returned adds the way to the next instruction."""
        if condition is None:
            return nothing
        taken, passed = self.fresh("taken"), self.fresh("passed")
        self.line(f"br i1 {condition}, label %{taken}, label %{passed}")
        self.begin(taken)

        def go_on() -> None:
            self.begin(passed)
            self.ended = False
            self.finish()

        return go_on

    def _go(self, index: str, effects: Effects) -> None:
        effects()
        scaled = self.op(f"mul i64 {self.wide(index)}, {DECODED}")
        self._dispatch(self.op(f"getelementptr i8, ptr %code, i64 {scaled}"))

    def halt(self, code: str) -> None:
        self.line(f"store i32 {code}, ptr {self._field('stop_code')}")
        # The instruction counts, and pc is behind it.
        following = self.op(f"getelementptr i8, ptr %ip, i64 {DECODED}")
        self._exit(Stop.HALTED, f"ptr %vm, ptr {following}, i64 %left, ptr %code")
        self.ended = True


def _program(e: Lines, name: str) -> str:
    """A pointer to a field of the VM's program."""
    field = e.op(f"getelementptr i8, ptr %vm, i64 {OFFSETS['program']}")
    program = e.op(f"load ptr, ptr {field}")
    return e.op(f"getelementptr i8, ptr {program}, i64 {getattr(ProgramRecord, name).offset}")


def _address(e: Lines) -> str:
    """The address of the instruction, of which only the place in the decoded code is known."""
    base = e.op(f"load i32, ptr {_program(e, 'base')}")
    here, first = e.op("ptrtoint ptr %ip to i64"), e.op("ptrtoint ptr %code to i64")
    offset = e.op(f"trunc i64 {e.op(f'sub i64 {here}, {first}')} to i32")
    return e.op(f"add i32 {base}, {e.op(f'udiv i32 {offset}, {DECODED // WORD}')}")


def _define(name: str, lines: Lines) -> str:
    body = "\n".join(lines.lines)
    return f"define internal {_CONVENTION} @{name}({_PARAMETERS}) nounwind {{\n{body}\n}}"


def _leave(name: str, stop: int) -> str:
    """How a run ends: pc and the reason go to the record."""
    lines = Lines()
    for field, value in (("pc", _address(lines)), ("stop", str(int(stop)))):
        pointer = lines.op(f"getelementptr i8, ptr %vm, i64 {OFFSETS[field]}")
        lines.line(f"store i32 {value}, ptr {pointer}")
    lines.line("ret i64 %budget")
    return _define(name, lines)


def _entry() -> str:
    """What the runtime calls, in the C calling convention."""
    lines = Lines()
    pointers = [lines.op(f"inttoptr i64 %{name} to ptr") for name in ("vm", "ip", "code")]
    piece = lines.op(f"load ptr, ptr {pointers[1]}")
    passed = f"ptr {pointers[0]}, ptr {pointers[1]}, i64 %budget, ptr {pointers[2]}"
    lines.line(f"ret i64 {lines.op(f'call {_CONVENTION} {piece}({passed})')}")
    body = "\n".join(lines.lines)
    return f"define i64 @interpret(i64 %vm, i64 %ip, i64 %budget, i64 %code) nounwind {{\n{body}\n}}"


def interpreter_ir() -> str:
    """The interpreter and the runtime that it is linked with, as one module.

    ``@pieces`` is a table of their addresses: by opcode, then from :data:`OPCODES` on by ``Fault.number``, then at
    :data:`MARKER` the marker's.
    """
    definitions = [*(_leave(f"leave_{stop.name}", stop) for stop in Stop), _leave("marker", ENTERED), _entry()]
    table = ["null"] * PIECES
    for row in INSTRUCTIONS:
        piece = _Piece()
        piece.lower(row, LOWERINGS[row.name])
        piece.finish()
        definitions.append(_define(f"do_{row.name}", piece))
        table[row.opcode] = f"@do_{row.name}"
    for fault in Fault:
        trap = _Piece()
        trap._fault(fault)
        name = f"trap_{fault.name}"
        definitions.append(_define(name, trap))
        table[OPCODES + fault.number] = f"@{name}"
    table[MARKER] = "@marker"
    pieces = ", ".join(f"ptr {name}" for name in table)
    return "\n".join(
        [
            MODULE,
            *definitions,
            f"@pieces = constant [{len(table)} x ptr] [{pieces}]",
            translate(scheduling, inbound),
        ]
    )
