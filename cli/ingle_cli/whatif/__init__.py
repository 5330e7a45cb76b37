"""`ingle whatif`: where the engines of a pool would go, before it is made. Nothing is written."""

from ingle_cli.whatif.ask import whatif
from ingle_cli.whatif.poolfile import read_pool

__all__ = ["read_pool", "whatif"]
