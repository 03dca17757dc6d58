"""Which addresses of servers may be asked: whether they are of this machine or of its network."""

from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from socket import AI_NUMERICHOST, gaierror, getaddrinfo, gethostname
from typing import Final, Literal
from urllib.parse import SplitResult, urlsplit

from curate.errors import ConfigError

KEY_VARIABLE: Final = "CURATE_SERVER_KEY"

Reach = Literal["machine", "network", "world"]

_LOCAL_ENDINGS: Final = (".local", ".internal", ".lan", ".localhost")
_TRANSLATED: Final = IPv6Network("64:ff9b::/96")  # IPv4 addresses in their last 32 bits


def check_address(field: str, url: str, model: str) -> None:
    """Raise `ConfigError` unless an address is complete, local, and comes with a model's name.

    Prompts of the pool are sent there, so an address that is not of this machine or its private
    network is refused.
    """
    host = _host(field, url)
    if reach_of(host) == "world":
        raise ConfigError(
            f"{field}={url!r} is not on this machine or its private network, and the pool's prompts "
            "would leave it; serve the model locally, or forward a port: "
            f"ssh -L 8000:localhost:8000 {host}, and {field}=http://127.0.0.1:8000/v1"
        )
    if not model:
        raise ConfigError(
            f"{field} needs the name of the model it serves; add --set "
            f"{field.rpartition('.')[0]}.served_model=NAME (curl {url.rstrip('/')}/models lists them)"
        )


def check_opted_in(field: str, url: str, *, remote: bool) -> None:
    """Raise `ConfigError` for an address off this machine unless the user opted in to it.

    ``remote`` is that setting, named as the field's sibling. Beyond the private network only https is
    taken, because the pool's texts and the key would travel in the clear.
    """
    host = _host(field, url)
    reach = reach_of(host)
    if reach == "machine":
        return
    if not remote:
        raise ConfigError(
            f"{field}={url!r} is not on this machine, and the pool's texts would leave it; to allow "
            f"that, add --set {field.rpartition('.')[0]}.remote=true, or serve the model here"
        )
    if reach == "world" and not url.lower().startswith("https:"):
        raise ConfigError(
            f"{field}={url!r} would send the pool's texts, and a key, over the internet in the clear; "
            "give its https address"
        )


def reach_of(host: str) -> Reach:
    """Return how far away a host is, as what connects to it will read it.

    A number in any notation (decimal, hexadecimal, octal, shortened) is an address, and so is an
    IPv4 address inside one of IPv6. A name without a dot is of the private network.

    Examples
    --------
    >>> reach_of("localhost"), reach_of("10.0.0.7"), reach_of("gpu3.lan"), reach_of("api.example.com")
    ('machine', 'network', 'network', 'world')
    """
    try:
        host = host.encode("idna").decode() if not host.isascii() else host
        addresses = getaddrinfo(host, None, flags=AI_NUMERICHOST)
    except UnicodeError:
        return "world"
    except gaierror:  # a name
        name = host.lower().rstrip(".")
        if name == "localhost" or name.endswith(".localhost") or name == gethostname().lower():
            return "machine"
        return "network" if "." not in name or name.endswith(_LOCAL_ENDINGS) else "world"
    found = {_reach(ip_address(address[4][0])) for address in addresses}
    return "world" if "world" in found else "network" if "network" in found else "machine"


def _host(field: str, url: str) -> str:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:  # such as an IPv6 address without its closing bracket
        parts, host, port = SplitResult("", "", "", "", ""), "", None
    if parts.scheme not in ("http", "https") or not host or port == 0:
        shown = "" if "@" in url else f"={url!r}"  # what stands before an @ may be a secret
        raise ConfigError(
            f"{field}{shown} is not an address; give one such as http://127.0.0.1:8000/v1"
        )
    if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        raise ConfigError(
            f"{field} holds a user name or a query, which would be stored with the scores, or a #fragment; give the "
            f"bare address, and a key in the environment variable {KEY_VARIABLE}"
        )
    return host


def _reach(address: IPv4Address | IPv6Address) -> Reach:
    if isinstance(address, IPv6Address):
        within = address.ipv4_mapped or address.sixtofour
        if address in _TRANSLATED:
            within = IPv4Address(int(address) & 0xFFFFFFFF)
        if within is not None:
            return _reach(within)
        if address.teredo is not None:
            return "world"
    if address.is_loopback:
        return "machine"
    return "network" if address.is_private or address.is_link_local else "world"
