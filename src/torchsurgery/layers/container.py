"""Constructor arguments of containers: what they hold."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from torch import nn

from .comparing import Differs
from .config import config_rule


@config_rule(nn.Sequential)
def _sequential(layers: nn.Sequential) -> dict[str, Any]:
    if layers._modules:
        raise Differs(
            "a Sequential takes its layers by position, so no call by keywords makes it",
            "nn.Sequential(OrderedDict(layers.named_children()))",
        )
    return {}


@config_rule(nn.ModuleList)
def _module_list(layers: nn.ModuleList) -> dict[str, Any]:
    return {"modules": list(layers)}


@config_rule(nn.ModuleDict)
def _module_dict(layers: nn.ModuleDict) -> dict[str, Any]:
    return {"modules": OrderedDict(layers.items())}


@config_rule(nn.ParameterList)
def _parameter_list(parameters: nn.ParameterList) -> dict[str, Any]:
    return {"values": list(parameters)}


@config_rule(nn.ParameterDict)
def _parameter_dict(parameters: nn.ParameterDict) -> dict[str, Any]:
    return {"parameters": OrderedDict(parameters.items())}


@config_rule(nn.Container)
def _container(layers: nn.Container) -> dict[str, Any]:
    return dict(layers._modules)


@config_rule(nn.DataParallel)
def _data_parallel(wrapper: nn.DataParallel[Any]) -> dict[str, Any]:
    if wrapper.device_ids:
        raise Differs("it spreads a module over devices", "ts.config_of(wrapper.module)")
    return {"module": wrapper.module}
