"""Saves that are killed, or run out of room. Used by tests and benchmarks.

Every version of the model has one number in all of its weights, so that a mixture of two saves shows.
"""

import os
import random
import resource
import signal
import time
import traceback

import torch
from torch import nn

import torchsurgery as ts

WIDTHS = (64, 96, 128, 160, 192, 224)


def build():
    return nn.Sequential(*[nn.Linear(width, width, bias=False) for width in WIDTHS], nn.ReLU())


def altered(number):
    """A version of the model."""
    net = build()
    ts.replace(net, nn.ReLU, nn.GELU)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.fill_(number)
    return net


def save(number, folder):
    ts.save(altered(number), folder, shard_size=1)


def number_in(folder):
    """The number of the one version that lies in a folder; an error if there are several, or none."""
    found = {float(value) for p in ts.load(folder, base=build).parameters() for value in p.detach().unique()}
    assert len(found) == 1, found
    return found.pop()


def in_child(work):
    """Start `work` in a process of its own; answers its id."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            torch.set_num_threads(1)
            work()
            code = 0
        except ts.RecipeError:
            code = 3
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    return child


def kill_while_saving(folder, draw):
    """Kill a process that saves one version after the other at a random moment; answers the version that is left."""

    def work():
        number = int(number_in(folder))
        while True:
            number += 1
            save(number, folder)

    child = in_child(work)
    time.sleep(draw.uniform(0.02, 0.4))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return number_in(folder)


def killed(folder, times, seed=0):
    """How many versions came to the folder in so many kills; fails on a mixture or a loss."""
    draw, last = random.Random(seed), 0.0
    save(0, folder)
    for _ in range(times):
        now = kill_while_saving(folder, draw)
        assert now >= last, (now, last)
        last = now
    save(last + 1, folder)
    assert number_in(folder) == last + 1
    assert not list(folder.glob(".partial*"))
    return last


def full_at_each_shard(folder):
    """Save again with room for ever fewer shards; answers how often that failed."""
    save(0, folder)
    before = sorted(path.name for path in folder.iterdir())
    failed = 0
    for width in WIDTHS:

        def work(width=width):
            resource.setrlimit(resource.RLIMIT_FSIZE, (width * width * 4 - 100, resource.RLIM_INFINITY))
            save(1, folder)

        _, status = os.waitpid(in_child(work), 0)
        assert os.waitstatus_to_exitcode(status) == 3  # a RecipeError
        failed += 1
        assert number_in(folder) == 0
        assert sorted(path.name for path in folder.iterdir()) == before
    return failed
