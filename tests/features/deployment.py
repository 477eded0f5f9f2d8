"""Software that rules bring. Modules are real; conda and apptainer, which neither Debian nor PyPI has, are fakes.

The fakes answer what Snakemake asks, and record how they were called: what is tested is that jobs in pilots get the
same options, folders and environments as under any executor.
"""

from __future__ import annotations

import os

from ..programs import MODULES
from ..workflow import Workflow
from .case import Case

METHODS = ("--software-deployment-method", "conda", "apptainer", "env-modules")

FAKE_CONDA = """\
#!/bin/bash
# A fake: an environment is a folder with the file that it was made from.
case "$1 $2" in
    "info --json") echo '{"conda_prefix": "'$PWD'/fake", "platform": "linux-64"}' ;;
    "--version ") echo "conda 25.1.0" ;;
    "clean -y") ;;
    "config --get") echo '{"get": {"channel_priority": "strict"}}' ;;
    "env create")
        for word; do
            case $word in --prefix=*) prefix=${word#*=} ;; --file=*) file=${word#*=} ;; esac
            case $before in --prefix) prefix=$word ;; --file) file=$word ;; esac
            before=$word
        done
        eval "mkdir -p $prefix; cp $file $prefix/made-from" ;;
    *) echo "the fake knows no conda $*" >&2; exit 1 ;;
esac
"""

FAKE_ACTIVATE = "export FAKE_PREFIX=$1\n"

FAKE_APPTAINER = """\
#!/bin/bash
# A fake: the "container" is a variable.
case "$1" in
    --version) echo "apptainer version 1.3.0" ;;
    pull) touch "$3" ;;
    *)
        echo "$@" >> apptainer.txt
        while [ "$1" != -c ]; do image=$shell; shell=$1; shift; done
        IN_CONTAINER=$image exec "$shell" "$@" ;;
esac
"""


def apptainer(workflow: Workflow) -> None:
    (call,) = workflow.read("apptainer.txt").splitlines()
    assert "--fake-option" in call.split()
    image = workflow.read("deployment/in_container.txt").strip()
    assert image.startswith(str(workflow.folder / "images"))
    assert image.endswith(".simg")


DEPLOYMENT = (
    Case(
        "envmodules, with --software-deployment-method env-modules",
        """
        rule with_modules:
            output: "deployment/with_modules.txt"
            envmodules: "bio/x/1.0", "bio/y"
            shell: "echo $MODULE_X $MODULE_Y $LOADEDMODULES > {output}"
        """,
        files={
            "modulefiles/bio/x/1.0": "#%Module\nsetenv MODULE_X {of x}\n",
            "modulefiles/bio/y": "#%Module\nsetenv MODULE_Y {of y}\n",
        },
        env={"MODULEPATH": "modulefiles", "BASH_ENV": MODULES},
        options=METHODS,
        expect={"deployment/with_modules.txt": "of x of y bio/x/1.0:bio/y\n"},
        needs=[MODULES],
    ),
    Case(
        "conda, with --software-deployment-method conda, --conda-prefix",
        """
        rule with_conda:
            output: "deployment/with_conda.txt"
            conda: "envs/tool.yaml"
            shell: "basename $(dirname $FAKE_PREFIX) > {output}; cat $FAKE_PREFIX/made-from >> {output}"
        """,
        files={
            "fakes/conda": FAKE_CONDA,
            "fake/bin/activate": FAKE_ACTIVATE,
            "envs/tool.yaml": "dependencies: [tool]\n",
        },
        options=[*METHODS, "--conda-prefix", "environments"],
        expect={"deployment/with_conda.txt": "environments\ndependencies: [tool]\n"},
        note="a fake conda: the real one can't be had here",
    ),
    Case(
        "container, with --software-deployment-method apptainer, --apptainer-prefix, --apptainer-args",
        """
        rule in_container:
            output: "deployment/in_container.txt"
            container: "docker://debian"
            shell: "echo $IN_CONTAINER > {output}"
        """,
        files={"fakes/apptainer": FAKE_APPTAINER},
        env={"PATH": f"{{folder}}/fakes:{os.environ['PATH']}"},
        options=[*METHODS, "--apptainer-prefix", "images", "--apptainer-args=--fake-option"],
        targets=["deployment/in_container.txt"],
        check=apptainer,
        note="a fake apptainer: the real one can't be had here",
    ),
)
