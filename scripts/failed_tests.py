#!/usr/bin/env python3
"""What each failed test printed last, then their names: often the end of a long log is all that is kept of it.

failed_tests.py JUNIT.xml...   reports of ctest --output-junit; those that are missing are left out.
"""
import pathlib
import sys
import xml.etree.ElementTree as ElementTree

LINES, WIDTH = 20, 200


def failed(report):
    """(name, why, what it printed) of each failed test of one report."""
    try:
        cases = ElementTree.parse(report).getroot().iter("testcase")
    except ElementTree.ParseError as error:
        yield f"{report.parent.name}/{report.name}", f"cannot be read: {error}", ""
        return
    for case in cases:
        failure = case.find("failure")
        if failure is not None:
            why = f"{failure.get('message') or 'Failed'}, {float(case.get('time') or 0):.1f} s"
            yield f"{report.parent.name}/{case.get('name')}", why, case.findtext("system-out") or ""


def main(paths):
    names = []
    for report in filter(pathlib.Path.is_file, map(pathlib.Path, paths)):
        for name, why, output in failed(report):
            names.append(name)
            print(f"\n{name} ({why}):")
            for line in [line for line in output.splitlines() if line.strip()][-LINES:]:
                print("  | " + line[:WIDTH])
    if names:
        print(f"\n{len(names)} failed: {', '.join(names)}")


main(sys.argv[1:])
