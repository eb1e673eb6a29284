"""From the subset of Python that the runtime is written in to LLVM IR.

:mod:`iridium.vm.runtime.subset` says what the subset is. A function's source is read, and becomes a function in
machine code with the same name.
"""

from __future__ import annotations

import ast
import ctypes
import inspect
import textwrap
from types import FunctionType, ModuleType
from typing import Any, NamedTuple, NoReturn

from iridium.vm.runtime.subset import EXTERNALS, FUNCTIONS


class Type(NamedTuple):
    """The type of a value.

    Attributes:
        ir: as LLVM writes it.
        signed: how it is compared, divided, shifted to the right and widened.
        struct: the structure that an address points to, or None.
    """

    ir: str
    signed: bool = False
    struct: type[ctypes.Structure] | None = None


_TYPES = {
    "i32": Type("i32", True),
    "u32": Type("i32"),
    "i64": Type("i64", True),
    "u64": Type("i64"),
    "u8": Type("i8"),
    "f64": Type("double", True),
    "bool": Type("i1"),
}
_BOOL = _TYPES["bool"]
_U64 = _TYPES["u64"]
_WIDTH = {"i1": 1, "i8": 8, "i32": 32, "i64": 64}
_FIELDS: dict[Any, Type] = {
    ctypes.c_int32: _TYPES["i32"],
    ctypes.c_uint32: _TYPES["u32"],
    ctypes.c_int64: _TYPES["i64"],
    ctypes.c_uint64: _TYPES["u64"],
    ctypes.c_uint8: _TYPES["u8"],
    ctypes.c_double: _TYPES["f64"],
}

_ARITHMETIC = {
    ast.Add: "add", ast.Sub: "sub", ast.Mult: "mul", ast.BitAnd: "and", ast.BitOr: "or", ast.BitXor: "xor",
    ast.LShift: "shl",
}  # fmt: skip
_BY_SIGN = {ast.FloorDiv: ("udiv", "sdiv"), ast.Mod: ("urem", "srem"), ast.RShift: ("lshr", "ashr")}
_COMPARE = {ast.Eq: "eq", ast.NotEq: "ne", ast.Lt: "lt", ast.LtE: "le", ast.Gt: "gt", ast.GtE: "ge"}


class Value(NamedTuple):
    """An IR value; ``type`` is None for a number in the source, which takes the type of its neighbour."""

    text: str
    type: Type | None


def translate(*modules: ModuleType) -> str:
    """The IR of every ``@native`` function, and the declarations of what they call besides one another.

    Args:
        modules: the modules with those functions; passed so that they are imported, and so marked, before.
    """
    declared = [
        f"declare {result.ir if result else 'void'} @{name}({', '.join(kind.ir for _, kind in parameters)})"
        for name, function in EXTERNALS.items()
        if not DEFINED & {name}
        for parameters, result in [_signature(function)]
    ]
    return "\n".join([*declared, *(_Function(function).text() for function in FUNCTIONS.values())])


DEFINED = {"interpret"}
"""The externals that the interpreter's own IR defines."""


def _type(annotation: str, scope: dict[str, Any]) -> Type | None:
    if annotation == "None":
        return None
    if annotation in _TYPES:
        return _TYPES[annotation]
    return Type("i64", False, scope[annotation])


def _signature(function: FunctionType) -> tuple[list[tuple[str, Type]], Type | None]:
    scope = function.__globals__
    notes = dict(function.__annotations__)
    result = _type(notes.pop("return"), scope)
    parameters = []
    for name, note in notes.items():
        kind = _type(note, scope)
        assert kind is not None
        parameters.append((name, kind))
    return parameters, result


class _Function:
    """The translation of one function."""

    def __init__(self, function: FunctionType) -> None:
        self._name = function.__name__
        self._scope = function.__globals__
        self._parameters, self._result = _signature(function)
        tree = ast.parse(textwrap.dedent(inspect.getsource(function))).body[0]
        assert isinstance(tree, ast.FunctionDef)
        self._tree = tree
        self._lines: list[str] = []
        self._allocas: list[str] = []
        self._locals: dict[str, Type] = {}
        self._count = 0
        self._loops: list[tuple[str, str]] = []  # where `continue` and `break` go
        self._ended = False  # whether the current block has its terminator

    def text(self) -> str:
        for name, kind in self._parameters:
            self._declare(name, kind)
            self._line(f"store {kind.ir} %arg.{name}, ptr %{name}")
        self._body(self._tree.body)
        if not self._ended:
            if self._result is not None:
                self._line("unreachable")
            else:
                self._line("ret void")
        result = self._result.ir if self._result else "void"
        parameters = ", ".join(f"{kind.ir} %arg.{name}" for name, kind in self._parameters)
        body = "\n".join(
            [f"define {result} @{self._name}({parameters}) nounwind {{", *self._allocas, *self._lines]
        )
        return body + "\n}"

    # Lines and names.

    def _line(self, text: str) -> None:
        self._lines.append(f"  {text}")

    def _op(self, text: str) -> str:
        self._count += 1
        self._line(f"%t{self._count} = {text}")
        return f"%t{self._count}"

    def _label(self, what: str) -> str:
        self._count += 1
        return f"{what}{self._count}"

    def _begin(self, label: str) -> None:
        if not self._ended:
            self._line(f"br label %{label}")
        self._lines.append(f"{label}:")
        self._ended = False

    def _go(self, label: str) -> None:
        self._line(f"br label %{label}")
        self._ended = True

    def _declare(self, name: str, kind: Type) -> None:
        if name not in self._locals:
            self._locals[name] = kind
            self._allocas.append(f"  %{name} = alloca {kind.ir}")

    def _wrong(self, node: ast.AST, why: str) -> NoReturn:
        raise SyntaxError(f"@native {self._name}, line {getattr(node, 'lineno', '?')}: {why}: {ast.unparse(node)}")

    # Statements.

    def _body(self, statements: list[ast.stmt]) -> None:
        for statement in statements:
            if not self._ended:
                getattr(self, f"_{type(statement).__name__}", self._wrong_statement)(statement)

    def _wrong_statement(self, node: ast.stmt) -> None:
        self._wrong(node, "not in the subset")

    def _Pass(self, node: ast.Pass) -> None:
        pass

    def _Expr(self, node: ast.Expr) -> None:
        if not isinstance(node.value, ast.Constant):  # else a docstring
            self._value(node.value)

    def _Return(self, node: ast.Return) -> None:
        if self._result is None:
            self._line("ret void")
        else:
            assert node.value is not None
            self._line(f"ret {self._result.ir} {self._typed(node.value, self._result)}")
        self._ended = True

    def _AnnAssign(self, node: ast.AnnAssign) -> None:
        kind = _type(ast.unparse(node.annotation), self._scope)
        assert isinstance(node.target, ast.Name)
        assert kind is not None
        assert node.value is not None
        value = self._typed(node.value, kind)
        self._declare(node.target.id, kind)
        self._line(f"store {kind.ir} {value}, ptr %{node.target.id}")

    def _Assign(self, node: ast.Assign) -> None:
        self._assign(node.targets[0], node.value)

    def _assign(self, target: ast.expr, expression: ast.expr) -> None:
        if isinstance(target, ast.Name):
            value = self._value(expression)
            if target.id not in self._locals:
                if value.type is None:
                    self._wrong(expression, "a number needs a variable with a type")
                self._declare(target.id, value.type)
            kind = self._locals[target.id]
            self._line(f"store {kind.ir} {self._as(value, kind, expression)}, ptr %{target.id}")
        else:
            pointer, kind = self._place(target)
            self._line(f"store {kind.ir} {self._typed(expression, kind)}, ptr {pointer}")

    def _AugAssign(self, node: ast.AugAssign) -> None:
        load = ast.copy_location(ast.BinOp(node.target, node.op, node.value), node)
        self._assign(node.target, load)

    def _If(self, node: ast.If) -> None:
        then, other, after = self._label("then"), self._label("else"), self._label("after")
        self._branch(node.test, then, other)
        self._begin(then)
        self._body(node.body)
        if not self._ended:
            self._go(after)
        self._begin(other)
        self._body(node.orelse)
        if not self._ended:
            self._go(after)
        if any(f"label %{after}" in line for line in self._lines):
            self._begin(after)

    def _While(self, node: ast.While) -> None:
        head, body, after = self._label("while"), self._label("do"), self._label("done")
        self._begin(head)
        if isinstance(node.test, ast.Constant) and node.test.value is True:
            self._go(body)
        else:
            self._branch(node.test, body, after)
        self._begin(body)
        self._loops.append((head, after))
        self._body(node.body)
        self._loops.pop()
        if not self._ended:
            self._go(head)
        if any(f"label %{after}" in line for line in self._lines):
            self._begin(after)

    def _Break(self, node: ast.Break) -> None:
        self._go(self._loops[-1][1])

    def _Continue(self, node: ast.Continue) -> None:
        self._go(self._loops[-1][0])

    # Conditions: `and` and `or` do not look at their right side needlessly.

    def _branch(self, test: ast.expr, yes: str, no: str) -> None:
        if isinstance(test, ast.BoolOp):
            for part in test.values[:-1]:
                more = self._label("and" if isinstance(test.op, ast.And) else "or")
                if isinstance(test.op, ast.And):
                    self._branch(part, more, no)
                else:
                    self._branch(part, yes, more)
                self._begin(more)
            self._branch(test.values[-1], yes, no)
        elif isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
            self._branch(test.operand, no, yes)
        else:
            self._line(f"br i1 {self._truth(test)}, label %{yes}, label %{no}")
            self._ended = True

    def _truth(self, node: ast.expr) -> str:
        value = self._value(node)
        if value.type is None:
            return "true" if int(value.text) else "false"
        if value.type.ir == "i1":
            return value.text
        return self._op(f"icmp ne {value.type.ir} {value.text}, 0")

    # Expressions.

    def _typed(self, node: ast.expr, kind: Type) -> str:
        return self._as(self._value(node), kind, node)

    def _as(self, value: Value, kind: Type, node: ast.AST) -> str:
        """A value where that type is wanted: only the sign may differ without being said."""
        if value.type is None:
            return str(float(value.text)) if kind.ir == "double" else value.text
        if value.type.ir == "i1" and kind.ir != "i1":
            return self._op(f"zext i1 {value.text} to {kind.ir}")
        if value.type.ir != kind.ir:
            self._wrong(node, f"a {value.type.ir} where a {kind.ir} is wanted; convert it")
        return value.text

    def _value(self, node: ast.expr) -> Value:
        constant = self._constant(node)
        if constant is not None:
            return Value(str(int(constant)), None)
        method = getattr(self, f"_x{type(node).__name__}", None)
        if method is None:
            self._wrong(node, "not in the subset")
        value = method(node)
        assert isinstance(value, Value)
        return value

    def _constant(self, node: ast.expr) -> int | None:
        """The number that an expression of module constants is, or None."""
        for part in ast.walk(node):
            if isinstance(part, ast.Name) and part.id in self._locals:
                return None
            if isinstance(part, ast.Call | ast.Compare | ast.BoolOp):
                return None
        try:
            # Of our own source, which is what this module translates.
            value = eval(compile(ast.Expression(node), self._name, "eval"), self._scope)  # nosec B307
        except (NameError, AttributeError, TypeError):
            return None
        return value if isinstance(value, int) else None

    def _xName(self, node: ast.Name) -> Value:
        kind = self._locals.get(node.id)
        if kind is None:
            self._wrong(node, "no such variable")
        return Value(self._op(f"load {kind.ir}, ptr %{node.id}"), kind)

    def _xAttribute(self, node: ast.Attribute) -> Value:
        pointer, kind = self._place(node)
        return Value(self._op(f"load {kind.ir}, ptr {pointer}"), kind)

    _xSubscript = _xAttribute  # noqa: N815

    def _place(self, node: ast.expr) -> tuple[str, Type]:
        """The pointer to a field, or to an element of an array field, and its type."""
        index = None
        if isinstance(node, ast.Subscript):
            index = self._typed_any(node.slice)
            node = node.value
        if not isinstance(node, ast.Attribute):
            self._wrong(node, "neither a variable nor a field")
        base = self._value(node.value)
        struct = base.type and base.type.struct
        if struct is None:
            self._wrong(node, "not a field of a structure")
        field = getattr(struct, node.attr)
        declared: Any = {name: kind for name, kind, *_ in struct._fields_}[node.attr]
        address = self._op(f"add i64 {base.text}, {field.offset}")
        if index is not None:
            element = declared._type_
            scaled = self._op(f"mul i64 {index}, {ctypes.sizeof(element)}")
            address = self._op(f"add i64 {address}, {scaled}")
            declared = element
        return self._op(f"inttoptr i64 {address} to ptr"), _FIELDS.get(declared, _U64)

    def _typed_any(self, node: ast.expr) -> str:
        """An index: any integer, as i64."""
        value = self._value(node)
        return value.text if value.type is None else self._convert(value, _U64)

    def _xUnaryOp(self, node: ast.UnaryOp) -> Value:
        if isinstance(node.op, ast.Not):
            return Value(self._op(f"xor i1 {self._truth(node.operand)}, true"), _BOOL)
        value = self._value(node.operand)
        assert value.type is not None
        if isinstance(node.op, ast.USub):
            return Value(self._op(f"sub {value.type.ir} 0, {value.text}"), value.type)
        return Value(self._op(f"xor {value.type.ir} {value.text}, -1"), value.type)

    def _pair(self, node: ast.AST, left: Value, right: Value) -> tuple[str, str, Type]:
        kind = left.type or right.type
        if kind is None:
            self._wrong(node, "two numbers")
        if kind.struct is not None:
            kind = _U64
        return self._as(left, kind, node), self._as(right, kind, node), kind

    def _xBinOp(self, node: ast.BinOp) -> Value:
        left, right, kind = self._pair(node, self._value(node.left), self._value(node.right))
        operator = type(node.op)
        if operator in _BY_SIGN:
            name = _BY_SIGN[operator][kind.signed]
        elif operator in _ARITHMETIC:
            name = _ARITHMETIC[operator]
        else:
            self._wrong(node, "not in the subset")
        return Value(self._op(f"{name} {kind.ir} {left}, {right}"), kind)

    def _xCompare(self, node: ast.Compare) -> Value:
        if len(node.ops) != 1:
            self._wrong(node, "compare two values at a time")
        left, right, kind = self._pair(node, self._value(node.left), self._value(node.comparators[0]))
        name = _COMPARE[type(node.ops[0])]
        if name not in ("eq", "ne"):
            name = ("s" if kind.signed else "u") + name
        return Value(self._op(f"icmp {name} {kind.ir} {left}, {right}"), _BOOL)

    def _xBoolOp(self, node: ast.BoolOp) -> Value:
        # All parts are evaluated here: only conditions of `if` and `while` stop early.
        operator = "and" if isinstance(node.op, ast.And) else "or"
        result = self._truth(node.values[0])
        for part in node.values[1:]:
            result = self._op(f"{operator} i1 {result}, {self._truth(part)}")
        return Value(result, _BOOL)

    def _xIfExp(self, node: ast.IfExp) -> Value:
        test = self._truth(node.test)
        yes, no, kind = self._pair(node, self._value(node.body), self._value(node.orelse))
        return Value(self._op(f"select i1 {test}, {kind.ir} {yes}, {kind.ir} {no}"), kind)

    def _convert(self, value: Value, kind: Type) -> str:
        assert value.type is not None
        source, target = value.type.ir, kind.ir
        if source == target:
            return value.text
        if _WIDTH[source] > _WIDTH[target]:
            return self._op(f"trunc {source} {value.text} to {target}")
        return self._op(f"{'sext' if value.type.signed else 'zext'} {source} {value.text} to {target}")

    def _xCall(self, node: ast.Call) -> Value:
        if not isinstance(node.func, ast.Name):
            self._wrong(node, "not in the subset")
        name, arguments = node.func.id, node.args
        if name in _TYPES:
            value = self._value(arguments[0])
            kind = _TYPES[name]
            return Value(value.text if value.type is None else self._convert(value, kind), kind)
        operation = getattr(self, f"_do_{name}", None)
        if operation is not None:
            result = operation(*arguments)
            return result if isinstance(result, Value) else Value("", None)
        function = FUNCTIONS.get(name) or EXTERNALS.get(name)
        if function is None:
            self._wrong(node, "no such function")
        parameters, result_type = _signature(function)
        if len(parameters) != len(arguments):
            self._wrong(node, f"{len(parameters)} arguments are wanted")
        passed = ", ".join(
            f"{kind.ir} {self._typed(argument, kind)}"
            for argument, (_, kind) in zip(arguments, parameters, strict=True)
        )
        if result_type is None:
            self._line(f"call void @{name}({passed})")
            return Value("", None)
        return Value(self._op(f"call {result_type.ir} @{name}({passed})"), result_type)

    # The operations declared below.

    def _kind(self, node: ast.expr) -> Type:
        kind = _type(ast.unparse(node), self._scope)
        assert kind is not None
        return kind

    def _pointer(self, node: ast.expr) -> str:
        return self._op(f"inttoptr i64 {self._typed(node, _U64)} to ptr")

    def _do_at(self, struct: ast.expr, address: ast.expr) -> Value:
        return Value(self._typed(address, _U64), self._kind(struct))

    def _do_address(self, struct: ast.expr) -> Value:
        return Value(self._value(struct).text, _U64)

    def _field(self, struct: ast.expr, name: ast.expr) -> tuple[str, Type]:
        assert isinstance(name, ast.Constant)
        return self._place(ast.copy_location(ast.Attribute(struct, str(name.value)), struct))

    def _do_field_address(self, struct: ast.expr, name: ast.expr) -> Value:
        pointer, _ = self._field(struct, name)
        return Value(self._op(f"ptrtoint ptr {pointer} to i64"), _U64)

    def _do_load(self, kind: ast.expr, address: ast.expr) -> Value:
        type_ = self._kind(kind)
        return Value(self._op(f"load {type_.ir}, ptr {self._pointer(address)}, align 1"), type_)

    def _do_store(self, kind: ast.expr, address: ast.expr, value: ast.expr) -> None:
        type_ = self._kind(kind)
        text = self._typed(value, type_)
        self._line(f"store {type_.ir} {text}, ptr {self._pointer(address)}, align 1")

    def _bytes(self, type_: Type) -> int:
        return _WIDTH[type_.ir] // 8

    def _do_load_acquire(self, struct: ast.expr, name: ast.expr) -> Value:
        pointer, type_ = self._field(struct, name)
        return Value(self._op(f"load atomic {type_.ir}, ptr {pointer} acquire, align {self._bytes(type_)}"), type_)

    def _do_store_release(self, struct: ast.expr, name: ast.expr, value: ast.expr) -> None:
        pointer, type_ = self._field(struct, name)
        text = self._typed(value, type_)
        self._line(f"store atomic {type_.ir} {text}, ptr {pointer} release, align {self._bytes(type_)}")

    def _do_exchange(self, struct: ast.expr, name: ast.expr, value: ast.expr) -> Value:
        pointer, type_ = self._field(struct, name)
        text = self._typed(value, type_)
        return Value(self._op(f"atomicrmw xchg ptr {pointer}, {type_.ir} {text} seq_cst"), type_)

    def _do_add_atomic(self, struct: ast.expr, name: ast.expr, value: ast.expr) -> Value:
        pointer, type_ = self._field(struct, name)
        text = self._typed(value, type_)
        return Value(self._op(f"atomicrmw add ptr {pointer}, {type_.ir} {text} seq_cst"), type_)

    def _do_compare_exchange(self, struct: ast.expr, name: ast.expr, expected: ast.expr, new: ast.expr) -> Value:
        pointer, type_ = self._field(struct, name)
        old, value = self._typed(expected, type_), self._typed(new, type_)
        pair = self._op(f"cmpxchg ptr {pointer}, {type_.ir} {old}, {type_.ir} {value} seq_cst seq_cst")
        return Value(self._op(f"extractvalue {{ {type_.ir}, i1 }} {pair}, 1"), _BOOL)

    def _do_copy(self, to: ast.expr, source: ast.expr, size: ast.expr) -> None:
        target, start, length = self._pointer(to), self._pointer(source), self._typed(size, _U64)
        self._line(f"call void @llvm.memcpy.p0.p0.i64(ptr {target}, ptr {start}, i64 {length}, i1 false)")

    def _do_clear(self, to: ast.expr, size: ast.expr) -> None:
        target, length = self._pointer(to), self._typed(size, _U64)
        self._line(f"call void @llvm.memset.p0.i64(ptr {target}, i8 0, i64 {length}, i1 false)")

    def _do_enter(self, function: ast.expr, vm: ast.expr, fuel: ast.expr, index: ast.expr) -> Value:
        entry = self._pointer(function)
        kinds = (_U64, _U64, _TYPES["u32"])
        passed = ", ".join(
            f"{kind.ir} {self._typed(node, kind)}" for kind, node in zip(kinds, (vm, fuel, index), strict=True)
        )
        return Value(self._op(f"call i64 {entry}({passed})"), _U64)
