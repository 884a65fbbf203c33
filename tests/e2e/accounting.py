"""Samples counted in the kernel = stored + spooled + counted lost, to the last one: under load, over an
aggregator that is killed with -9 twenty times while the agent streams, over an agent that is stopped
and started, and over a network that is cut.

# timeout: 600 s
# holds: machine
"""

import subprocess
import sys

from lib_fleet import BIN, Agent, Aggregator, check, needs_root, run, wait_for

HZ = 199
KILLS = 20

LOAD = """
import os, sys
# Many different stacks and a steady churn of processes: what an agent finds hardest.
def down(n):
    return sum(range(200)) if n == 0 else down(n - 1)
n = 0
while True:
    n += 1
    for depth in range(60):
        down(depth)
    if n % 40 == 0:
        pid = os.fork()
        if pid == 0:
            down(50)
            os._exit(0)
        os.waitpid(pid, 0)
"""


def start_load(fleet, count=2):
    # Whatever else runs goes first: this load never ends by itself.
    processes = [subprocess.Popen(["nice", "-n", "19", sys.executable, "-c", LOAD]) for _ in range(count)]

    def stop():
        for process in processes:
            process.kill()
            process.wait()

    fleet.undo.append(stop)
    return stop


def stored_samples(fleet, address):
    """All that was ever stored, in samples: values over the period."""
    total_ns = sum(fleet.folded(address, "cpu", "--from", "0", "--to", "now+1h").values())
    period = int(1e9 // HZ)
    check(total_ns % period == 0, f"{total_ns} ns is not a whole number of samples of {period} ns")
    return total_ns // period


def check_identity(fleet, address, summaries):
    taken = sum(s["samples_taken"] for s in summaries)
    lost = sum(s["samples_lost"] for s in summaries)
    spooled = summaries[-1]["samples_spooled"]
    stored = stored_samples(fleet, address)
    print(f"taken {taken} = stored {stored} + spooled {spooled} + lost {lost}")
    check(taken > 0, "nothing was sampled at all")
    check(taken == stored + spooled + lost,
          f"taken {taken} != stored {stored} + spooled {spooled} + lost {lost} (off by {stored + spooled + lost - taken})")
    return stored


def aggregator_killed_twenty_times(fleet):
    needs_root()
    stop_load = start_load(fleet)
    aggregator = Aggregator(fleet)
    agent = Agent(fleet, aggregator.address, ["--hz", str(HZ), "--interval", "500ms", "--state-dir", fleet.dir])
    address, data = aggregator.address, aggregator.data

    for kill in range(KILLS):
        # Wait until something new is durable, so that each life of the aggregator has acknowledged.
        seen = fleet.agents(address)
        before = seen[0]["samples_sent"] if seen else 0
        wait_for(f"data after kill {kill}", lambda: (lambda agents: agents and
                 agents[0]["samples_sent"] > before)(fleet.agents(address)))
        aggregator.kill()
        aggregator = Aggregator(fleet, data=data, listen=address)

    stop_load()
    check(agent.stop() == 0, "the agent stops with 0")
    stored = check_identity(fleet, address, [agent.summary()])
    check(agent.summary()["samples_spooled"] == 0, "an agent that reached its aggregator leaves nothing behind")
    check(stored > 100, "too little was stored to mean anything")
    check(aggregator.stop() == 0, "the aggregator stops with 0")


def agent_stopped_and_started(fleet):
    needs_root()
    stop_load = start_load(fleet, 1)
    aggregator = Aggregator(fleet)
    spool = f"{fleet.dir}/spool"
    options = ["--hz", str(HZ), "--interval", "500ms", "--spool", spool, "--state-dir", fleet.dir]
    summaries = []

    def life(reachable):
        agent = Agent(fleet, aggregator.address, options)
        if reachable:
            wait_for("data of this agent", lambda: any(a["samples_taken"] > 50 for a in
                     fleet.agents(aggregator.address)))
        else:
            wait_for("intervals in the spool", lambda: len(list_files(spool)) >= 3)
        check(agent.stop(90) == 0, "the agent stops with 0")
        summaries.append(agent.summary())

    life(True)
    # One whole life without an aggregator: everything stays in the folder.
    address, data = aggregator.address, aggregator.data
    aggregator.stop()
    life(False)
    check(summaries[-1]["samples_spooled"] > 0, "the spool holds what could not be delivered")
    aggregator = Aggregator(fleet, data=data, listen=address)
    life(True)
    stop_load()
    wait_for_empty = list_files(spool)
    check(not wait_for_empty, f"the last agent delivered what earlier ones left: {wait_for_empty}")
    check_identity(fleet, aggregator.address, summaries)


def list_files(folder):
    import os
    try:
        return [name for name in os.listdir(folder) if name.endswith(".batch")]
    except FileNotFoundError:
        return []


def network_cut(fleet):
    needs_root()
    name = f"pf{fleet.dir[-6:]}"
    ip = lambda *argv: subprocess.run(["ip", *argv], check=True)
    try:
        ip("netns", "add", name)
    except (subprocess.CalledProcessError, FileNotFoundError):
        from lib_fleet import skip
        skip("network namespaces cannot be made here")
    fleet.undo.append(lambda: subprocess.run(["ip", "netns", "del", name], check=False))
    ip("link", "add", f"{name}a", "type", "veth", "peer", "name", f"{name}b", "netns", name)
    fleet.undo.append(lambda: subprocess.run(["ip", "link", "del", f"{name}a"], check=False,
                                             stderr=subprocess.DEVNULL))
    subnet = 100 + (hash(name) % 100)
    ip("addr", "add", f"192.168.{subnet}.1/24", "dev", f"{name}a")
    ip("link", "set", f"{name}a", "up")
    ip("-n", name, "addr", "add", f"192.168.{subnet}.2/24", "dev", f"{name}b")
    ip("-n", name, "link", "set", f"{name}b", "up")
    ip("-n", name, "link", "set", "lo", "up")

    stop_load = start_load(fleet, 1)
    aggregator = Aggregator(fleet, listen=f"tcp://192.168.{subnet}.1:0")
    agent = Agent(fleet, aggregator.address,
                  ["--hz", str(HZ), "--interval", "500ms", "--state-dir", fleet.dir], netns=name)

    def sent():
        agents = fleet.agents(aggregator.address)
        return agents[0]["samples_sent"] if agents else 0

    for _ in range(3):
        before = sent()
        wait_for("data before the cut", lambda: sent() > before)
        # The agent says only when it changes: it must have noticed the last end before the next begins.
        wait_for("the agent to be back", lambda: agent.text().count("aggregator-back") ==
                 agent.text().count("aggregator-unreachable"), 90)
        ip("link", "set", f"{name}a", "down")
        # Long enough that intervals pile up: counted by the agent's own log of failed calls.
        failures = agent.text().count("aggregator-unreachable")
        wait_for("the agent to notice", lambda: agent.text().count("aggregator-unreachable") > failures, 90)
        ip("link", "set", f"{name}a", "up")

    before = sent()
    wait_for("data after the last cut", lambda: sent() > before, 90)
    stop_load()
    check(agent.stop(90) == 0, "the agent stops with 0")
    check_identity(fleet, aggregator.address, [agent.summary()])


if __name__ == "__main__":
    for test in (aggregator_killed_twenty_times, agent_stopped_and_started, network_cut):
        run(test)
