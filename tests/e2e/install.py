"""`cmake --install` puts programs, man pages and completions where a package would, and they work from
there.
"""

import os
import shutil
import subprocess

from lib_fleet import BIN, check, run

BUILD = os.path.dirname(BIN)


def installed_tree(fleet):
    prefix = os.path.join(fleet.dir, "usr")
    subprocess.run(["cmake", "--install", BUILD, "--prefix", prefix], check=True, stdout=subprocess.DEVNULL)
    expected = ["bin/profleet", "bin/profleet-agent", "bin/profleet-aggregator",
                "share/man/man1/profleet.1", "share/man/man8/profleet-agent.8|share/man/man1/profleet-agent.1",
                "share/man/man8/profleet-aggregator.8|share/man/man1/profleet-aggregator.1",
                "share/bash-completion/completions/profleet", "share/zsh/vendor-completions/_profleet|"
                "share/zsh/site-functions/_profleet", "share/fish/vendor_completions.d/profleet.fish",
                "lib/systemd/system/profleet-agent.service", "lib/systemd/system/profleet-aggregator.service",
                "share/profleet/examples/agent.yaml", "share/profleet/examples/aggregator.yaml"]
    for choices in expected:
        found = [path for choice in choices.split("|") for path in (choice, choice + ".gz")
                 if os.path.isfile(os.path.join(prefix, path)) and os.path.getsize(os.path.join(prefix, path)) > 0]
        check(found, f"{choices} is installed")

    for program in ("profleet", "profleet-agent", "profleet-aggregator"):
        for option, words in (("--help", ["Usage", "xample"]), ("--version", ["0.1.0"])):
            done = subprocess.run([f"{prefix}/bin/{program}", option], capture_output=True, text=True, check=False,
                                  timeout=60)
            check(done.returncode == 0, f"{program} {option}: exit {done.returncode} {done.stderr}")
            for word in words:
                check(word in done.stdout, f"{program} {option} says {word}")
    # The configuration that is installed is one that the programs accept.
    runs = [["profleet-aggregator", "--config", f"{prefix}/share/profleet/examples/aggregator.yaml", "--data",
             f"{fleet.dir}/data", "--check-config"]]
    if os.geteuid() == 0:
        runs.append(["profleet-agent", "--config", f"{prefix}/share/profleet/examples/agent.yaml", "--duration", "200ms",
                     "--output", f"{fleet.dir}/out.folded", "--state-dir", fleet.dir])
    for program, *options in runs:
        done = subprocess.run([f"{prefix}/bin/{program}", *options], capture_output=True, text=True, check=False,
                              timeout=60)
        check(done.returncode == 0, f"{program} accepts its file: {done.returncode} {done.stdout}{done.stderr}")
    if shutil.which("man"):
        page = os.path.join(prefix, "share/man/man1/profleet.1")
        done = subprocess.run(["man", "--warnings", "-l", page], capture_output=True, text=True, check=False,
                              env={**os.environ, "MANPAGER": "cat", "LC_ALL": "C.UTF-8"}, timeout=60)
        check(done.returncode == 0 and "NAME" in done.stdout and not done.stderr,
              f"man renders the page: {done.stderr}")

    completion = os.path.join(prefix, "share/bash-completion/completions/profleet")
    done = subprocess.run(["bash", "-c", f"source {completion} && COMP_WORDS=(profleet d) COMP_CWORD=1 && "
                           "$(complete -p profleet | sed 's/.*-F \\([^ ]*\\).*/\\1/') && echo \"${COMPREPLY[@]}\""],
                          capture_output=True, text=True, check=False, timeout=60)
    check("diff" in done.stdout and "doctor" in done.stdout, f"bash completes verbs: {done.stdout}{done.stderr}")


if __name__ == "__main__":
    run(installed_tree)
