"""The model in the package, on the cases that its training did not see.

`hippocampus`, as installed, in `unetr predict` with and without mirroring, and `unetr evaluate` on
the scans' own grid. The interval is bootstrapped over cases.

    UNETR_TEST_DATA=FOLDER python benchmarks/shipped.py
"""

import tempfile
from pathlib import Path

from kept import read_scores, summary
from runs import find_data, held_out, unetr
from unetr.checkpoint import load_model

NAME = "hippocampus"


def main() -> None:
    """Prints a row per way of predicting."""
    data = find_data(NAME)
    unseen = held_out(data, load_model(NAME).provenance["validation"])
    scans = [str(case.images[0]) for case in unseen]
    print("| mirrored | n | Dice | HD95 mm | undefined | by structure: Dice (HD95 mm) |")
    print("|---" * 6 + "|")
    for mirrored in (False, True):
        with tempfile.TemporaryDirectory() as folder:
            out, scores = Path(folder, "labels"), Path(folder, "scores")
            unetr(["predict", NAME, *scans, "-o", str(out), *["--tta"] * mirrored])
            unetr(["evaluate", str(out), str(data), "-o", str(scores)])
            cells = summary([read_scores(scores)])
            print(f"| {'yes' if mirrored else 'no'} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
