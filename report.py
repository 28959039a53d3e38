"""The report of a run: one HTML page with everything in it, and its figures as PNG files beside it.

    python report.py RUN_DIR

RUN_DIR is the folder of a test or of a training.
"""

from pathlib import Path

from evaluation import page
from option import Parser, exit_codes

parser = Parser("The report of a run: one HTML page with everything in it, and its figures as PNG files beside it.")
parser.add_argument("run_dir", type=Path, help="folder of a test or of a training")


def main() -> None:
    args = parser.parse_args()
    with exit_codes():
        path = page.write(args.run_dir)
        print(f"report in {path}, its figures in {args.run_dir / 'figures'}")


if __name__ == "__main__":
    main()
