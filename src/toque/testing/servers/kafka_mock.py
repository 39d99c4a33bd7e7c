"""librdkafka's mock cluster as a process: prints its address, then reads `down` and `up` from its input.

Run it as a file. It needs confluent-kafka, whose wheel brings the library with the functions of rdkafka_mock.h.
"""

from __future__ import annotations

import ctypes
import sys
from importlib.util import find_spec
from pathlib import Path

PRODUCER = 0  # rd_kafka_type_t
BROKERS = 1
BROKER = 1


def library() -> ctypes.CDLL:
    """librdkafka from the wheel."""
    spec = find_spec("confluent_kafka")
    if spec is None or spec.origin is None:
        raise FileNotFoundError("no Kafka to start: install confluent-kafka")
    found = next((Path(spec.origin).parent.parent / "confluent_kafka.libs").glob("librdkafka*"))
    loaded = ctypes.CDLL(str(found))
    for name in ("rd_kafka_conf_new", "rd_kafka_new", "rd_kafka_mock_cluster_new"):
        getattr(loaded, name).restype = ctypes.c_void_p
    loaded.rd_kafka_mock_cluster_bootstraps.restype = ctypes.c_char_p
    return loaded


def main() -> None:
    kafka = library()
    said = ctypes.create_string_buffer(512)
    client = kafka.rd_kafka_new(PRODUCER, ctypes.c_void_p(kafka.rd_kafka_conf_new()), said, len(said))
    if not client:
        sys.exit(said.value.decode())
    cluster = ctypes.c_void_p(kafka.rd_kafka_mock_cluster_new(ctypes.c_void_p(client), BROKERS))
    # Three seconds by default (KIP-134); tests have one member most of the time.
    kafka.rd_kafka_mock_group_initial_rebalance_delay_ms(cluster, 100)
    print(kafka.rd_kafka_mock_cluster_bootstraps(cluster).decode(), flush=True)
    acts = {"down\n": kafka.rd_kafka_mock_broker_set_down, "up\n": kafka.rd_kafka_mock_broker_set_up}
    for line in sys.stdin:
        print(acts[line](cluster, BROKER), flush=True)


if __name__ == "__main__":
    main()
