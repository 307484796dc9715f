"""The course's own example questions, answered by a checkpoint, beside the answers that the course shows.

    python nbs/_bench/course_examples.py --checkpoint FOLDER --examples course_examples.tsv

The examples are a file of question<TAB>answer. Writes results/course_examples.csv beside this file;
03_decoding shows it.
"""

import argparse
import time
from pathlib import Path

import pandas as pd

from chitchat.decoding import METHODS, Responder, answer_stats
from chitchat.files import read_pairs

RESULTS = Path(__file__).parent / "results"

def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--checkpoint", type=Path, required=True)
    p.add_argument("--examples", type=Path, required=True)
    a = p.parse_args()
    responder, pairs = Responder.from_checkpoint(a.checkpoint), read_pairs(a.examples)
    table = pd.DataFrame({"question": pairs.question, "course": pairs.answer})
    for method in METHODS:
        table[method] = responder.answers(list(pairs.question), method=method, seed=0)
    about = dict(model=a.checkpoint.name, date=time.strftime("%Y-%m-%d"))
    RESULTS.mkdir(exist_ok=True)
    table.assign(**about).to_csv(RESULTS / "course_examples.csv", index=False)
    figures = {name: answer_stats(table[name], table.question) for name in ("course", *METHODS)}
    print(pd.DataFrame(figures).T.round(3).to_string())

if __name__ == "__main__":
    main()
