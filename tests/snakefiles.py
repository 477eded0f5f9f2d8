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
