"""The agent's life as its operators see it: it reads its settings again at SIGHUP, loses nothing when it is
ended at any moment, counts what it could not take while it was stopped, and says when the one before it
was killed.

# timeout: 300 s
# holds: machine
"""

import os
import random
import signal
import subprocess
import sys

from lib_fleet import Agent, Aggregator, check, needs_root, run, wait_for

HZ = 997
LOAD = "import os\nwhile True:\n    sum(range(3000))\n    os.waitpid(os.posix_spawn('/bin/true', ['true'], {}), 0)"


def start_load(fleet):
    # Whatever else runs goes first: this load never ends by itself.
    processes = [subprocess.Popen(["nice", "-n", "19", sys.executable, "-c", LOAD]) for _ in range(2)]
    fleet.undo.append(lambda: [(p.kill(), p.wait()) for p in processes])


def stored_samples(fleet, address):
    total_ns = sum(fleet.folded(address, "cpu", "--from", "0", "--to", "now+1h").values())
    period = int(1e9 // HZ)
    check(total_ns % period == 0, f"{total_ns} ns is not a whole number of samples")
    return total_ns // period


def check_identity(fleet, address, summaries):
    taken, lost = (sum(s[key] for s in summaries) for key in ("samples_taken", "samples_lost"))
    stored, spooled = stored_samples(fleet, address), summaries[-1]["samples_spooled"]
    print(f"taken {taken} = stored {stored} + spooled {spooled} + lost {lost}")
    check(taken > 0 and taken == stored + spooled + lost, "every sample has its place")
    return lost


def reads_its_settings_again(fleet):
    needs_root()
    config = os.path.join(fleet.dir, "agent.yaml")

    def write(text):
        with open(config, "w", encoding="utf-8") as file:
            file.write(text)

    write("label: [stage=one]\n")
    start_load(fleet)
    aggregator = Aggregator(fleet)
    agent = Agent(fleet, aggregator.address, ["--config", config, "--interval", "200ms", "--state-dir", fleet.dir])
    answered = lambda selector: fleet.folded(aggregator.address, selector, "--since", "1h", status=None)
    wait_for("the first label", lambda: answered('cpu{stage="one"}'))
    write("label: [stage=two]\nlog-level: debug\nrelabel:\n - { source: comm, match: true, target: service, value: truth }\n")
    agent.process.send_signal(signal.SIGHUP)
    wait_for("the second label", lambda: answered('cpu{stage="two"}'))
    wait_for("the rule", lambda: answered('cpu{service="truth"}'))
    check('"reloaded"' in agent.text(), "says that it was read")

    for broken in ("label: [none]\n", "relabel:\n - { source: comm, match: '(', target: x }\n", "hz: nonsense\n"):
        before = agent.text().count('"reload-failed"')
        write(broken)
        agent.process.send_signal(signal.SIGHUP)
        wait_for("the refusal", lambda: agent.text().count('"reload-failed"') > before)
    check(config + ":1" in agent.text(), "names file and line")
    check(agent.stop() == 0, "stops with 0")
    check(not answered('cpu{stage="none"}'), "nothing of what was refused was taken")


def ended_at_any_moment(fleet):
    needs_root()
    rng = random.Random(20)
    start_load(fleet)
    aggregator = Aggregator(fleet)
    options = ["--hz", str(HZ), "--interval", "300ms", "--state-dir", fleet.dir, "--spool", f"{fleet.dir}/spool"]
    summaries = []
    for _ in range(20):
        agent = Agent(fleet, aggregator.address, options)
        # The moment is what is tested, so that no condition can stand for it.
        try:
            agent.process.wait(rng.random())
        except subprocess.TimeoutExpired:
            pass
        check(agent.stop() == 0, f"stops with 0: {agent.text()}")
        summaries.append(agent.summary())
    check_identity(fleet, aggregator.address, summaries)
    check("agent-was-killed" not in "".join(p.text() for p in fleet.programs), "nobody was killed")


def stopped_and_continued(fleet):
    needs_root()
    start_load(fleet)
    aggregator = Aggregator(fleet)
    agent = Agent(fleet, aggregator.address, ["--hz", str(HZ), "--interval", "500ms", "--state-dir", fleet.dir])
    wait_for("data", lambda: fleet.agents(aggregator.address))
    agent.process.send_signal(signal.SIGSTOP)
    fleet.undo.append(lambda: agent.process.poll() is None and agent.process.send_signal(signal.SIGCONT))
    try:
        agent.process.wait(15)
    except subprocess.TimeoutExpired:
        pass
    agent.process.send_signal(signal.SIGCONT)
    sent = fleet.agents(aggregator.address)[0]["samples_sent"]
    wait_for("data after it", lambda: fleet.agents(aggregator.address)[0]["samples_sent"] > sent)
    check(agent.stop() == 0, "stops with 0")
    lost = check_identity(fleet, aggregator.address, [agent.summary()])
    check(lost > 0, "fifteen seconds of two busy CPUs find no room in a ring for one")
    answer = fleet.cli(aggregator.address, "top", "cpu", "--since", "1h")
    check("ring_full" in answer, f"an answer says what was lost: {answer}")
    row = fleet.agents(aggregator.address)[0]
    check("ring_full" in str(row), f"and the list of agents: {row}")


def killed(fleet):
    needs_root()
    start_load(fleet)
    aggregator = Aggregator(fleet)
    address, data = aggregator.address, aggregator.data
    aggregator.stop()
    spool = f"{fleet.dir}/spool"
    options = ["--hz", str(HZ), "--interval", "200ms", "--state-dir", fleet.dir, "--spool", spool]
    batches = lambda: [name for name in os.listdir(spool) if name.endswith(".batch")]
    agent = Agent(fleet, address, options)
    wait_for("intervals in the spool", lambda: len(batches()) >= 5)
    agent.kill()
    aggregator = Aggregator(fleet, data=data, listen=address)
    agent = Agent(fleet, address, options)
    wait_for("the spool to be delivered", lambda: not batches())
    check("agent-was-killed" in agent.text(), "the next one says that the last one was killed")
    check(agent.stop() == 0, "stops with 0")
    summary = agent.summary()
    check(summary["samples_inherited"] > 0, "what was spooled survived")
    check(stored_samples(fleet, address) == summary["samples_inherited"] + summary["samples_taken"],
          "and was stored once, with everything taken since")


if __name__ == "__main__":
    for test in (reads_its_settings_again, ended_at_any_moment, stopped_and_continued, killed):
        run(test)
