"""Every speed benchmark in turn: ``python -m benchmarks``."""

from benchmarks import opening, threshold

for benchmark in (opening, threshold):
    print(f"== {benchmark.__name__}")
    benchmark.main()
