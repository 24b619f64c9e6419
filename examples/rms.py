"""The root mean square of an array, alone and in parallel: `reduce` over `view.map`."""

from functools import reduce
from math import sqrt
from operator import add

import numpy as np

import oarlock


def square(x):
    return x * x


X = np.linspace(0, 100)

print("local:   ", sqrt(reduce(add, map(square, X)) / X.size))

with oarlock.Cluster(n=2) as rc:
    # The same expression with the view's map: the result is iterable at once, and `reduce`
    # consumes it while further parts arrive.
    squares = rc[:].map(square, X)
    print("parallel:", sqrt(reduce(add, squares) / X.size))
