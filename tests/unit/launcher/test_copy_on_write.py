"""Each test has a process of its own: what is made immortal stays so."""

import subprocess
import sys
import textwrap

import pytest


def run(code: str) -> str:
    result = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


def test_gathered_code_does_what_it_did() -> None:
    program = """
        import traceback
        from snakemake_executor_daskjq.launcher.copy_on_write import gather_code

        def outer(n):
            def inner(k=1):
                return n + k
            return inner, [i * n for i in range(3)], (lambda: n)()

        def numbers():
            yield from range(3)

        def fails():
            raise ValueError

        class Thing:
            @property
            def value(self):
                return 7

        def results():
            inner, listed, called = outer(2)
            try:
                fails()
            except ValueError as error:
                line = traceback.extract_tb(error.__traceback__)[-1].lineno
            return inner(), listed, called, list(numbers()), Thing().value, line

        before = results()
        started = numbers()
        next(started)
        functions = (outer, numbers, fails, results, Thing.value.fget)
        codes = [function.__code__ for function in functions]
        inner = [constant for constant in outer.__code__.co_consts if type(constant) is type(outer.__code__)]
        gather_code([*codes, *inner])
        assert results() == before
        assert list(started) == [1, 2]
        assert not any(function.__code__ is code for function, code in zip(functions, codes))
        print("the same")
    """
    assert run(program) == "the same"


@pytest.mark.skipif(sys.version_info < (3, 12), reason="Python has no immortal objects before 3.12")
def test_code_and_values_become_immortal_and_what_must_end_does_not() -> None:
    program = """
        import sys, weakref
        from snakemake_executor_daskjq.launcher import copy_on_write

        class Held:
            pass

        def function(a=("default", 1.5)):
            def nested():
                return "a constant of its own"
            return nested

        held = [Held()]
        ended = []
        weakref.finalize(held[0], ended.append, True)
        copy_on_write.prepare_to_fork()
        immortal = sys.getrefcount(None)
        nested = function()
        for one in (function, function.__code__, function.__defaults__, Held, nested.__code__, sys):
            assert sys.getrefcount(one) == immortal, one
        held.clear()
        assert ended == [True]
        assert function()() == "a constant of its own"
        print("yes")
    """
    assert run(program) == "yes"


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="of Pythons without immortal objects")
def test_nothing_is_marked_where_there_are_no_immortal_objects() -> None:
    program = """
        import sys
        from snakemake_executor_daskjq.launcher import copy_on_write

        def function():
            pass

        count = sys.getrefcount(function)
        copy_on_write.prepare_to_fork()
        print(copy_on_write._immortal_mark(), sys.getrefcount(function) - count)
    """
    assert run(program).startswith("0 ")


def test_frames_below_the_fork_keep_what_they_hold() -> None:
    program = """
        import weakref
        from snakemake_executor_daskjq.launcher import copy_on_write

        class Held:
            pass

        def below():
            one = Held()
            fork()
            return weakref.ref(one)

        def fork():
            copy_on_write.prepare_to_fork()

        print(below()() is not None)
    """
    assert run(program) == "True"
