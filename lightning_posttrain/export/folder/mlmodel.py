"""``MLmodel``: what MLflow loads an exported folder by."""

from __future__ import annotations

import json

from lightning_posttrain.export.folder.markup import yaml_lines
from lightning_posttrain.export.folder.running import FILES
from lightning_posttrain.export.manifest import Manifest

MLMODEL = "MLmodel"


def mlmodel(manifest: Manifest) -> str:
    """The content of ``MLmodel``: the flavors ``onnx`` and ``python_function``, and the signature.

    ``mlflow.pyfunc.load_model(folder).predict({"x": rows})`` gives a dict of ``probabilities`` and ``decision``, and
    refuses rows of another shape or type.

    Args:
        manifest: of a folder with ``model.onnx``.
    """
    signature = manifest.signature.to_dict()
    content = {
        "flavors": {
            "onnx": {
                "data": FILES["onnx"],
                "onnx_version": str(manifest.versions.get("onnx", "")),
                "providers": ["CPUExecutionProvider"],
            },
            "python_function": {
                "data": FILES["onnx"],
                "loader_module": "mlflow.onnx",
                "python_version": str(manifest.versions.get("python", "")),
            },
        },
        "signature": {
            "inputs": json.dumps([_column(**spec) for spec in signature["inputs"]]),
            "outputs": json.dumps([_column(**spec) for spec in signature["outputs"]]),
        },
        "utc_time_created": manifest.created,
    }
    return "\n".join([*yaml_lines(content), ""])


def _column(name: str, **tensor: object) -> dict[str, object]:
    return {"name": name, "type": "tensor", "tensor-spec": tensor}
