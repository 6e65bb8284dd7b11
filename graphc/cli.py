"""The `graphc` command: `graphc demo` trains a classifier, `graphc bench` runs the benchmarks of a checkout.

Subcommands import what they need when they run, so `graphc --help` answers at once.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from graphc import __version__


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status: 0, 1 for an error, 2 for wrong usage, 130 for Ctrl-C."""
    arguments = sys.argv[1:] if arguments is None else arguments
    parser = _parser()
    # The options of `bench` are those of the program that it starts, which has its own help.
    bench = arguments[:1] == ["bench"]
    options = parser.parse_args(arguments[:1] if bench else arguments)
    if options.version:
        print(f"graphc {__version__}")
        return 0
    if options.command is None:
        parser.print_help()
        return 0
    try:
        return _bench(arguments[1:]) if bench else _demo(options)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except OSError as error:
        print(f"graphc {options.command}: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="graphc", description="A static-graph compiler with symbolic differentiation."
    )
    parser.add_argument("--version", action="store_true", help="print the version and exit")
    commands = parser.add_subparsers(dest="command", metavar="command")
    demo = commands.add_parser(
        "demo",
        help="train a classifier on handwritten digits and show what the compiler did",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    demo.add_argument("--seed", type=_natural, default=42, help="of the split, the weights and the batches")
    demo.add_argument("--epochs", type=_positive, default=30, help="passes over the training set")
    demo.add_argument("--hidden", type=_positive, default=128, help="width of the first hidden layer")
    demo.add_argument("--no-progress", action="store_true", help="no progress bar")
    demo.add_argument("--svg", default="graphc-demo.svg", metavar="PATH", help="where to write the drawing")
    commands.add_parser("bench", help="compare with JAX, PyTorch and PyTensor (graphc bench --help)", add_help=False)
    return parser


def _natural(text: str) -> int:
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"{number} is negative")
    return number


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is not positive")
    return number


def _demo(options: argparse.Namespace) -> int:
    missing = _missing("sklearn", "tqdm")
    if missing:
        print(f"graphc demo needs {' and '.join(missing)}: pip install 'graphc[demo]'", file=sys.stderr)
        return 1
    from graphc.demo import run

    run(
        seed=options.seed,
        epochs=options.epochs,
        hidden=options.hidden,
        progress=not options.no_progress,
        svg=options.svg,
    )
    return 0


def _bench(arguments: Sequence[str]) -> int:
    """Run `python -m benchmarks` of the checkout that this module is in."""
    root = _checkout()
    if not (root / "benchmarks" / "__main__.py").exists():
        print("graphc bench: this is an installed package; run python -m benchmarks in a clone of it", file=sys.stderr)
        return 1
    if str(root) not in sys.path:
        sys.path.insert(0, str(root))
    status: int = import_module("benchmarks.__main__").main(arguments)
    return status


def _checkout() -> Path:
    return Path(__file__).resolve().parent.parent


def _missing(*modules: str) -> list[str]:
    """Return the distributions whose modules cannot be found."""
    from importlib.util import find_spec

    distributions = {"sklearn": "scikit-learn", "tqdm": "tqdm"}
    return [distributions[m] for m in modules if find_spec(m) is None]


if __name__ == "__main__":
    sys.exit(main())
