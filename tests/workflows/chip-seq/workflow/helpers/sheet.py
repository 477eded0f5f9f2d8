"""Imported by the Snakefile."""

import csv


def read_sheet(path):
    with open(path, newline="") as sheet:
        return {row["sample"]: row for row in csv.DictReader(sheet)}
