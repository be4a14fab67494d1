"""The report of a benchmark folder, and its screenshot.

python -m dctcodec.eval.report FOLDER --data PICTURES -o report.html [--screenshot report.png]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ...codec.errors import DctcodecError
from ..benchmark.dataset import folder_dataset
from .browser import screenshot
from .build import DEFAULT_MAX_BYTES, write_report


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m dctcodec.eval.report", description=__doc__)
    parser.add_argument("folder", type=Path, help="of a benchmark, with results.json")
    parser.add_argument("--data", type=Path, required=True, help="the folder of the originals")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="HTML")
    parser.add_argument("--screenshot", type=Path, metavar="PNG")
    parser.add_argument("--height", type=int, default=3100, help="of the screenshot, pixels")
    parser.add_argument("--max-bytes", type=int, default=DEFAULT_MAX_BYTES)
    parser.add_argument("--peers", help="codecs in the slider, with commas between")
    parser.add_argument("--layers-image", help="whose layers are shown")
    args = parser.parse_args()
    try:
        write_report(
            args.folder,
            folder_dataset(args.data).paths,
            args.output,
            max_bytes=args.max_bytes,
            peers=args.peers.split(",") if args.peers else None,
            layers_image=args.layers_image,
        )
        print(f"{args.output}: {args.output.stat().st_size} bytes")
        if args.screenshot:
            screenshot(args.output, args.screenshot, height=args.height)
            print(f"{args.screenshot}: {args.screenshot.stat().st_size} bytes")
    except DctcodecError as error:
        print(f"Error: {error}", file=sys.stderr)
        raise SystemExit(error.exit_code) from None


if __name__ == "__main__":
    main()
