"""`torchsurgery completion`."""

import subprocess

import pytest


@pytest.mark.parametrize("shell", ["bash", "zsh", "tcsh"])
def test_scripts_know_commands_and_options(run, shell):
    answer = run("completion", shell)
    assert answer.code == 0
    for word in ("inspect", "--select", "--weights"):
        assert word.removeprefix("--") in answer.out


def test_bash_reads_it(run):
    script = run("completion", "bash").out + "\ncomplete -p torchsurgery\n"
    read = subprocess.run(["bash", "-c", script], capture_output=True, text=True)
    assert (read.returncode, read.stderr) == (0, "")
    assert "torchsurgery" in read.stdout


def test_files_are_completed_where_files_are_meant(run):
    assert "_shtab_compgen_files" in run("completion", "bash").out
