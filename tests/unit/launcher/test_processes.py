"""What Linux tells of this process."""

import subprocess
import sys

JOINED = """
import sys, threading
from snakemake_executor_daskjq.launcher.processes import has_threads

sys.setswitchinterval(1e-6)
for _ in range(2000):
    thread = threading.Thread(target=int)
    thread.start()
    thread.join()
    assert not has_threads()
print("seen")
"""

RUNNING = """
import threading
from snakemake_executor_daskjq.launcher.processes import has_threads

end = threading.Event()
{start}
assert has_threads()
end.set()
print("seen")
"""
PYTHONS_OWN = "threading.Thread(target=end.wait).start()"
FOREIGN = "import _thread; _thread.start_new_thread(end.wait, ())"


def output_of(script: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", script], check=True, stdout=subprocess.PIPE, text=True, timeout=60
    ).stdout


def test_a_thread_that_was_joined_is_none_also_while_the_kernel_still_ends_it() -> None:
    assert output_of(JOINED) == "seen\n"


def test_a_running_thread_is_seen_whether_python_knows_it_or_not() -> None:
    assert output_of(RUNNING.format(start=PYTHONS_OWN)) == "seen\n"
    assert output_of(RUNNING.format(start=FOREIGN)) == "seen\n"
