"""The demonstration: the whole of Ingle on stand-in nodes, each claim measured and printed."""
