"""What people say of answers, blind. First the answers, shuffled, nobody knows whose:

    python nbs/_bench/marks.py ask --data data/train.txt --checkpoints ck/lstm ck/transformer ck/cnn \
        --questions questions.txt --out marks

`--questions` are held-out questions, a line each, that can be asked out of context (choose them by reading).
Two raters get FOLDER/items.tsv and these words, and nothing else. «Judge each line as a native reader of
Russian. Sensible: a person could say this in reply to this very question. Specific: sensible, and it would
not do as well in reply to most other questions. Fluent: the text alone is grammatical Russian of real words.»
Each writes id<TAB>sensible<TAB>specific<TAB>fluent, 0 or 1, for every line. Then:

    python nbs/_bench/marks.py score --out marks --marks marks/one.tsv marks/two.tsv

prints shares with standard errors and the raters' agreement, and writes results/marks.csv beside this file,
results/marks_similarity.csv: SSA by the similarity of the nearest question, and results/marks_items.csv: what
each rater said of each answer (the stored one lacks `nucleus`, marked later). 03_decoding shows all three.
results/marks_tried.csv was put together by hand from further sittings; `p` is that of the sign test on SSA
against the system `against` of the same sitting.
"""

import argparse
from pathlib import Path

import pandas as pd

from chitchat.corpus import load_corpus
from chitchat.data import clean_text
from chitchat.decoding import WAYS, Responder

RESULTS = Path(__file__).parent / "results"
MARKS = ["sensible", "specific", "fluent"]


def ask(a):
    responders = {Path(c).name: Responder.from_checkpoint(c) for c in a.checkpoints}
    first = next(iter(responders.values()))
    corpus = load_corpus(a.data, first.data_cfg, tok=first.tok, cats=first.cats)
    questions = Path(a.questions).read_text(encoding="utf-8").splitlines()
    people = corpus.valid_df.drop_duplicates("question").set_index("question").answer
    table = pd.DataFrame({"question": questions})
    table["people"] = [people[clean_text(q)] for q in questions]
    table["people, dealt at random"] = list(table.people[5:]) + list(table.people[:5])
    found = [first.index.search(clean_text(q), 1) for q in questions]
    table["nearest question's answer"] = [near[0].answer if near else "" for near in found]
    for name, responder in responders.items():
        for method in WAYS:
            table[f"{name} {method}"] = responder.answers(questions, method=method, seed=0)
    a.out.mkdir(parents=True, exist_ok=True)
    table.to_csv(a.out / "answers.csv", index=False)
    table.insert(1, "similarity", [near[0].score if near else 0.0 for near in found])
    every = table.melt(["question", "similarity"], var_name="system", value_name="answer")
    every["answer"] = every.answer.map(lambda t: " ".join(t.split()))
    items = every[["question", "answer"]].drop_duplicates().sample(frac=1, random_state=0)
    items.insert(0, "id", range(len(items)))
    every.merge(items).to_csv(a.out / "key.csv", index=False)
    items.to_csv(a.out / "items.tsv", sep="\t", index=False, header=False, quoting=3)
    print(f"{len(items)} answers to {len(questions)} questions, {table.shape[1] - 2} systems")


def score(a):
    raters = [pd.read_csv(path, sep="\t", names=["id", *MARKS], index_col="id") for path in a.marks]
    key = pd.read_csv(a.out / "key.csv", keep_default_na=False)
    both = sum(raters) / len(raters)
    agreement = (raters[0] == raters[1]).mean().round(3)
    print("the raters agree in:", agreement.to_dict())
    marked = key.join(both, "id").dropna()
    marked.to_csv(a.out / "marked.csv", index=False)
    each = key[["question", "system", "id"]].assign(question=pd.factorize(key.question)[0])
    for name, marks in zip(("one", "two"), raters):
        each = each.join(marks.add_prefix(f"{name}_"), "id", how="inner")
    each.to_csv(RESULTS / "marks_items.csv", index=False)
    marked["SSA"] = (marked.sensible + marked.specific) / 2
    near = pd.cut(marked.similarity, [0, 0.25, 0.35, 0.5, 1]).rename("similarity")
    by = marked.pivot_table("SSA", near, "system", observed=True)
    by.insert(0, "questions", marked.groupby(near, observed=True).question.nunique())
    by.round(4).to_csv(RESULTS / "marks_similarity.csv")
    by = marked.groupby("system", sort=False)
    table = by[[*MARKS, "SSA"]].mean().assign(error=by.SSA.sem(), answers=by.size())
    table = table.sort_values("SSA", ascending=False)
    print(table.round(3).to_string())
    table.round(4).assign(**{f"agreement_{k}": v for k, v in agreement.items()}).to_csv(RESULTS / "marks.csv")


if __name__ == "__main__":
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("what", choices=["ask", "score"])
    p.add_argument("--data")
    p.add_argument("--checkpoints", nargs="+")
    p.add_argument("--questions")
    p.add_argument("--out", type=Path, required=True)
    p.add_argument("--marks", nargs="+")
    args = p.parse_args()
    {"ask": ask, "score": score}[args.what](args)
