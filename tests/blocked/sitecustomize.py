"""Keep this process off the network; loopback stays open, since kernels talk through it.

Python imports a module of this name at start wherever it finds one, so a process, and all that it
starts, is blocked by having this folder on PYTHONPATH. `tests/conftest.py` imports it as well.
"""

import errno
import ipaddress
import socket
import sys


def is_local(host: str | bytes | None) -> bool:
    """Whether `host` is this machine: a name of it, a loopback address, or none at all."""
    name = host.decode() if isinstance(host, bytes) else host
    if name in (None, "", "localhost", socket.gethostname()):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback or name == "0.0.0.0"
    except ValueError:
        return False


def refuse_network(event: str, arguments: tuple) -> None:
    """Audit hook: fail as a machine without a network does, before anything is sent."""
    if event in ("socket.connect", "socket.sendto"):
        connection, address = arguments[0], arguments[1]
        if connection.family not in (socket.AF_INET, socket.AF_INET6):
            return  # a socket of the file system
        host = address[0]
    elif event in ("socket.getaddrinfo", "socket.gethostbyname"):
        host = arguments[0]
    else:
        return
    if not is_local(host):
        raise OSError(errno.ENETUNREACH, f"the tests block the network: {event} to {host}")


# A hook rather than a patch of `socket`: it holds for what was imported before, too.
sys.addaudithook(refuse_network)
