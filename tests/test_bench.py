"""`iridium bench`: every system does the same work, and the report says what was measured and what was not.

No test looks at how fast anything is.
"""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner

from iridium.assembler import assemble
from iridium.bench import many, ours, peers, run
from iridium.bench.chart import Scale, chart
from iridium.bench.generated import INSTRUCTIONS, generate
from iridium.bench.in_cpython import BODIES
from iridium.bench.measure import Measurement
from iridium.bench.ours import EngineSystem, engines, finish
from iridium.bench.peers import PEERS, Peer, find_peers
from iridium.bench.results import Report
from iridium.bench.run import NAMES, bench
from iridium.bench.system import BenchError, Sample, System
from iridium.bench.table import duration, left_out, plain, pretty, short, tables
from iridium.bench.workload import WORKLOADS, Pace, Workload, with_parameters
from iridium.cli.group import iridium
from iridium.errors import OptionError
from iridium.isa import WORD
from iridium.vm import VM, Program, Stop
from iridium.vm import run as reference
from iridium.vm.engine import ENGINES, find_engine
from iridium.vm.reference import Turn

CHECK = {name: workload.size(Pace.CHECK) for name, workload in WORKLOADS.items()}


def quiet(_text: str) -> None:
    """Take no interest in the progress."""


class Double:
    """A system that computes in this process and says how long it took.

    Args:
        name: and title.
        ns: an iteration.
        wrong: of these workloads it gives another result.
    """

    version = "1"
    ours = False
    pace = Pace.CHECK

    def __init__(self, name: str, ns: Sequence[float], wrong: Sequence[str] = ()) -> None:
        self.name = self.title = name
        self._ns = ns
        self._taken: dict[str, int] = {}
        self._wrong = wrong

    def supports(self, workload: Workload) -> bool:
        return self.name != "gcc-calls" or workload.name == "fib"

    def prepare(self, workload: Workload, parameters: tuple[int, ...]) -> None:
        pass

    def sample(self, workload: Workload, parameters: tuple[int, ...]) -> Sample:
        result = BODIES[workload.name](*parameters)
        taken = self._taken.get(workload.name, -1)  # the first is the check's, which is not timed
        self._taken[workload.name] = taken + 1
        seconds = self._ns[taken] * workload.iterations(parameters, result) * 1e-9
        return Sample(seconds, (*result, 0) if workload.name in self._wrong else result)


@pytest.fixture
def only_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reference engine alone, at the smallest sizes, beside a peer that is not installed."""

    def absent(_directory: Path) -> System:
        raise BenchError("abacus is not installed")

    monkeypatch.setattr(peers, "PEERS", {"abacus": absent})
    monkeypatch.setattr(ours, "PACES", {"reference": Pace.CHECK})
    monkeypatch.setattr(ours, "ENGINES", {"reference": ENGINES["reference"]})
    monkeypatch.setattr(many, "VMS", 20)
    monkeypatch.setattr(run, "ROUNDS", 10)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", WORKLOADS)
def test_engines_do_what_python_does(name: str, engine: str) -> None:
    """Protects the comparison: our program of a workload computes what the peers' compute."""
    try:
        system = EngineSystem(engine, find_engine(engine))
    except OptionError as error:
        pytest.skip(str(error))
    system.prepare(WORKLOADS[name], CHECK[name])
    assert system.sample(WORKLOADS[name], CHECK[name]).result == BODIES[name](*CHECK[name])


@pytest.mark.parametrize("name", WORKLOADS)
def test_other_parameters_reach_the_program(name: str) -> None:
    """Protects against a parameter that the program does not look at."""
    workload = WORKLOADS[name]
    for index in range(len(workload.parameters)):
        parameters = list(CHECK[name])
        parameters[index] += 1
        printed = finish(reference, VM(Program(workload.image(parameters))))
        assert tuple(map(int, printed.split())) == BODIES[name](*parameters)


@pytest.mark.processes
@pytest.mark.parametrize("name", PEERS)
def test_peers_do_what_python_does(name: str, tmp_path: Path) -> None:
    """Protects the comparison: each peer that is installed computes the same results."""
    try:
        peer = PEERS[name](tmp_path)
    except BenchError as error:
        pytest.skip(str(error))
    for workload in WORKLOADS.values():
        if peer.supports(workload):
            sample = peer.sample(workload, CHECK[workload.name])
            assert sample.result == BODIES[workload.name](*CHECK[workload.name]), workload.name
            assert sample.seconds >= 0


@pytest.mark.parametrize("workload", WORKLOADS.values(), ids=lambda workload: workload.name)
def test_a_workload_is_whole(workload: Workload) -> None:
    """Protects the table: a size for each pace, with a value for each parameter; the file is a program."""
    assert len(workload.sizes) == len(Pace)
    assert {len(size) for size in workload.sizes} == {len(workload.parameters)}
    assert workload.size(Pace.COMPILED, quick=True) == workload.size(Pace.INTERPRETED)
    assert workload.size(Pace.CHECK, quick=True) == workload.size(Pace.CHECK)
    assemble(workload.source, file=workload.name)


def test_iterations_are_counted() -> None:
    """Protects the divisor of every figure."""
    assert WORKLOADS["count"].iterations((7,), (7,)) == 7
    assert WORKLOADS["lcg"].iterations((3, 5), (0,)) == 15
    assert [WORKLOADS["fib"].iterations((n,), ()) for n in range(5)] == [1, 1, 3, 5, 9]
    assert WORKLOADS["mandelbrot"].iterations((2, 2, 9), (23,)) == 23
    assert WORKLOADS["sieve"].iterations((10, 2), (4, 18)) == 2 * (10 + 8) + 18


def test_parameters_are_lines_of_their_own() -> None:
    """Protects the substitution: it changes the number, nothing else, and leaves no parameter without one."""
    source = "    load $2 #10 ; parameter n, small\n    load $3 #10\n"
    assert with_parameters(source, {"n": 77}) == "    load $2 #77 ; parameter n, small\n    load $3 #10\n"
    with pytest.raises(ValueError, match="m"):
        with_parameters(source, {"n": 1, "m": 1})
    with pytest.raises(KeyError):
        with_parameters(source, {})


def test_medians_and_ratios() -> None:
    """Protects the figures: the median of the samples, and its ratio to C's, whose calls fib keeps."""
    systems = [Double("a", (8, 2, 4)), Double("gcc", (2, 2, 2)), Double("gcc-calls", (1, 1, 1))]
    measurement = Measurement(systems, list(WORKLOADS.values()), quick=False, progress=quiet)
    results = {result.name: result for result in measurement.take(3)}
    assert measurement.skipped == []
    count, fib = results["count"].of("a"), results["fib"].of("a")
    assert count is not None
    assert fib is not None
    assert count.samples == pytest.approx([8, 2, 4])
    assert (count.ns, count.ratio) == pytest.approx((4, 2))
    assert (fib.ns, fib.ratio) == pytest.approx((4, 4))
    assert (results["count"].baseline, results["fib"].baseline) == ("gcc", "gcc-calls")
    assert results["count"].of("gcc-calls") is None
    assert count.parameters == {"n": CHECK["count"][0]}


def test_without_c_there_are_no_ratios() -> None:
    """Protects a machine without a compiler: figures all the same."""
    [result] = Measurement([Double("a", (8,))], [WORKLOADS["fib"]], quick=False, progress=quiet).take(1)
    assert result.baseline is None
    assert result.figures[0].ratio is None


def test_who_computes_something_else_is_not_timed() -> None:
    """Protects against a fast wrong answer: it is left out of that workload, with what it gave."""
    systems = [Double("a", (1,)), Double("b", (1,), wrong=["fib"]), Double("c", (1,))]
    measurement = Measurement(systems, [WORKLOADS["fib"], WORKLOADS["count"]], quick=False, progress=quiet)
    fib, count = measurement.take(1)
    assert [figure.system for figure in fib.figures] == ["a", "c"]
    assert [figure.system for figure in count.figures] == ["a", "b", "c"]
    [skipped] = measurement.skipped
    assert (skipped.name, skipped.workload, skipped.reason) == ("b", "fib", "gave (55, 0), others (55,)")


def test_missing_peers_are_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Protects a machine that has none of them: each is left out, with the reason."""
    monkeypatch.setenv("PATH", str(tmp_path))
    found, skipped = find_peers(tmp_path)
    reasons = {entry.name: entry.reason for entry in skipped}
    assert {system.name for system in found} <= {"cpython", "wasmtime"}
    assert reasons["gcc"] == reasons["gcc-calls"] == "gcc is not installed"
    assert reasons["lua"] == "lua5.4 is not installed"
    assert {*reasons, *(system.name for system in found)} == set(PEERS)


@pytest.mark.processes
@pytest.mark.parametrize(("script", "told"), [("exit(3)", "exit status 3"), ("print('oops')", "printed 'oops'")])
def test_a_peer_that_fails_is_an_error(script: str, told: str, tmp_path: Path) -> None:
    """Protects the run: a peer that crashes or babbles is one error that can be shown."""
    path = tmp_path / "peer.py"
    path.write_text(script)
    peer = Peer("p", "a peer", "1", Pace.CHECK, [*peers._SCRIPT, str(path)])
    with pytest.raises(BenchError, match=told):
        peer.sample(WORKLOADS["count"], (10,))


def test_an_engine_that_cannot_run_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects a machine without what an engine needs: the others are measured."""

    def unavailable() -> ours.Engine:
        raise OptionError("it needs a steam boiler")

    monkeypatch.setitem(ENGINES, "steam", unavailable)
    found, skipped = engines()
    assert "reference" in {system.name for system in found}
    assert ("steam", "it needs a steam boiler") in skipped


def test_a_program_that_crashes_is_an_error() -> None:
    """Protects the run: an engine that faults is not taken for one that is quick."""
    with pytest.raises(BenchError, match="crashed"):
        finish(reference, VM(Program(assemble(".code\nload $1 #0\ndiv $1 $1 $1\n", file="x"))))


def test_output_does_not_hold_a_program_up() -> None:
    """Protects against a program that waits for ever for room in its output."""
    source = ".code\nload $1 #7\ncloop #9999\nagain: prti $1\nloop @again\nhlt\n"
    assert finish(reference, VM(Program(assemble(source, file="x")))) == "7" * 10_000


def test_warming_up_waits_for_the_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects the figures of an engine that compiles in the background: it is timed once it is done."""
    runs = []

    def engine(vm: VM, budget: int) -> Turn:
        runs.append(vm)
        return reference(vm, budget)

    monkeypatch.setattr(ours, "WARM", 0)  # no program is over at once
    monkeypatch.setitem(ours.IS_COMPILED, "slow", lambda _vm: len(runs) >= 3)
    system = EngineSystem("slow", engine)
    system.prepare(WORKLOADS["count"], (10,))
    assert len(runs) == 3
    seconds = system.compilation(assemble(generate(1, 0), file="x").to_bytes())
    assert seconds is not None
    assert seconds >= 0


def test_the_compiler_is_not_waited_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects against an engine that never finishes compiling."""
    monkeypatch.setitem(ours.IS_COMPILED, "never", lambda _vm: False)
    monkeypatch.setattr(ours, "LONGEST_COMPILATION", 0.0)
    monkeypatch.setattr(ours, "WARM", 0)
    system = EngineSystem("never", reference)
    with pytest.raises(BenchError, match="not compiled"):
        system.prepare(WORKLOADS["count"], (10,))
    with pytest.raises(BenchError, match="not compiled"):
        system.compilation(assemble(generate(1, 0), file="x").to_bytes())


@pytest.mark.parametrize("seed", range(8))
def test_the_generated_program(seed: int) -> None:
    """Protects the large program: exactly that large, the same for a seed, and it halts with one number."""
    source = generate(seed, 2)
    assert source == generate(seed, 2)
    image = assemble(source, file="x")
    assert len(image.code) == INSTRUCTIONS * WORD
    vm = VM(Program(image))
    assert -(2**31) <= int(finish(reference, vm)) < 2**31
    assert INSTRUCTIONS < vm.record.instructions < 400_000


def test_generated_programs_differ() -> None:
    """Protects against a seed or a number of rounds that changes nothing, and a checksum that tells nothing."""
    runs = [(0, 1), (0, 2), (1, 1)]
    printed = [finish(reference, VM(Program(assemble(generate(*each), file="x")))) for each in runs]
    assert len(set(printed)) == len(runs)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_many_machines(threads: int) -> None:
    """Protects the crowd: every VM halts with its own result, whichever thread it was on."""
    result = many.run_many("reference", reference, threads=threads, vms=10, steps=300)
    assert (result.vms, result.threads) == (10, threads)
    assert result.instructions == 10 * (4 + 5 * 300 + 1 + 1)  # 69069 takes two instructions
    assert result.turns == 10 * 2


def test_a_crowd_with_a_wrong_result_is_an_error() -> None:
    """Protects against a scheduler that drops a VM or mixes two up."""

    def wrong(vm: VM, budget: int) -> Turn:
        turn = reference(vm, budget)
        vm.record.stop_code ^= 1
        return turn

    with pytest.raises(BenchError, match="VM 0 of 3"):
        many.run_many("wrong", wrong, threads=1, vms=3, steps=5)


def test_another_driver_can_take_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects the place for another scheduler: it is given the VMs and says how many turns it gave."""
    given = []

    def driver(engine: ours.Engine, groups: Sequence[Sequence[VM]], turn: int) -> int:
        given.append([len(group) for group in groups])
        assert all(engine(vm, 10 * turn).stop is Stop.HALTED for group in groups for vm in group)
        return 42

    monkeypatch.setitem(many.DRIVERS, "reference", driver)
    assert many.run_many("reference", reference, threads=2, vms=5, steps=5).turns == 42
    assert given == [[3, 2]]


@pytest.fixture
def report(only_ours: None) -> Report:
    """Everything, as small as it gets."""
    return bench(NAMES, repeat=2, quick=False, progress=quiet)


def test_a_report_has_everything(report: Report) -> None:
    """Protects the run as a whole: each part has a figure, and what is missing is named."""
    assert [workload.name for workload in report.workloads] == list(WORKLOADS)
    for workload in report.workloads:
        [figure] = workload.figures
        assert figure.system == "reference"
        assert len(figure.samples) == 2
        assert figure.result == BODIES[workload.name](*CHECK[workload.name])
    [generated] = report.generated
    assert (generated.engine, generated.instructions, generated.compiled_seconds) == ("reference", 3000, None)
    assert [(crowd.engine, crowd.threads) for crowd in report.many] == [("reference", 1), ("reference", 2)]
    [skipped] = report.skipped
    assert (skipped.name, skipped.workload, skipped.reason) == ("abacus", None, "abacus is not installed")


def test_tables(report: Report) -> None:
    """Protects what a person reads: a row a system, a column a workload, and below what is missing."""
    speed, generated, crowd = tables(report)
    assert speed.headings == [
        "", "count/iteration", "lcg/iteration", "fib/call", "mandelbrot/step", "sieve/cell", "mean ratio",
    ]  # fmt: skip
    assert [row[0] for row in speed.rows] == ["Iridium, reference"]
    assert speed.rows[0][-1] == "-"
    assert [row[:1] for row in generated.rows] == [["reference"]]
    assert [row[:2] for row in crowd.rows] == [["reference", "1"], ["reference", "2"]]
    assert crowd.rows[0][-1] == "1.00"
    assert left_out(report) == "not measured: abacus: abacus is not installed\n"
    for table in (speed, generated, crowd):
        assert {len(row) for row in table.rows} == {len(table.headings)}
        assert len({len(line) for line in plain(table).split("\n")[1:-2]}) == 1
        assert table.rows[0][0] in pretty(table)


def test_ratios_are_explained() -> None:
    """Protects the reader: the note below the table names what a ratio is to, everywhere."""
    systems = [Double("a", (8,)), Double("gcc", (2,)), Double("gcc-calls", (1,))]
    results = Measurement(systems, list(WORKLOADS.values()), quick=False, progress=quiet).take(1)
    infos = [run.describe(system) for system in systems]
    report = Report("1", {}, False, 1, infos, [], results, [], [])
    [table] = tables(report)
    assert table.note == "median of 1, processor time; in brackets the ratio to gcc, fib: gcc-calls"
    rows = {row[0]: row[1:] for row in table.rows}
    assert rows["a 1"] == ["8.00 (4.00)", "8.00 (4.00)", "8.00 (8.00)", "8.00 (4.00)", "8.00 (4.00)", "4.59"]
    assert rows["gcc-calls 1"] == ["-", "-", "1.00 (1.00)", "-", "-", "-"]


@pytest.mark.parametrize(
    ("value", "text"), [(0.2661, "0.27"), (9.5, "9.50"), (12.345, "12.3"), (123.4, "123"), (2276.4, "2276")]
)
def test_numbers_are_short(value: float, text: str) -> None:
    """Protects the tables from digits that mean nothing."""
    assert short(value) == text


def test_durations_have_units() -> None:
    """Protects the tables from 0.00 s."""
    assert [duration(0.0123), duration(0.5), duration(2.5)] == ["12.3 ms", "500 ms", "2.50 s"]


def test_the_chart(report: Report) -> None:
    """Protects the picture: well-formed, a panel a workload with a bar a system, colours for both backgrounds."""
    text = chart(report)
    root = ET.fromstring(text)
    space = "{http://www.w3.org/2000/svg}"
    panels = root.findall(f"{space}g")
    assert len(panels) == len(WORKLOADS)
    for panel in panels:
        [bar] = panel.findall(f"{space}rect")
        assert bar.get("class") == "ours"
        assert float(bar.get("width", "0")) > 0
        assert "Iridium, reference" in [element.text for element in panel.findall(f"{space}text")]
    assert "prefers-color-scheme: dark" in text


def test_the_scale_has_whole_decades() -> None:
    """Protects the chart's axis: from the decade below the smallest to the one above the largest."""
    scale = Scale([0.27, 2500.0], 500)
    assert scale.decades == pytest.approx([0.1, 1, 10, 100, 1000, 10000])
    assert [scale.x(value) for value in (0.1, 10, 10_000)] == pytest.approx([0, 200, 500])
    assert len(Scale([1.0], 100).decades) == 2


@pytest.mark.usefixtures("only_ours")
class TestCommand:
    """The command line."""

    def test_json(self) -> None:
        """Protects tools: one document, with the names that docs/bench.md tells."""
        result = CliRunner().invoke(iridium, ["bench", "--json", "--quick", "--repeat", "1"])
        assert (result.exit_code, result.stderr) == (0, "")
        document = json.loads(result.stdout)
        assert {"version", "machine", "quick", "repeat", "systems", "skipped"} < set(document)
        assert (document["quick"], document["repeat"]) == (True, 1)
        figure = document["workloads"][0]["figures"][0]
        assert set(figure) == {"system", "parameters", "iterations", "result", "samples", "ns", "ratio"}
        assert len(document["many"]) == 2

    def test_some_workloads(self) -> None:
        """Protects the choice: what was not asked for is not done."""
        result = CliRunner().invoke(
            iridium, ["bench", "--workload", "fib", "--workload", "count", "--repeat", "1"]
        )
        assert result.exit_code == 0
        title, headings, *_ = result.stdout.split("\n")
        assert title == "nanoseconds an iteration"
        assert headings.split() == ["count/iteration", "fib/call", "mean", "ratio"]
        assert "VMs" not in result.stdout
        assert result.stdout.endswith("\nnot measured: abacus: abacus is not installed\n")

    def test_an_unknown_workload(self) -> None:
        """Protects against a typo that measures nothing."""
        result = CliRunner().invoke(iridium, ["bench", "--workload", "fob"])
        assert result.exit_code == 2
        assert "'fib'" in result.stderr

    def test_a_chart_in_a_file(self, tmp_path: Path) -> None:
        """Protects the file: it is there, and whole."""
        path = tmp_path / "speed.svg"
        words = ["bench", "--workload", "count", "--repeat", "1", "--chart", str(path)]
        assert CliRunner().invoke(iridium, words).exit_code == 0
        ET.fromstring(path.read_text())

    def test_a_chart_of_nothing(self, tmp_path: Path) -> None:
        """Protects against an empty picture: the mistake is told."""
        words = ["bench", "--workload", "many", "--repeat", "1", "--chart", str(tmp_path / "speed.svg")]
        result = CliRunner().invoke(iridium, words)
        assert result.exit_code == 2
        assert "nothing to draw" in result.stderr

    def test_an_engine_of_ours_that_is_wrong(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Protects whoever only looks at the exit status: a wrong engine is no success, and the rest is shown."""

        def faulty(vm: VM, budget: int) -> Turn:
            reference(vm, budget)
            vm.output.clear()
            return Turn(Stop.HALTED, 0)

        monkeypatch.setattr(ours, "ENGINES", {"reference": ENGINES["reference"], "faulty": ENGINES["reference"]})
        monkeypatch.setitem(ENGINES, "faulty", lambda: faulty)
        result = CliRunner().invoke(iridium, ["bench", "--workload", "count", "--repeat", "1"])
        assert result.exit_code == 70
        assert "engine faulty failed in count" in result.stderr
        assert "Iridium, reference" in result.stdout
