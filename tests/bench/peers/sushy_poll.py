"""Reads the power state of BMCs as an Ironic conductor does: threads, sushy, connections and sessions that are kept.

sushy_poll.py FIRST-ADDRESS COUNT PORT WORKERS ROUNDS    One JSON object on stdout. Every reading must be On.
"""

import ipaddress
import json
import logging
import queue
import resource
import sys
import threading
import time
import warnings

import sushy
import urllib3

warnings.filterwarnings("ignore")
logging.disable(logging.CRITICAL)
urllib3.disable_warnings()


def memory_mb():
    with open("/proc/self/status", encoding="utf-8") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmRSS:")) / 1024


def cpu_s():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


SYSTEM = "/redfish/v1/Systems/1"


class Fleet:
    def __init__(self, first, count, port):
        address = ipaddress.ip_address(first)
        self.urls = [f"https://{address + i}:{port}" for i in range(count)]
        self.services = {}

    def read(self, index):
        service = self.services.get(index)
        if service is None:
            auth = sushy.auth.SessionOrBasicAuth("admin", "password")
            service = sushy.Sushy(self.urls[index], auth=auth, verify=False, connect_timeout=30, read_timeout=60)
            self.services[index] = service
        return service.get_system(SYSTEM).power_state == sushy.SYSTEM_POWER_STATE_ON

    def round(self, workers):
        waiting, latencies, failed = queue.SimpleQueue(), [], []
        for index in range(len(self.urls)):
            waiting.put(index)

        def work():
            while True:
                try:
                    index = waiting.get_nowait()
                except queue.Empty:
                    return
                begun = time.monotonic()
                try:
                    if not self.read(index):
                        failed.append("not On")
                    latencies.append(time.monotonic() - begun)
                except Exception as error:  # noqa: BLE001 - counted, whatever it is
                    failed.append(repr(error))

        begun, cpu = time.monotonic(), cpu_s()
        threads = [threading.Thread(target=work) for _ in range(workers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        latencies.sort()
        return {
            "seconds": time.monotonic() - begun,
            "cpu_us": (cpu_s() - cpu) * 1e6 / len(self.urls),
            "p50_ms": latencies[len(latencies) // 2] * 1e3 if latencies else None,
            "p99_ms": latencies[len(latencies) * 99 // 100] * 1e3 if latencies else None,
            "failed": len(failed),
        }

    def close(self):
        # Deleting a thousand sessions one by one is not what is measured; the fleet forgets them.
        self.services.clear()


def main(first, count, port, workers, rounds):
    fleet = Fleet(first, int(count), port)
    connect = fleet.round(int(workers))
    polls = sorted((fleet.round(int(workers)) for _ in range(int(rounds))), key=lambda poll: poll["seconds"])
    json.dump({"connect": connect, "poll": polls[(len(polls) - 1) // 2], "memory_mb": {"polled": memory_mb()}}, sys.stdout)
    fleet.close()


main(*sys.argv[1:])
