"""Engines that talk to each other directly, after the client has introduced them.

Each engine opens a socket and returns its address; `get_dict` collects the addresses by engine
id, one push makes them known everywhere, and from then on the client is out of the conversation:
a token goes round the ring of engines, each adding its id.
"""

import oarlock


def listen():
    """Open this engine's own listener; returns where it can be reached."""
    import socket

    global listener
    listener = socket.create_server(("127.0.0.1", 0))
    return listener.getsockname()


def send(token):
    """Send `token` to the next engine; `me`, `peers` and `listener` live in the engine."""
    import json
    import socket

    following = sorted(peers)[(sorted(peers).index(me) + 1) % len(peers)]
    with socket.create_connection(tuple(peers[following]), timeout=10) as connection:
        connection.sendall(json.dumps([*token, me]).encode())


def receive():
    """Take the token from whichever engine sends it."""
    import json

    listener.settimeout(10)
    connection, _ = listener.accept()
    with connection, connection.makefile("rb") as stream:
        return json.load(stream)


def relay():
    """Take the token and pass it on."""
    send(receive())


with oarlock.Cluster(n=3) as rc:
    engines = rc[:]
    addresses = engines.apply_async(listen).get_dict()
    for engine, (host, port) in sorted(addresses.items()):
        print(f"engine {engine} listens on {host}:{port}")

    engines.push({"peers": addresses}).get()
    engines.scatter("me", rc.ids, flatten=True).get()

    first, *others = rc.ids
    relays = rc[others].apply_async(relay)
    rc[first].apply_sync(send, [])
    print("the token went by engines", rc[first].apply_sync(receive))
    relays.get()
    engines.execute("listener.close()").get()
