"""Saves of a few bytes, for tests of folders alone."""

from torchsurgery.storage.folder import transaction
from torchsurgery.storage.opening import opened


def put(folder, number, index=None):
    with transaction(folder) as under_way:
        under_way.add("recipe", "json", lambda sink: sink.write(b"recipe %d" % number))
        under_way.add("structure", "txt", lambda sink: sink.write(b"the same"))
        for i in range(2):
            under_way.add("weights", "safetensors", lambda sink, i=i: sink.write(b"weights %d %d" % (number, i)))
        under_way.commit(index)


def read(folder):
    with opened(folder) as save:
        return [save.handles[file.name].read() for file in save.files["weights"]]
