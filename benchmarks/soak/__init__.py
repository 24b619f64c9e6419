"""Mixed load for minutes or hours, and what memory, descriptors and threads do meanwhile.

``python -m benchmarks.soak --minutes 5`` (``make soak MINUTES=5``) loads an embedded and a
standalone cluster with everything at once: maps fine and chunked, lazy maps, large arrays,
exceptions, output, cancellations, several threads, clients that come and go, engines that are
killed, stopped and restarted. A seed makes the order of it. Every result is checked. `watch` weighs
the processes at quiet moments and fits what they grow by in an hour; `trend` says how sure that is.
"""
