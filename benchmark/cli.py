"""The command line. Every option is a field of what a command takes; errors of users are one line and exit code 2."""

from __future__ import annotations

import argparse
import shlex
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from rich.console import Console

from benchmark.commands import listing
from benchmark.commands.run import run
from benchmark.errors import ConfigError
from benchmark.planning.options import PUBLISHED, ROOT, RUNS, RunOptions
from methods.base import MethodError
from results import load
from results.files import StoreError
from results.merged import merge
from scenarios.base import DataError

OUTPUT = ROOT / "reports" / "output"
DEFAULT_PRESET = "digits"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. Exit codes: 0 done; 1 some cells failed; 2 the command or configuration is wrong."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    # A file or a pipe has no width: tables get enough to be read, and lines are not broken.
    console = Console() if sys.stdout.isatty() else Console(width=120, soft_wrap=True)
    options = parser().parse_args(given)
    command = shlex.join(["python", "run_benchmark.py", *_without_places(given)])
    if threading.current_thread() is threading.main_thread():
        # A scheduler's `terminate` is Ctrl-C from somebody else: workers end, files are whole, the same command goes on.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        if options.command is None:
            code = run(RunOptions(DEFAULT_PRESET, command=command), console)
            return max(code, report(RUNS, PUBLISHED, OUTPUT, console))
        if options.command == "run":
            return run(run_options(options, command), console)
        if options.command == "report":
            must_be_there(options.results)
            return report(options.results, PUBLISHED, options.output, console)
        if options.command == "time":
            from benchmark.commands.timing.command import show_throughput

            return show_throughput(options.preset, options.data_root, options.device, options.output, console)
        if options.command == "evaluate":
            from benchmark.commands.evaluate.command import evaluate

            where = RunOptions(
                options.preset,
                overrides=options.set,
                data_root=options.data_root,
                download=options.download,
                device=options.device,
            )
            return evaluate(options.file, options.task, where, options.output, console)
        if options.command == "audit":
            from benchmark.commands.audit.command import AuditOptions, audit

            where = RunOptions(
                options.preset,
                methods=options.methods,
                seeds=options.seeds,
                overrides=options.set,
                results=options.results,
                data_root=options.data_root,
                download=options.download,
                device=options.device,
                workers=options.workers,
                dry_run=options.dry_run,
                command=command,
            )
            return audit(AuditOptions(where, options.switches, options.samples, options.output), console)
        if options.command == "check":
            from benchmark.commands.check import check

            return check(options.plugin, options.set, options.data_root, console)
        if options.command == "new-method":
            from benchmark.commands.new_method import new_method

            return new_method(options.name, options.folder, console)
        must_be_there(options.results)
        if options.command == "verify":
            from benchmark.commands.verify.command import verify

            where = RunOptions(
                options.preset or "",
                results=options.results,
                data_root=options.data_root,
                device=options.device,
            )
            if (options.submit is None) != (options.task is None):
                raise ConfigError("--submit FILE and --task T go together: images are of one task")
            submission = None if options.submit is None else (options.submit, options.task)
            return verify(options.run, where, console, submission)
        listing.show(options.what, options.results, PUBLISHED, console)
        return 0
    except (ConfigError, DataError, StoreError, MethodError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    except OSError as error:
        if error.filename is None:
            raise
        sys.stderr.write(f"error: {error.filename}: {error.strerror}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("stopped; the same command goes on from the last finished stage\n")
        return 130


def must_be_there(results: Path) -> None:
    """Raise ConfigError for a folder that somebody named and that is not there; the default one may be empty still."""
    if results != RUNS and not results.is_dir():
        raise ConfigError(f"--results {results}: no such folder")


class OneLineParser(argparse.ArgumentParser):
    """Says what is wrong in one line, like every other mistake."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {message} (see {self.prog} --help)\n")


def _without_places(given: Sequence[str]) -> list[str]:
    """The command as it is recorded: where somebody keeps data and results is theirs, and of no use to others."""
    places = ("--data-root", "--results", "--output")
    return ["DIR" if before in places else word for before, word in zip(["", *given], given, strict=False)]


def parser() -> argparse.ArgumentParser:
    top = OneLineParser(
        prog="run_benchmark.py",
        description="Benchmark of continual adversarial defenses. Without a command: the preset digits end to end.",
    )
    commands = top.add_subparsers(dest="command", metavar="COMMAND")
    run_ = commands.add_parser("run", help="train, attack and store what a preset demands and is not there yet")
    run_.add_argument("--preset", required=True, metavar="NAME|FILE", help="a built-in preset or a YAML file")
    run_.add_argument(
        "--methods", nargs="+", metavar="M", help="labels, methods or files; all of the preset if not given"
    )
    run_.add_argument("--seeds", nargs="*", type=int, metavar="N", help="instead of the preset's")
    run_.add_argument("--set", nargs="+", action="extend", default=[], metavar="KEY=VALUE", help="e.g. recipe.epochs=5")
    run_.add_argument(
        "--pretrain", metavar="SCENARIO", help="what pretrained_at starts from: a name, or {name: ..., tasks: ...}"
    )
    run_.add_argument(
        "--checks",
        choices=["none", "final", "deep"],
        help="extra attacks for the verdicts alone: none, on a subset (the default), or a black box too",
    )
    run_.add_argument("--results", type=Path, default=RUNS, metavar="DIR", help="where runs are stored")
    run_.add_argument("--data-root", type=Path, metavar="DIR", help="where the images are")
    run_.add_argument("--download", action="store_true", help="fetch the data set if it is not there")
    run_.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"])
    run_.add_argument("--engine", default="local", choices=["local"])
    run_.add_argument("--workers", type=int, metavar="N", help="runs side by side; by default as many as cores allow")
    run_.add_argument("--dry-run", action="store_true", help="show cells, hours and gigabytes; start nothing")
    run_.add_argument("--force", action="store_true", help="run again what is there; the old runs are set aside")
    report_ = commands.add_parser("report", help="tables, figures and leaderboard from stored results alone")
    report_.add_argument("--results", type=Path, default=RUNS, metavar="DIR")
    report_.add_argument("--output", type=Path, default=OUTPUT, metavar="DIR")
    list_ = commands.add_parser("list", help="what there is to choose from")
    list_.add_argument("what", nargs="?", choices=listing.WHAT)
    list_.add_argument("--results", type=Path, default=RUNS, metavar="DIR")
    evaluate_ = commands.add_parser(
        "evaluate",
        help="attack somebody's nn.Module ([0,1] images to logits) under a preset's protocol, without training",
    )
    evaluate_.add_argument("file", metavar="FILE.py[:NAME]", help="an nn.Module, or a class or function that makes one")
    evaluate_.add_argument("--preset", required=True, metavar="NAME|FILE", help="whose data and attacks are used")
    evaluate_.add_argument("--task", required=True, metavar="T", help="a task's number or name")
    evaluate_.add_argument("--set", nargs="+", action="extend", default=[], metavar="KEY=VALUE")
    evaluate_.add_argument("--data-root", type=Path, metavar="DIR", help="where the images are")
    evaluate_.add_argument("--download", action="store_true", help="fetch the data set if it is not there")
    evaluate_.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"])
    evaluate_.add_argument("--output", type=Path, metavar="FILE.csv", help="write the table there too")
    audit_ = commands.add_parser(
        "audit", help="what each protocol shortcut of the thesis is worth, one switch at a time"
    )
    audit_.add_argument("--preset", required=True, metavar="NAME|FILE", help="whose data, network and recipe are used")
    audit_.add_argument("--methods", nargs="+", metavar="M", help="madry_at and packnet if not given; or cmat")
    audit_.add_argument("--switches", nargs="+", metavar="S", help="all if not given; `all` is the bundle of them")
    audit_.add_argument("--seeds", nargs="*", type=int, metavar="N", help="instead of the preset's")
    audit_.add_argument("--set", nargs="+", action="extend", default=[], metavar="KEY=VALUE")
    audit_.add_argument("--samples", type=int, default=200, metavar="N", help="test images per task, at most")
    audit_.add_argument("--results", type=Path, default=RUNS, metavar="DIR", help="runs; the audit's lie beside it")
    audit_.add_argument("--output", type=Path, default=OUTPUT, metavar="DIR", help="where tables and figure go")
    audit_.add_argument("--data-root", type=Path, metavar="DIR", help="where the images are")
    audit_.add_argument("--download", action="store_true", help="fetch the data set if it is not there")
    audit_.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"])
    audit_.add_argument("--workers", type=int, metavar="N", help="runs side by side; by default as many as cores allow")
    audit_.add_argument("--dry-run", action="store_true", help="say what there is to do; start nothing")
    verify_ = commands.add_parser("verify", help="check what a run holds without running an attack")
    verify_.add_argument("run", metavar="RUN", help="the beginning of a run's hash, or its label")
    verify_.add_argument("--results", type=Path, default=RUNS, metavar="DIR")
    verify_.add_argument(
        "--preset", metavar="NAME|FILE", help="what demanded the run, where its record does not say enough"
    )
    verify_.add_argument("--data-root", type=Path, metavar="DIR", help="where the images are")
    verify_.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"])
    verify_.add_argument(
        "--submit", type=Path, metavar="FILE", help="adversarial images of another attack (.npz, .safetensors) to keep"
    )
    verify_.add_argument("--task", metavar="T", help="with --submit: the number or name of the task they are of")
    check_ = commands.add_parser("check", help="whether a method, an attack or a scenario keeps its contract")
    check_.add_argument("plugin", metavar="NAME|FILE.py", help="a plug-in of your own, or one that is there")
    check_.add_argument(
        "--set", nargs="+", action="extend", default=[], metavar="KEY=VALUE", help="its settings, e.g. retrain_epochs=1"
    )
    check_.add_argument("--data-root", type=Path, metavar="DIR", help="where a scenario's images are")
    new_ = commands.add_parser("new-method", help="write a method that works, to be changed, and its test")
    new_.add_argument("name", metavar="NAME", help="of the method and its file, such as my_method")
    new_.add_argument("--folder", type=Path, default=Path(), metavar="DIR", help="where to; by default here")
    time_ = commands.add_parser("time", help="throughput on this machine, and how far it is from its limit")
    time_.add_argument("--preset", default="cifar100", metavar="NAME|FILE", help="whose network and recipe are timed")
    time_.add_argument("--data-root", type=Path, metavar="DIR", help="times the loading of the data set too")
    time_.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"])
    time_.add_argument("--output", type=Path, metavar="FILE.json")
    return top


def run_options(options: argparse.Namespace, command: str) -> RunOptions:
    """Raises ConfigError for values out of range."""
    return RunOptions(
        preset=options.preset,
        methods=options.methods,
        seeds=options.seeds,
        overrides=options.set,
        pretrain=options.pretrain,
        checks=options.checks,
        results=options.results,
        data_root=options.data_root,
        download=options.download,
        device=options.device,
        workers=options.workers,
        dry_run=options.dry_run,
        force=options.force,
        command=command,
    )


def report(runs: Path, published: Path, output: Path, console: Console) -> int:
    """Write the report and print the leaderboard. Reads stored results only."""
    from reports.terminal import print_report
    from reports.write import write_report

    stored = load(runs, published)
    for each in stored.runs:
        if not each.published:
            merge(each.directory)
    written = write_report(stored, output)
    print_report(written, console)
    return 0
