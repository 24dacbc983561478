"""history.jsonl and curves.png."""

import json

from unetr.training.history import History, draw_curves, read_history


def filled(run):
    history = History(run)
    for step in range(1, 6):
        history.add({"step": step, "loss": 1.0 / step, "lr": 1e-3, "seconds": 1.0})
    history.add({"step": 5, "dice": 0.5, "labels": {"a": 0.5, "b": None}, "best": True})
    return history


def test_a_torn_last_line_and_later_steps_are_dropped(tmp_path):
    filled(tmp_path)
    with (tmp_path / "history.jsonl").open("a") as file:
        file.write('{"step": 6, "lo')
    assert len(read_history(tmp_path)) == 6
    History(tmp_path, resumed_at=3).add({"step": 4, "loss": 9.0, "lr": 1e-3})
    lines = [json.loads(text) for text in (tmp_path / "history.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3, 4]
    assert lines[-1]["loss"] == 9.0


def test_curves_are_a_picture_even_without_validation(tmp_path):
    History(tmp_path).add({"step": 1, "loss": 1.0, "lr": 1e-3})
    draw_curves(tmp_path)
    assert (tmp_path / "curves.png").read_bytes()[:4] == b"\x89PNG"
    filled(tmp_path)
    draw_curves(tmp_path)
    assert (tmp_path / "curves.png").stat().st_size > 10_000


def test_tensorboard_gets_numbers(tmp_path):
    history = History(tmp_path, tensorboard=True)
    history.add({"step": 1, "loss": 1.0, "lr": 1e-3})
    history.add({"step": 1, "dice": 0.5, "labels": {"a": 0.5, "b": None}, "best": True})
    written = b"".join(file.read_bytes() for file in (tmp_path / "tensorboard").iterdir())
    for name in (b"loss", b"lr", b"dice/a"):
        assert name in written
    assert b"dice/b" not in written
