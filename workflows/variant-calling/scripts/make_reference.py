"""Write a random genome as FASTA: make_reference.py CHROMOSOMES LENGTH. The same numbers give the same genome."""

import random
import sys

chromosomes, length = map(int, sys.argv[1:])
generator = random.Random(f"{chromosomes} x {length}")
for chromosome in range(1, chromosomes + 1):
    sequence = "".join(generator.choices("ACGT", weights=(3, 2, 2, 3), k=length))
    print(f">chr{chromosome}")
    print("\n".join(sequence[start : start + 60] for start in range(0, length, 60)))
