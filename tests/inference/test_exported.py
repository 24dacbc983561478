"""A folder stands for the one model file in it."""

import pytest

from unetr.errors import InputError
from unetr.inference.exported import load_any


def test_a_folder_with_both_exports_asks_for_one_of_them(tmp_path):
    for name in ("model.onnx", "model.xml"):
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(InputError) as caught:
        load_any(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path}: holds both model.onnx and model.xml; name the one to use, such as "
        f"{tmp_path / 'model.onnx'}"
    )


def test_a_folder_without_a_model_says_what_would_be_one(tmp_path):
    with pytest.raises(InputError, match=r"a folder without model\.safetensors, model\.onnx or"):
        load_any(tmp_path)
