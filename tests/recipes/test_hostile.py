"""Files from a stranger, modelled on what has been published against other libraries: data stays data."""

import json
import os
import resource
import sys

import pytest
import torch
from torch import nn

import torchsurgery as ts
from torchsurgery.recipes.recipe import read_recipe

LINEAR = {"class": "torch.nn.Linear", "arguments": {"in_features": 4, "out_features": 4}}


def net():
    return nn.Sequential(nn.Linear(4, 4), nn.ReLU())


def document(*operations, **members):
    return {
        "format": "torchsurgery recipe",
        "version": 1,
        "base": None,
        "result": None,
        "operations": list(operations),
        **members,
    }


def put(layer, **more):
    return {"do": "replace", "layers": [{"at": ["0"], "layer": layer, **more}]}


def replayed(data, tensors=None):
    data = data if isinstance(data, bytes) else json.dumps(data).encode()
    recipe, _ = read_recipe(data, "recipe.json", tensors)
    return ts.plan(net()).replay(recipe, weights=False)


def refused(data, match, tensors=None):
    modules = set(sys.modules)
    with pytest.raises(ts.RecipeError, match=match) as caught:
        replayed(data, tensors)
    assert set(sys.modules) - modules <= {name for name in sys.modules if name.split(".")[0] in ("torch", "sympy")}
    return str(caught.value)


def test_the_plain_one_is_taken():
    assert isinstance(replayed(document(put(LINEAR))).changes[0].new, nn.Linear)


# --- one for each that was published


@pytest.mark.parametrize("key", ["os.system", "builtins.eval", "subprocess.Popen", "torch.load", "pickle.loads"])
def test_keras_cve_2025_1550_any_function_by_module_and_name(key, tmp_path):
    """The configuration of a layer named a module and a function in it, which were imported and called."""
    marker = tmp_path / "marker"
    call = {"class": key, "arguments": {"command": f"touch {marker}"}}
    refused(document(put(call)), f"names '{key}', which isn't registered here")
    refused(document(put({"factory": key, "arguments": {}})), "isn't registered here")
    refused(document(put(LINEAR | {"module": "os", "class_name": "system"})), "no member but")
    assert not marker.exists()


@pytest.mark.parametrize("name", ["torch.hub.load_state_dict_from_url", "torch.hub.load", "torch.nn.utils.get_file"])
def test_keras_cve_2025_8747_functions_of_the_library_itself(name):
    """What was left was to name functions of the library that download and write files."""
    value = {"class": "torch.nn.TransformerEncoderLayer", "arguments": {"d_model": 4, "nhead": 1}}
    value["arguments"]["activation"] = {"function": name}
    refused(document(put(value)), "isn't registered here")


def test_nemo_cve_2025_23304_metadata_that_is_instantiated():
    """The metadata beside the weights were handed to hydra's `instantiate`."""
    refused(document(_target_="os.system"), "no member but")
    refused(document(put(LINEAR | {"_target_": "os.system", "_args_": ["id"]})), "no member but")
    refused(document({"do": "replace", "_target_": "os.system", "layers": []}), "no member but")


def test_hydra_ghsa_37p2_j732_x8pj_targets_by_dotted_name():
    """`_target_` was looked up by import and getattr, whatever it named."""
    for value in ({"_target_": "builtins.exec"}, {"__reduce__": ["os.system", ["id"]]}, {"py/object": "os.system"}):
        layer = {"class": "torch.nn.Linear", "arguments": {"in_features": value, "out_features": 4}}
        refused(document(put(layer)), "expected tuple, dict, counter, layer, class, function, dtype, number or tensor")


@pytest.mark.parametrize("option", ["trust_remote_code", "auto_map", "weights_only", "verify", "use_safetensors"])
def test_transformers_cve_2026_4372_and_5241_a_file_that_sets_a_security_option(option):
    """A field of a downloaded configuration decided whether code of the same download is trusted."""
    refused(document(**{option: True}), "no member but")
    refused(document(put(LINEAR | {option: True})), "no member but")
    assert option not in ts.load.__kwdefaults__ or option == "verify"  # which is the caller's alone


def test_composer_algorithms_as_text_that_is_evaluated(tmp_path):
    """The text of a checkpoint's algorithms was given to `eval`."""
    marker = tmp_path / "marker"
    text = f"__import__('os').system('touch {marker}')"
    refused(document(put({"class": text, "arguments": {}})), "isn't registered here")
    layer = {"class": "torch.nn.Softmax", "arguments": {"dim": text}}
    refused(document(put(layer)), "expected a whole number or null")
    layer = {"class": "torch.nn.GELU", "arguments": {"approximate": text}}
    replayed(document(put(layer)))  # a text is a text
    refused(document({"do": "replace", "layers": [{"at": [text], "layer": LINEAR}]}), "has no module")
    assert not marker.exists()


def test_torchao_a_type_that_is_looked_up_and_reaches_torch_load():
    """`_type` in a JSON file named any attribute of a module, `torch.load` among them."""
    refused(document(put({"_type": "load", "_data": {"f": "evil.pt"}})), "a member 'class'|no member but")
    for name in ("load", "torch.load", "Linear", "torch.nn.modules.linear.Linear", "torch.nn.Linear.__init__"):
        refused(document(put({"class": name, "arguments": {}})), "isn't registered here")


# --- the rules


def test_wrong_types_are_errors_never_warnings():
    for value in (True, "4", 4.0, None, [4], {"tuple": [4]}):
        layer = {"class": "torch.nn.Linear", "arguments": {"in_features": value, "out_features": 4}}
        with pytest.raises(ts.RecipeError):
            replayed(document(put(layer)))
    for data in (
        b'{"format": "torchsurgery recipe", "format": "x"}',
        b'{"format": NaN}',
        b'{"format": 1e999}',
        b'{"format": ' + b"9" * 5000 + b"}",
        b"[" * 100_000,
        b"{" + b'"a":{' * 50_000,
        b"\xff\xfe",
        b'"\\ud800"',
        b"",
    ):
        with pytest.raises(ts.RecipeError, match=r"recipe\.json: "):
            replayed(data)
    refused(document(version=True), "version")
    refused(document(version=2), "upgrade")
    refused(document({"do": "evaluate"}), "expected 'replace' or")


def test_a_huge_layer_is_refused_before_it_is_made():
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    for key, arguments in (
        ("torch.nn.Linear", {"in_features": 10**9, "out_features": 10**9}),
        ("torch.nn.Embedding", {"num_embeddings": 10**12, "embedding_dim": 10**6}),
        ("torch.nn.Conv3d", {"in_channels": 10**6, "out_channels": 10**6, "kernel_size": {"tuple": [99, 99, 99]}}),
        ("torch.nn.LSTM", {"input_size": 4, "hidden_size": 4, "num_layers": 10**7}),
        ("torch.nn.Transformer", {"num_encoder_layers": 10**6}),
    ):
        message = refused(document(put({"class": key, "arguments": arguments})), "expected")
        assert "operations[0].layers[0].layer.arguments" in message
    assert resource.getrlimit(resource.RLIMIT_AS) == (soft, hard)


def test_a_huge_document_is_refused_unread():
    refused(b" " * (5 << 20), "at most 4,194,304 bytes")
    refused(b"[" + b"{}," * 1_000_000 + b"0]", "at most 250,000 entries")


def test_nesting_has_an_end():
    layer = LINEAR
    for _ in range(40):
        layer = {"class": "torch.nn.Sequential", "parts": [["0", layer]]}
    refused(document(put(layer)), "deep")


def test_attributes_are_those_that_the_model_has():
    def resize(attribute, value):
        way = {"name": "outputs", "arguments": {"rows": {"tensor": "0"}, "why": ""}}
        layers = [{"at": ["0"], "way": way}]
        return document({"do": "resize", "asked": "", "layers": layers, "attributes": [["", attribute, value]]})

    rows = {"0/0": torch.tensor([-1, -1])}
    for attribute in ("__class__", "_modules.__class__", "training.__doc__", "a b", "x" * 200, "forward()"):
        refused(resize(attribute, 3), "the name of an attribute", rows)
    for attribute in ("forward", "training", "_modules", "num_classes"):
        refused(resize(attribute, 3), "not what the recipe takes it to be", rows)


def test_names_are_compared_with_those_of_the_base():
    for name in ("2", "0.weight", "__class__", "../0", "0.__init__", "forward"):
        refused(document({"do": "remove", "at": [name]}), "has no module")
    refused(document({"do": "remove", "at": ["0", "0"]}), "twice")


def test_indices_are_there_once_and_in_range():
    def prune(indices):
        kept = [["0.weight", 0, "0"], ["0.bias", 0, "0"]]
        operation = {"do": "prune", "asked": "", "layers": ["0"], "kept": kept, "attributes": [], "caches": []}
        refused(document(operation), "kept of 0.weight", {} if indices is None else {"0/0": indices})

    for bad in ([0, 0], [1, 0, 1], [0, 4], [-1, 0], []):
        prune(torch.tensor(bad, dtype=torch.int64))
    prune(torch.tensor([[0, 1]]))  # blocks of the axis that is divided into blocks
    prune(torch.tensor([[[0, 1]]]))
    prune(torch.tensor([0.0, 1.0]))
    prune(None)


def test_lists_of_blocks_fit_and_are_in_range():
    def prune(indices):
        kept = [["0.weight", 1, "0"]]
        operation = {"do": "prune", "asked": "", "layers": ["0"], "kept": kept, "attributes": [], "caches": []}
        refused(document(operation), "kept of 0.weight", {"0/0": torch.tensor(indices)})

    for bad in ([[0], [0], [0]], [[0, 0], [0, 1]], [[0, 1], [0, 9]], [[-1], [0]]):
        prune(bad)


def test_a_file_name_stays_in_its_folder(tmp_path):
    from torchsurgery.recipes.strict import canonical

    target = tmp_path / "save"
    model = net()
    ts.replace(model, nn.ReLU, nn.GELU)
    ts.save(model, target)
    commit = json.loads((target / "COMMIT.json").read_text())
    row = commit["files"]["recipe"][0]
    for name in ("../recipe.json", "/etc/passwd", "recipe-0000000000000000.json", "a/b", "..", row["name"] + "/"):
        row["name"] = name
        (target / "COMMIT.json").write_bytes(canonical(commit))
        with pytest.raises(ts.RecipeError, match=r"files\.recipe\[0\]\.name"):
            ts.load(target, base=net)


def test_a_tensor_twice_in_a_header_is_refused(tmp_path):
    """Readers of the format take the last one."""
    from torchsurgery.storage.tensors import read_tensors

    entry = '{"dtype":"U8","shape":[1],"data_offsets":[0,1]}'
    header = f'{{"a":{entry},"a":{entry}}}'.encode()
    path = tmp_path / "twice"
    path.write_bytes(len(header).to_bytes(8, "little") + header + b"\0")
    with path.open("rb") as file, pytest.raises(ts.RecipeError, match="the key 'a' twice"):
        read_tensors(file, "twice", path.stat().st_size, None)


def test_nothing_is_ever_imported_evaluated_or_looked_up_by_name():
    """The source says so: no such call in what reads files."""
    import ast
    from pathlib import Path

    package = Path(ts.__file__).parent
    for path in [*package.glob("recipes/*.py"), *package.glob("storage/*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                assert called not in ("eval", "exec", "compile", "__import__", "import_module", "torch.load"), path
                assert not called.endswith(("import_module", "pickle.load", "pickle.loads")), path
                if called in ("getattr", "setattr") and path.parent.name == "recipes":
                    assert isinstance(node.args[1], ast.Constant) or path.name == "naming.py", path


def test_the_environment_is_as_it_was():
    before = dict(os.environ)
    refused(document(put({"class": "os.putenv", "arguments": {}})), "registered")
    assert dict(os.environ) == before
