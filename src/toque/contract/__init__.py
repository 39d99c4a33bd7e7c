"""What an app offers: plain data, no I/O. Nothing here imports another part of Toque."""
