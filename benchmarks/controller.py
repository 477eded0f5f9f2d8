"""What a trivial job costs the Snakemake process, beside an executor that only touches the outputs.

    python benchmarks/controller.py [--jobs N] [--checkout FOLDER]

The environment is a user's: pandas in the Snakefile. CPU of a job is the difference between a run of many jobs and one
of few, so what a run costs in any case is left out. Also shown: the controller's CPU, and how long an end takes from
the child's exit to Snakemake's callback, where one job runs at a time.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

HERE = Path(__file__).parents[1]

SNAKEFILE = """
import pandas as pd
SAMPLES = pd.DataFrame({"sample": [f"s{i}" for i in range(int(config["count"]))]})
rule all:
    input: expand("out/{sample}", sample=SAMPLES["sample"])
rule a:
    output: "out/{sample}"
    shell: "touch {output}"
"""

NULL = """
from pathlib import Path
from snakemake_interface_executor_plugins.executors.base import SubmittedJobInfo
from snakemake_interface_executor_plugins.executors.real import RealExecutor
from snakemake_interface_executor_plugins.settings import CommonSettings, ExecMode

common_settings = CommonSettings(non_local_exec=True, implies_no_shared_fs=False, job_deploy_sources=False)

class Executor(RealExecutor):
    def run_job(self, job):
        info = SubmittedJobInfo(job)
        self.report_job_submission(info)
        for file in job.output:
            Path(file).parent.mkdir(exist_ok=True)
            Path(file).touch()
        self.report_job_success(info)

    def cancel(self): pass
    def shutdown(self): pass
    def get_exec_mode(self): return ExecMode.REMOTE
    def get_python_executable(self): return "python"
    @property
    def cores(self): return "all"
"""

# Read by each Python before anything else: Snakemake and the controller note their CPU at their end, and Snakemake
# when it hears of a job's.
HOOK = """
import os, sys
def note(name):
    import resource
    used = resource.getrusage(resource.RUSAGE_SELF)
    with open(os.path.join(os.environ["CPU_FOLDER"], name), "w") as file:
        file.write(str(used.ru_utime + used.ru_stime))
if "--executor" in sys.orig_argv:
    import atexit
    atexit.register(note, "main")
    if "daskjq" in sys.orig_argv:
        import snakemake.api, time
        from snakemake_executor_daskjq.executor import Executor
        success, heard = Executor.report_job_success, []
        def told(executor, info):
            heard.append(f"{info.job.name}-{info.job.jobid}-{info.job.attempt} {time.time()}")
            success(executor, info)
        Executor.report_job_success = told
        atexit.register(lambda: open(os.path.join(os.environ["CPU_FOLDER"], "heard"), "w").write("\\n".join(heard)))
elif "snakemake_executor_daskjq.controller" in sys.orig_argv:
    leave = os._exit
    os._exit = lambda status: (note("controller"), leave(status))
"""


def run(folder: Path, checkout: Path, executor: str, count: int, *options: str) -> dict[str, float]:
    """CPU seconds of the main process and of the controller, where there is one."""
    for name in ("out", ".snakemake", "cpu"):
        shutil.rmtree(folder / name, ignore_errors=True)
    (folder / "cpu").mkdir()
    command = [sys.executable, "-m", "snakemake", "--quiet", "all", "--executor", executor]
    command += ["--max-jobs-per-timespan", "1000000/1s", "--scheduler", "greedy", *options]
    env = {**os.environ, "CPU_FOLDER": str(folder / "cpu")}
    env["PYTHONPATH"] = os.pathsep.join([str(folder / "hook"), str(checkout)])
    env.pop("PYTHONDONTWRITEBYTECODE", None)  # what is installed has bytecode
    subprocess.run([*command, "--config", f"count={count}"], cwd=folder, env=env, check=True, stdin=subprocess.DEVNULL)
    return {path.name: float(path.read_text()) for path in (folder / "cpu").iterdir() if path.name != "heard"}


def per_job_ms(folder: Path, checkout: Path, executor: str, jobs: int) -> dict[str, float]:
    few = run(folder, checkout, executor, jobs // 10, "--jobs", "unlimited")
    many = run(folder, checkout, executor, jobs, "--jobs", "unlimited")
    return {part: 1000 * (many[part] - few[part]) / (jobs - jobs // 10) for part in many}


def delays_ms(folder: Path, checkout: Path, jobs: int) -> list[float]:
    """From the end of a child to Snakemake's callback."""
    run(folder, checkout, "daskjq", jobs, "--jobs", "1")
    (journal,) = folder.glob(".snakemake/daskjq/runs/*/journal.jsonl")
    ended = [json.loads(line) for line in journal.read_text().splitlines() if '"job_ended"' in line]
    heard = dict(line.split() for line in (folder / "cpu" / "heard").read_text().splitlines())
    return [1000 * (float(heard[event["key"]]) - event["ended_at"]) for event in ended]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--checkout", type=Path, default=HERE, metavar="FOLDER", help="another one to measure")
    options = parser.parse_args(arguments)
    checkout = options.checkout.absolute()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "Snakefile").write_text(SNAKEFILE)
        (folder / "hook" / "snakemake_executor_plugin_null").mkdir(parents=True)
        (folder / "hook" / "snakemake_executor_plugin_null" / "__init__.py").write_text(NULL)
        (folder / "hook" / "sitecustomize.py").write_text(HOOK)
        null = per_job_ms(folder, checkout, "null", options.jobs)["main"]
        ours = per_job_ms(folder, checkout, "daskjq", options.jobs)
        delay_ms = statistics.median(delays_ms(folder, checkout, max(20, options.jobs // 10)))
    ratio = ours["main"] / null
    print(f"CPU of a job in the main process: {ours['main']:.2f} ms; only touching its output: {null:.2f} ms")
    print(f"CPU of a job in the controller: {ours.get('controller', 0.0):.2f} ms")
    print(f"main process / only touching the outputs: {ratio:.2f} (at most 1.5: {'yes' if ratio <= 1.5 else 'NO'})")
    print(f"from a child's end to Snakemake's callback, median: {delay_ms:.1f} ms", end=" ")
    print(f"(under 20 ms: {'yes' if delay_ms < 20 else 'NO'})")


if __name__ == "__main__":
    main()
