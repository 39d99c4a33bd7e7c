"""BlackSheep on granian's ASGI interface; it has no RSGI one.

BENCH_JSON=msgspec points its documented JSON settings at msgspec instead of the standard library.
"""

import os

import msgspec
from blacksheep import Application, get, json
from blacksheep.settings.json import json_settings

if os.environ.get("BENCH_JSON") == "msgspec":
    encode = msgspec.json.Encoder().encode
    json_settings.use(loads=msgspec.json.decode, dumps=lambda value: encode(value).decode())

app = Application()


@get("/hello")
async def hello():
    return json({"message": "Hello, World!"})
