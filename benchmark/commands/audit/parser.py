"""The options of `audit`."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from benchmark.commands.parsing import options as common

if TYPE_CHECKING:
    from rich.console import Console


def add_parser(commands: common.Commands) -> None:
    parser = common.add_command(
        commands,
        "audit",
        execute,
        summary="measure what each shortcut of a published evaluation is worth",
        description="Measure what each shortcut of a published evaluation is worth, one switch at a time and all together: the "
        "thesis', or that of SHIELD's released configurations.",
        examples={
            "audit --preset cifar100-cpu --dry-run": "what there is to do; nothing is started",
            "audit --preset digits --methods packnet --switches gate eval_time": "two switches of one method",
            "audit --preset digits --protocol shield": "what a network would have scored in SHIELD's columns",
        },
    )
    common.add_preset(parser, "the preset whose data, network and recipe are used")
    parser.add_argument(
        "--protocol", choices=("thesis", "shield"), default="thesis", help="whose evaluation (default: thesis)"
    )
    common.add_methods(parser, "madry_at, packnet or cmat (default: madry_at packnet)")
    parser.add_argument(
        "--switches",
        nargs="+",
        metavar="S",
        help="names of switches, bundles and tables (default: all of the protocol)",
    )
    common.add_seeds(parser)
    common.add_overrides(parser)
    parser.add_argument(
        "--samples", type=int, default=200, metavar="N", help="test images per task, at most (default: 200)"
    )
    common.add_results(parser, "the folder of stored runs; those of the audit are stored beside it")
    common.add_output(parser, "the folder for tables and figure")
    common.add_learning(parser)


def execute(options: argparse.Namespace, console: Console) -> int:
    run = common.run_options(options)
    from benchmark.commands.audit.command import AuditOptions, audit

    return audit(AuditOptions(run, options.switches, options.samples, options.output, options.protocol), console)
