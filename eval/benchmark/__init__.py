"""The rate-distortion benchmark: every codec to real files, measured, summed up and drawn.

    dataset.py    the pictures: Kodak, fetched and checked, or any folder
    peers/        one adapter per codec
    measure.py    one picture through one codec at one setting
    rows.py       what was measured: one row each, as JSON and CSV, kept from run to run
    runner.py     all rows that are asked for, over several processes, going on where it stopped
    summary.py    mean curves, BD-rates, a table
    published.py  curves of others, figures only
    plots.py      curves as PNG and SVG
    bench.py      all of it: one folder with everything

docs/benchmark.md tells how to use it and how to add a codec.
"""
