"""Count the words of a real text: map over its parts, reduce by adding the counts.

The text is the language reference that Python carries along for `help()`.
"""

import re
from collections import Counter
from functools import reduce
from operator import add
from pydoc_data.topics import topics

import oarlock


def count_words(text):
    """The words of one text and how often each occurs."""
    return Counter(re.findall(r"[a-z]+", text.lower()))


texts = list(topics.values())

with oarlock.Cluster(n=2) as rc:
    view = rc.load_balanced_view()
    # Ten texts per task: one alone is done faster than it travels.
    counts = view.map(count_words, texts, chunksize=10, ordered=False)
    # The sum begins with the first part that arrives.
    total = reduce(add, counts, Counter())

print(f"{total.total()} words, {len(total)} different, in {len(texts)} texts")
for word, times in total.most_common(10):
    print(f"{times:7d}  {word}")
print("same as alone:", total == reduce(add, map(count_words, texts), Counter()))
