"""Twenty everyday questions, answered by checkpoints in every way, as the answers come.

    python nbs/_bench/twenty.py --checkpoints ck/lstm ck/transformer ck/cnn

Writes results/twenty.csv beside this file; 03_decoding and README show it.
"""

import argparse
from pathlib import Path

import pandas as pd

from chitchat.decoding import WAYS, Responder

QUESTIONS = """
как дела?
что подарить бабушке на день рождения?
почему кот не ест?
посоветуйте фильм на вечер
как проверить аккумулятор?
зачем людям горы?
ты меня любишь?
где мои ключи?
сколько стоит проезд в автобусе?
доктор, что со мной?
почему ты опять опоздал на работу?
что ты делаешь сегодня вечером?
как похудеть к лету?
кто съел мой торт?
папа, откуда берутся дети?
а какая завтра погода?
чем отличается мужчина от женщины?
официант, что это у меня в супе?
как выучить английский за месяц?
о чём ты думаешь?
""".strip().splitlines()


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--checkpoints", nargs="+", required=True)
    a = p.parse_args()
    table = pd.DataFrame({"question": QUESTIONS})
    for path in map(Path, a.checkpoints):
        responder = Responder.from_checkpoint(path)
        for method in WAYS:
            table[f"{path.name} {method}"] = responder.answers(QUESTIONS, method=method, seed=0)
    table.to_csv(Path(__file__).parent / "results" / "twenty.csv", index=False)
    print(table.to_string())


if __name__ == "__main__":
    main()
