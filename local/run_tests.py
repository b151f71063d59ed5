#!/usr/bin/env python3
"""Runs the workspace's tests, two programs at a time.

Most tests wait more than they compute: for the deployed stack, a database or a socket. They run one
after the other, because they measure times; beside them and with lower priority run those that only
compute. Cargo lists the programs, so that none is forgotten. The output of each is printed when it
has ended.
"""

import json
import os
import subprocess
import sys
import threading
import time

# The packages whose tests wait for nothing, and so fail by no time limit.
ONLY_COMPUTE = (
    "scaling-bench",
    "scaling-economics",
    "scaling-model",
    "scaling-simulation",
    "shared",
    "testing",
)

# Gives way to the others.
NICENESS = 10

# How much of what a failed program printed is repeated at the end.
MOST_LINES = 60


def cargo(*args):
    return ["cargo", "test", "--locked", "--workspace", *args]


def built():
    """Builds the tests, and lists their programs: (package, name, folder, executable)."""
    command = cargo("--no-run", "--message-format=json-render-diagnostics")
    build = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    programs = []
    for line in build.stdout:
        message = json.loads(line)
        executable = message.get("executable")
        if executable and message["profile"]["test"]:
            folder = os.path.dirname(message["manifest_path"])
            package = message["package_id"].split("#")[-1].split("@")[0]
            if package[0].isdigit():
                package = message["package_id"].split("#")[0].split("/")[-1]
            programs.append((package, message["target"]["name"], folder, executable))
    if build.wait() != 0:
        sys.exit("the tests do not build")
    return programs


class Runner:
    def __init__(self):
        self.printing = threading.Lock()
        self.failed = []

    def say(self, text):
        with self.printing:
            print(text, end="", flush=True)

    def run(self, programs, niceness):
        for package, name, folder, executable in programs:
            self.run_one(f"{package} {name}", executable, folder, niceness)

    def run_one(self, name, executable, folder, niceness):
        # In case that it hangs.
        self.say(f"     Started {name}\n")
        began = time.monotonic()
        done = subprocess.run(
            [executable],
            cwd=folder,
            env={**os.environ, "CARGO_MANIFEST_DIR": folder},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            preexec_fn=lambda: os.nice(niceness),
            check=False,
        )
        took = time.monotonic() - began
        self.say(f"\n     Running {name} ({took:.0f} s)\n{done.stdout}")
        if done.returncode != 0:
            failure = failures_in(done.stdout)
            self.failed.append(f"{name}: exit code {done.returncode}\n{failure}")


def failures_in(output):
    """What the test harness says of the tests that failed, without the names of those that passed."""
    _, _, failures = output.partition("\nfailures:\n")
    # A program that crashed has said so last.
    lines = failures.splitlines()[:MOST_LINES] or output.splitlines()[-MOST_LINES:]
    return "\n".join(f"    {line}" for line in lines)


def only_computes(program):
    package, *_ = program
    return package in ONLY_COMPUTE


def main():
    programs = built()
    timed = [program for program in programs if not only_computes(program)]
    others = [program for program in programs if only_computes(program)]
    runner = Runner()
    beside = threading.Thread(target=runner.run, args=(others, NICENESS))
    beside.start()
    runner.run(timed, 0)
    beside.join()
    if subprocess.run(cargo("--doc", "--no-fail-fast"), check=False).returncode != 0:
        runner.failed.append("tests in documentation")
    if runner.failed:
        sys.exit("failed:\n  " + "\n\n  ".join(runner.failed))


if __name__ == "__main__":
    main()
