"""With asyncio: start a cluster, await results, and iterate over them as they arrive."""

import asyncio
import math

import oarlock


async def main():
    async with oarlock.Cluster(n=2) as rc:
        view = rc.load_balanced_view()

        # Every result can be awaited.
        print("7! =", await view.apply_async(math.factorial, 7))

        # So can several at once, together with anything else that is awaitable.
        sums = [view.apply_async(sum, range(n)) for n in (10, 100, 1000)]
        print("sums:", await asyncio.gather(*sums))

        # A map yields while later items still run; the loop stays free meanwhile.
        total = 0
        async for root in view.map(math.isqrt, range(1000), chunksize=50):
            total += root
        print("sum of the roots:", total)


asyncio.run(main())
