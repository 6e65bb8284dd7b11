"""What `benchmarks/` does with figures: options, JSON, tables, drawings, memory; README is what the results give."""

from __future__ import annotations

import doctest
import os
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from benchmarks import __main__ as program
from benchmarks import charts, memory, processes, report, results, runs, worker
from benchmarks.worker import Job
from benchmarks.workloads import WORKLOADS

ROOT = Path(results.__file__).resolve().parent.parent


def figures(seconds: float, peak: int | None = 3 << 20, **report: Any) -> dict[str, Any]:
    attempt = {"import_seconds": 0.2, "first_seconds": 0.05, "versions": "tool 1", "stages": {}, "counts": {}, **report}
    return {"steady_seconds": seconds, "peak_bytes": peak, "cold": attempt, "warm": attempt}


@pytest.fixture
def sample() -> results.Results:
    found: results.Results = {"machine": "M", "threads": 1, "rows": {}}
    results.add(found, "lse", {"graphc": figures(1e-3, 100), "jax": figures(3e-3), "pytensor": figures(2e-3, None)})
    results.add(found, "call", {"graphc": figures(4e-7), "jax": figures(8e-6), "torch": {"failed": "no answer"}})
    results.add(found, "mlp784", {"graphc": figures(2e-4, stages={"build": 0.01}), "jax": figures(3e-4)})
    results.add(found, "fused@100", {"graphc": figures(1e-6), "jax": figures(5e-6)})
    results.add(found, "fused@1000", {"graphc": figures(4e-6), "jax": figures(9e-6)})
    results.add(found, "chain1000@10", {"graphc": figures(1e-6, counts={"nodes_before": 101})})
    return found


# -- figures and tables


def test_ratios(sample: results.Results) -> None:
    tools = {name: row["tools"] for name, row in sample["rows"].items()}
    assert report.ratio(tools["lse"]) == pytest.approx(2.0)
    assert report.ratio({"graphc": figures(1.0)}) is None
    assert report.best_peer({"graphc": figures(1.0)}) is None
    assert report.reached(WORKLOADS["lse"], tools["lse"]) is False
    assert report.reached(WORKLOADS["lse"], {**tools["lse"], "graphc": figures(5e-4)}) is True
    assert report.reached(WORKLOADS["call"], tools["call"]) is False
    assert report.reached(WORKLOADS["mlp"], tools["mlp784"]) is None
    assert report.asked_ratio(WORKLOADS["call"], tools["call"]) == pytest.approx(8e-6 / 0.3e-6)
    assert report.until_first(tools["call"]["graphc"], "cold") == pytest.approx(0.05)
    assert report.until_first(tools["call"]["graphc"], "warm") == pytest.approx(0.25)


def test_table_of_calls(sample: results.Results) -> None:
    header, rows = report.steady_table(sample, emphasis="**")
    assert header[2:6] == ["graphc", "JAX", "PyTorch", "PyTensor"]
    assert header[6:] == ["best peer / graphc", "asked", "memory: graphc", "memory: JAX"]
    assert [row[0] for row in rows] == ["call", "lse", "mlp784"], "in the order of the workloads, without scaling rows"
    assert rows[0][2:] == ["400 ns", "8 µs", "failed", "-", "20.00", "≤ 300 ns", "3 MiB", "3 MiB"]
    assert rows[1][2:] == ["1 ms", "3 ms", "-", "2 ms", "2.00", "≥ 2.4", "< 0.5 MiB", "3 MiB"]
    assert rows[2][6:8] == ["**1.50**", "≥ 1.3"]


def test_table_of_first_results(sample: results.Results) -> None:
    header, rows = report.compile_table(sample)
    assert len(header) == len(rows[0])
    assert [row[1] for row in rows] == ["50 ms", "250 ms"]
    assert [row[-1] for row in rows] == ["≤ 1.5 s", "≤ 400 ms"]


def test_text_and_markdown(sample: results.Results) -> None:
    text = report.show_text(sample)
    assert "M; one thread; tool 1" in text
    assert "build 10 ms" in text and "from the cache numba not imported" in text
    markdown = report.show_markdown([sample, {**sample, "threads": 2}])
    assert "| lse |" in markdown and "2 threads" in markdown
    assert markdown.count("build to first result") == 1, "first results are shown for one thread"
    assert report.show_markdown([]) == "No results are recorded yet."


def test_readme_is_replaced_between_its_markers() -> None:
    text = f"before\n{report.BEGIN}\nold\n{report.END}\nafter"
    assert report.put_into_readme(text, "new") == f"before\n{report.BEGIN}\nnew\n{report.END}\nafter"
    with pytest.raises(ValueError, match="lacks the lines"):
        report.put_into_readme("nothing here", "new")


def test_readme_and_drawings_are_what_the_results_give() -> None:
    everything = results.read_all(results.FOLDER)
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert text == report.put_into_readme(text, report.show_markdown(everything)), "run `python -m benchmarks --render`"
    for name, drawing in charts.draw_all(everything).items():
        assert (results.FOLDER / name).read_text(encoding="utf-8") == drawing


def test_drawings(sample: results.Results) -> None:
    drawings = charts.draw_all([sample, {**sample, "threads": 2}])
    for drawing in drawings.values():
        assert ElementTree.fromstring(drawing).tag.endswith("svg")
        assert "prefers-color-scheme:dark" in drawing
    # Three rows for two numbers of threads, and an entry of the legend: `mlp784` is as asked, the others short of it.
    assert drawings["ratios.svg"].count("<title>") == 6
    assert drawings["ratios.svg"].count('class="short"') == 4 + 1
    assert drawings["ratios.svg"].count('class="met"') == 2 + 1
    assert drawings["ratios.svg"].count('class="asked"') == 6 + 1
    # Curves for two numbers of threads, then the legend: each label once, and what dashes say.
    assert drawings["scaling.svg"].count("<polyline") == 2 * (2 + 3) + (2 + 1) + (3 + 1)


def test_logarithmic_axis() -> None:
    scale = charts.Scale(0.1, 1000.0, 50.0, 450.0)
    assert scale.marks() == pytest.approx([0.1, 1, 10, 100, 1000])
    assert [scale.place(v) for v in (0.1, 1, 1000)] == pytest.approx([50, 150, 450])


# -- results as JSON


def test_results_add_up(tmp_path: Path) -> None:
    path = tmp_path / "results" / "threads-1.json"
    found = results.open_or_new(path, 1)
    results.add(found, "call", {"graphc": figures(1.0), "jax": figures(2.0)})
    results.write(found, path)
    again = results.open_or_new(path, 1)
    results.add(again, "call", {"graphc": figures(0.5)})
    results.write(again, path)
    tools = results.read_all(path.parent)[0]["rows"]["call"]["tools"]
    assert {name: tool["steady_seconds"] for name, tool in tools.items()} == {"graphc": 0.5, "jax": 2.0}
    assert [p.name for p in path.parent.iterdir()] == ["threads-1.json"]


def test_results_of_other_threads_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.json"
    results.write(results.open_or_new(path, 2), path)
    assert program.main(["call", "--json", str(path)]) == 2
    assert "results of threads 2" in capsys.readouterr().err


# -- options and processes


def test_options() -> None:
    options = program.parse_options(["call", "fused@100", "--peer", "jax=python", "--json", "a.json"])
    assert options.workload == ["call", "fused@100"] and options.peer == [("jax", "python")]
    assert options.threads == 1 and options.json == Path("a.json")
    assert program.parse_options([]).workload == list(WORKLOADS)
    assert all("@" in name for name in program.parse_options(["--scaling"]).workload)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing"], "unknown workload 'nothing'"),
        (["fused@many"], "unknown workload 'fused@many'"),
        (["--peer", "jax"], "is not TOOL=PYTHON"),
        (["--peer", "graphc=python"], "is not TOOL=PYTHON"),
        (["--threads", "0"], "0 is not positive"),
        (["--threads", "4096"], "4096 threads need as many processors"),
    ],
)
def test_wrong_options(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        program.parse_options(arguments)
    assert stop.value.code == 2
    assert message in capsys.readouterr().err


def test_processors_and_environment() -> None:
    if hasattr(os, "sched_getaffinity"):
        assert processes.choose_processors("0", 1) == [min(os.sched_getaffinity(0))]
    assert processes.choose_processors("all", 99) == []
    one, two = (processes.environment(Job("jax", "call", "s", "c", [], n)) for n in (1, 2))
    assert one["OMP_NUM_THREADS"] == "1" and two["OPENBLAS_NUM_THREADS"] == "2"
    assert "multi_thread_eigen=false" in one["XLA_FLAGS"] and "multi_thread_eigen=true" in two["XLA_FLAGS"]
    memory = processes.environment(Job("jax", "call", "s", "c", [], 1, memory=True))
    assert "mmap_threshold" in memory["GLIBC_TUNABLES"] and "GLIBC_TUNABLES" not in one  # times are as users have them


def test_tools_must_agree(capsys: pytest.CaptureFixture[str]) -> None:
    ones = [np.ones(3)]
    workload = WORKLOADS["xent"]
    assert runs.agree(workload, {"graphc": ones, "jax": [np.ones(3) + 1e-6]})
    assert not runs.agree(workload, {"graphc": ones, "jax": [np.ones(3) + 1e-3]})
    assert "graphc and jax differ in result 0: 0.001" in capsys.readouterr().err
    assert not runs.agree(workload, {"graphc": ones, "jax": [np.ones(1)]})


def test_a_row_from_end_to_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.json"
    assert program.main(["call", "--rounds", "1", "--seconds", "0.01", "--cpu", "all", "--json", str(path)]) == 0
    assert capsys.readouterr().out.count("call") >= 2
    found = results.read(path)["rows"]["call"]["tools"]["graphc"]
    assert found["steady_seconds"] > 0
    assert found["cold"]["numba_imported"] and not found["warm"]["numba_imported"]


def test_samples_repeat_fast_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    counts: list[int] = []

    def seconds(_: Any, repeat: int) -> float:
        counts.append(repeat)
        return 1e-3 * repeat

    monkeypatch.setattr(worker, "_seconds", seconds)
    samples = worker.take_samples(lambda n: None, 0.004)
    assert counts[:2] == [1, 2], "repeated until 2 ms are filled"
    assert set(counts[2:]) <= {2} and set(samples) == {1e-3}


# -- memory


def test_status_is_read() -> None:
    if not memory.STATUS.exists():
        pytest.skip("the system has no /proc")
    resident, peak = memory.read_status("VmRSS"), memory.read_status("VmHWM")
    assert resident is not None and peak is not None and 0 < resident <= peak
    assert memory.read_status("VmNothing") is None


def test_peak_above_inputs() -> None:
    if not memory.reset_peak():
        pytest.skip("the system cannot reset a peak")
    count = 1 << 21  # 16 MiB of float64, and one temporary of that size in a call

    class Row:
        def __init__(self, x: np.ndarray[Any, Any]) -> None:
            self.x, self.result = x, [x + 1]

        def run(self, n: int) -> None:
            for _ in range(n):
                (self.x + 1).sum()

    peak = memory.peak_above_inputs(lambda inputs: Row(inputs["x"]), lambda: {"x": np.ones(count)})
    assert peak is not None and abs(peak - 8 * count) < 2 << 20


def test_examples_in_docstrings() -> None:
    for module in (memory, report):
        found = doctest.testmod(module)
        assert found.attempted and not found.failed


def test_bytes_of_inputs_count_lists() -> None:
    assert memory.count_bytes([np.zeros(4), [np.zeros(2, "float32"), 1.0], 3]) == 40
