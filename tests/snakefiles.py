"""Snakefiles that several tests run."""

MANY = """
    rule all:
        input: expand("out/{i}.txt", i=range(int(config.get("count", 6))))
    rule a:
        output: "out/{i}.txt"
        shell: "echo {wildcards.i} > {output}"
"""

SLOW = """
    rule all:
        input: expand("{i}.txt", i=range(int(config.get("count", 5))))
    rule slow:
        output: "{i}.txt"
        shell: "(setsid sleep 600 &); echo $$ > pid{wildcards.i}; sleep 600; touch {output}"
"""
"""Each job leaves a child in its process group, and one that made itself a session of its own."""

HELD = """
    rule a:
        output: "x"
        shell: "echo $$ >> tries; while [ ! -e go ]; do sleep 0.05; done; touch {output}"
"""
"""One job that writes a line into `tries` each time it starts, and ends once there is a file `go`."""

HUNGRY = """
    rule all:
        input: "hungry", "neighbour"
    rule hungry:
        output: "hungry"
        retries: 2
        resources: mem_mb=lambda wildcards, attempt: 200 * attempt
        params: seconds=lambda wildcards, resources: 60 if resources.mem_mb < 450 else 0
        shell: "python3 -c 'data = bytearray(450_000_000); import time; time.sleep({params.seconds})'; touch {output}"
    rule neighbour:
        output: "neighbour"
        resources: mem_mb=100
        shell: "while [ ! -e hungry ]; do sleep 0.05; done; touch {output}"
"""
"""A job that needs 450 MB and gets 200 at first, and one beside it that must not notice."""

WITNESSED = """
    import os
    os.makedirs("tries", exist_ok=True)
    os.makedirs("locks", exist_ok=True)
    COUNT = int(config["count"])
    rule all:
        input: expand("out/{i}.txt", i=range(COUNT))
    rule a:
        output: "out/{i}.txt"
        params: seconds=lambda wildcards: 0.1 + int(wildcards.i) * 29 % 30 / 10 if "random" in config else ""
        shell:
            'exec 9>>locks/{wildcards.i}; flock -n 9 || echo {wildcards.i} >> overlaps; '
            'echo start >> tries/{wildcards.i}; (setsid sleep 600 &); '
            'if [ -n "{params.seconds}" ]; then sleep {params.seconds}; '
            'else while [ ! -e go ]; do sleep 0.05; done; fi; '
            'echo {wildcards.i} > {output}'
"""
"""Jobs that hold a lock as long as any of their processes runs; one that finds it held says so in `overlaps`."""

QUICK = """
    rule a:
        output: "x.txt"
        shell: "touch {output}"
"""

CRASHING = """
    import sys
    if "snakemake_executor_daskjq.controller" in sys.orig_argv:
        import asyncio.events, os, threading, time
        new_event_loop = asyncio.events.new_event_loop
        def doomed_event_loop():
            loop = new_event_loop()
            def crash():
                while not os.path.exists("crash"):
                    time.sleep(0.05)
                loop.call_soon_threadsafe(lambda: exec("raise SystemExit('a crash')"))
            threading.Thread(target=crash, daemon=True).start()
            return loop
        asyncio.events.new_event_loop = doomed_event_loop
"""
"""Read by each Python before anything else: once there is a file `crash`, the controller's event loop is torn down by
an exception."""
