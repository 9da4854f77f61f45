"""Reports: metrics, statistics, verdicts, tables, figures and the page, all made from stored predictions. Imports no torch.

`reports.write.write_report` writes a report, `reports.terminal.print_report` prints it, `reports.frames.Tables` has its tables
as pandas frames.
"""
