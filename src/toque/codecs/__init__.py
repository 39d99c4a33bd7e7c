"""Bytes to values and back, one file a format; `codec.CODECS` lists them, `negotiation` chooses among
them."""
