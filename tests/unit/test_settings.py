from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from snakemake_executor_daskjq.config.settings import Config, ExecutorSettings, check_places, configure
from snakemake_executor_daskjq.errors import PlaceError, SettingError
from snakemake_executor_daskjq.units import seconds


def test_without_any_option_it_is_one_pilot_on_this_machine() -> None:
    config = configure(ExecutorSettings())
    (pool,) = config.pools
    assert config.local
    assert (pool.system, pool.max_pilots, pool.cores, pool.mem_mb) == ("local", 1, None, None)


def test_a_pool_by_flags() -> None:
    config = configure(
        ExecutorSettings(
            system="slurm",
            cores=16,
            memory="64GB",
            walltime="04:00:00",
            gpus=2,
            resources=["licenses=3", "disk_mb=100000"],
            queue="main",
            account="lab",
            directives=["--qos=short"],
            prologue=["module load gcc"],
            max_pilots=5,
            idle_timeout="2m",
        )
    )
    (pool,) = config.pools
    assert pool.name == "main"
    assert pool.amounts == {"cores": 16, "mem_mb": 64000, "gpu_percent": 200, "licenses": 3, "disk_mb": 100000}
    assert (pool.walltime_s, pool.max_pilots, pool.idle_timeout_s) == (14400, 5, 120.0)
    assert (pool.queue, pool.account, pool.directives, pool.prologue) == (
        "main",
        "lab",
        ("--qos=short",),
        ("module load gcc",),
    )


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("system", "slrum"),
        ("cores", 0),
        ("cores", -1),
        ("memory", "much"),
        ("memory", "-5GB"),
        ("memory", "0"),
        ("walltime", "1 o'clock"),
        ("walltime", "00:00:30"),
        ("walltime", "60"),
        ("gpus", -1),
        ("resources", ["licenses"]),
        ("resources", ["licenses=many"]),
        ("resources", ["a b=1"]),
        ("resources", ["cores=4"]),
        ("max_pilots", 0),
        ("idle_timeout", "never"),
        ("queue", "main; rm -rf /"),
        ("queue", ""),
        ("account", "a\nb"),
        ("directives", ["--qos=x\n#SBATCH --exclusive"]),
        ("prologue", ["a\nb"]),
        ("dashboard_address", "8787"),
        ("dashboard_address", "localhost:high"),
    ],
)
def test_a_wrong_value_names_the_option_and_what_is_allowed(option: str, value: object) -> None:
    settings = ExecutorSettings(system="slurm", cores=4, memory="4GB")
    setattr(settings, option, value)
    with pytest.raises(SettingError) as caught:
        configure(settings)
    assert caught.value.option == option
    assert str(caught.value).startswith(f"--daskjq-{option.replace('_', '-')}: found ")
    assert "allowed is" in str(caught.value)


def test_batch_options_without_a_batch_system_are_refused() -> None:
    with pytest.raises(SettingError, match="--daskjq-queue"):
        configure(ExecutorSettings(queue="main"))


def test_every_option_has_help_and_an_environment_variable() -> None:
    for option in fields(ExecutorSettings):
        assert option.metadata["help"].strip().endswith((".", "VALUE"))
        assert option.metadata["env_var"] is True


@given(st.integers(0, 10**5), st.integers(0, 59), st.integers(0, 59))
def test_clock_times_are_read_exactly(hours: int, minutes: int, secs: int) -> None:
    assert seconds("walltime", f"{hours}:{minutes:02d}:{secs:02d}") == hours * 3600 + minutes * 60 + secs


def refused(option: str, text: str) -> bool:
    """True if the value is refused with a SettingError of that option; any other error fails the test."""
    settings = ExecutorSettings(system="slurm", cores=1, memory="1GB")
    setattr(settings, option, text)
    try:
        config = configure(settings)
    except SettingError as error:
        return error.option == option and bool(error.allowed)
    return not isinstance(config, Config)


@given(
    st.sampled_from(
        [
            *("system", "memory", "walltime", "queue", "account", "idle_timeout", "dashboard_address"),
            *("lease", "warm_up_timeout"),
        ]
    ),
    st.text(),
)
@example("memory", "²")
@example("walltime", "²")
@example("dashboard_address", "host:²")
def test_any_text_in_any_option_is_a_config_or_a_clear_error(option: str, text: str) -> None:
    assert refused(option, text) in (True, False)


@pytest.mark.parametrize(("option", "least"), [("lease", "10s"), ("warm_up_timeout", "5s")])
def test_times_that_are_too_short_are_refused(option: str, least: str) -> None:
    with pytest.raises(SettingError, match=rf"--daskjq-{option.replace('_', '-')}: found '4s', .* at least {least}"):
        configure(ExecutorSettings(**{option: "4s"}))
    configure(ExecutorSettings(**{option: least}))


@given(
    st.sampled_from(["memory", "walltime", "idle_timeout", "lease", "warm_up_timeout"]),
    st.text("abcxyz;|&", min_size=1),
)
def test_words_are_no_sizes_and_no_times(option: str, text: str) -> None:
    assert refused(option, text)


@pytest.mark.parametrize("system", ["sge", "pbs", "moab", "lsf"])
def test_a_log_folder_that_a_job_script_cannot_name_is_refused(system: str) -> None:
    cwd = Path("/home/me/my project")

    def check(folder: str) -> None:
        check_places(cwd, configure(ExecutorSettings(system=system, log_folder=Path(folder))))

    for folder in ("logs/all", "/home/me/my project/logs", "/scratch/logs"):
        check(folder)
    for folder in ("my logs", "/home/me/my project/my logs", "/home/me/my other", "tab\u2003s"):
        with pytest.raises(
            SettingError, match=f"--daskjq-log-folder: found .* without blanks with the system {system}"
        ):
            check(folder)


def test_blanks_are_no_matter_elsewhere() -> None:
    for system in ("local", "htcondor"):
        check_places(Path("/a b"), configure(ExecutorSettings(system=system, log_folder=Path("/my logs"))))


@pytest.mark.parametrize("character", ["\n", "\r", "\t", "\x1b", "\x7f"])
def test_control_characters_in_folders_are_told_with_the_folder(character: str) -> None:
    with pytest.raises(PlaceError, match="The path of the working directory has a newline or another control"):
        check_places(Path(f"/a{character}b"), configure(ExecutorSettings()))
    with pytest.raises(PlaceError, match="The path of the log folder"):
        check_places(Path("/a"), configure(ExecutorSettings(log_folder=Path(f"x{character}"))))
