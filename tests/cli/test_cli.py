"""The program as a whole: help at once, exit codes, errors in one message, what is asked of terminals."""

import os
import signal
import subprocess
import sys
import time
from functools import partial

import pytest

from torchsurgery import cli

COMMANDS = ["inspect", "plan", "apply", "verify", "report", "export", "completion"]


def process(*words, **more):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **more.pop("env", {})}
    return subprocess.run(
        [sys.executable, "-m", "torchsurgery", *words], capture_output=True, env=environment, timeout=120, **more
    )


def test_help_without_anything_large():
    code = """
import sys
from torchsurgery.cli.parsing import parser
parser().format_help()
print(sorted({"torch", "numpy", "rich", "yaml", "shtab", "safetensors"} & sys.modules.keys()))
"""
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout == "[]\n"


def test_help_is_shown_by_the_module():
    shown = process("--help")
    assert shown.returncode == 0
    assert b"torchsurgery inspect torchvision:resnet18" in shown.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_each_command_ends_with_examples(run, name):
    code, out, _ = run(name, "--help")
    assert code == 0
    assert f"\nexamples:\n  {'source <(' if name == 'completion' else ''}torchsurgery {name} " in out
    assert max(map(len, out.splitlines())) <= 110


def test_help_says_what_the_exit_codes_mean(run):
    assert "0 done and holds" in " ".join(run("--help").out.split())


@pytest.mark.parametrize("columns", ["50", "80"])
def test_help_in_a_narrow_terminal(run, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", columns)
    head = run("inspect", "--help").out.partition("examples:")[0]
    assert max(map(len, head.splitlines())) <= int(columns)


def test_version(run):
    assert run("--version").out.startswith("torchsurgery 0.")


@pytest.mark.parametrize(
    "words", [[], ["inspct"], ["inspect"], ["inspect", "x", "--dep", "3"], ["plan", "x", "-i", "1,a"]]
)
def test_a_command_that_is_not_one(run, words):
    code, out, err = run(*words)
    assert (code, out) == (2, "")
    assert err.startswith("usage: torchsurgery")


@pytest.mark.parametrize(
    ("words", "code", "first"),
    [
        (["inspect", "nets.py:smal"], 2, "SourceError: nets.py has no smal."),
        (["inspect", "nets.py:broken"], 2, "SourceError: nets.py:broken can't be built: ValueError: no luck"),
        (["inspect", "nets.py:small", "-i", "1,4,8,8"], 1, "TraceError: 0 of Sequential fails on these inputs"),
        (["inspect", "nets.py:small", "--select", "x"], 1, "SelectionError: 'x' selects no module"),
        (["plan", "nets.py:small", "none.yaml"], 2, "RecipeError: none.yaml can't be read"),
        (["plan", "nets.py:small"], 2, "RecipeError: no edits are given."),
        (["plan", "nets.py:small", "-e", "remove: x"], 1, "the edit, line 1: SelectionError: 'x' selects no module"),
    ],
)
def test_errors_are_one_message(run, nets, words, code, first):
    answer = run(*words)
    assert answer.code == code
    assert answer.err.startswith(first)
    assert "Traceback" not in answer.err
    assert len(answer.err.splitlines()) <= 5


def test_errors_for_machines(run, nets):
    answer = run("plan", "nets.py:small", "-e", "remove: x", "--json")
    assert (answer.code, answer.err) == (1, "")
    error = answer.data["error"]
    assert (error["kind"], error["place"]) == ("SelectionError", "the edit, line 1")
    assert error["message"].startswith("'x' selects no module")


def test_where_an_error_comes_from(run, nets):
    from torchsurgery.errors import SelectionError

    with pytest.raises(SelectionError):
        run("inspect", "nets.py:small", "--select", "x", "--debug")


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (ZeroDivisionError("by zero\nmore"), 1, "ZeroDivisionError: by zero\n  this was not foreseen"),
        (OSError(28, "No space left on device", "slim"), 2, "OSError: slim: No space left on device"),
    ],
)
def test_what_was_not_foreseen(run, nets, monkeypatch, error, code, words):
    def fails(*_args, **_kwargs):
        raise error

    monkeypatch.setattr("torchsurgery.cli.commands.inspect.source_of", fails)
    answer = run("inspect", "nets.py:small")
    assert answer.code == code
    assert answer.err.startswith(words)


def test_an_interrupt_inside(run, nets):
    answer = run("inspect", "nets.py:interrupted")
    assert (answer.code, answer.err) == (cli.INTERRUPTED, "interrupted: nothing was written\n")
    with pytest.raises(KeyboardInterrupt):
        run("inspect", "nets.py:interrupted", "--debug")


def test_ctrl_c_from_outside(tmp_path):
    (tmp_path / "nets.py").write_text(
        "import time, pathlib\ndef slow():\n    pathlib.Path('begun').touch()\n    time.sleep(60)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-m", "torchsurgery", "inspect", "nets.py:slow"]
    # Where the tests run in the background of a script, the signal is ignored, and would be in what they start.
    heard = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    pipes = {"stderr": subprocess.PIPE, "text": True, "preexec_fn": heard}
    running = subprocess.Popen(command, cwd=tmp_path, env=environment, **pipes)
    while not (tmp_path / "begun").exists():
        assert running.poll() is None
        time.sleep(0.05)
    running.send_signal(signal.SIGINT)
    _, err = running.communicate(timeout=60)
    assert (running.returncode, err) == (cli.INTERRUPTED, "interrupted: nothing was written\n")


def test_a_reader_that_goes_away(tmp_path):
    (tmp_path / "nets.py").write_text("from torch import nn\ndef long(): return nn.Sequential(*[nn.ReLU()] * 20000)\n")
    command = f"{sys.executable} -m torchsurgery inspect nets.py:long --all | head -n 1; exit ${{PIPESTATUS[0]}}"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    shown = subprocess.run(["bash", "-c", command], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert shown.stdout.startswith("inspect nets.py:long")
    assert shown.stderr == ""


@pytest.mark.parametrize("locale", ["C", "POSIX"])
def test_a_locale_without_these_characters(tmp_path, locale):
    (tmp_path / "nets.py").write_text("from torch import nn\ndef net(): return nn.Sequential(nn.Linear(4, 2))\n")
    shown = process(
        "inspect", "nets.py:net", cwd=tmp_path, env={"LC_ALL": locale, "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    )
    assert shown.returncode == 0
    assert b"`- 0" in shown.stdout
    shown.stdout.decode("ascii")


def test_what_libraries_tell_of_themselves_stays_off_a_pipe(tmp_path):
    import transformers

    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    transformers.BertModel(transformers.BertConfig(vocab_size=8, **sizes)).save_pretrained(tmp_path / "bert")
    answer = process("inspect", "bert", cwd=tmp_path)
    assert (answer.returncode, answer.stderr) == (0, b"")
