"""What a training run shows: plain lines in a log, a bar on a terminal."""

import io

from rich.console import Console

from unetr.cli.watching import Lines, Live, bar, described, duration, scored
from unetr.training.progress import Moment, Validated

MOMENT = Moment(step=120, done=0.25, loss=0.41234, lr=3e-4, samples_per_s=7.5, left_s=185.0)
FOUND = Validated(0.8123, {"liver": 0.9, "cyst": None}, {"a": 0.9, "b": 0.7}, 12.0)


def test_a_step_in_words():
    assert described(MOMENT) == "step 120, loss 0.4123, lr 3.00e-04, 7.50 samples/s, 3:05 left"


def test_a_validation_in_words():
    assert scored(120, FOUND, best=True) == (
        "validated after step 120: Dice 0.8123 (liver 0.9000, cyst undefined), "
        "2 cases in 12 s; the best so far, kept"
    )
    assert scored(120, FOUND, best=False).endswith("2 cases in 12 s")


def test_durations():
    assert [duration(s) for s in (0.4, 59.0, 60.0, 3723.0)] == ["0 s", "59 s", "1:00", "1:02:03"]


def test_a_log_has_a_line_per_logged_step(capsys):
    lines = Lines()
    lines.preparing("preprocessing", 1, 2)
    lines.stepped(MOMENT, logged=False)
    lines.stepped(MOMENT, logged=True)
    lines.validated(120, FOUND, best=False)
    assert capsys.readouterr().err.splitlines() == [described(MOMENT), scored(120, FOUND, False)]


def test_long_work_is_told_now_and_then(capsys, monkeypatch):
    now = 100.0
    monkeypatch.setattr("unetr.cli.watching.time.monotonic", lambda: now)
    lines = Lines()
    for done, now in enumerate((101.0, 125.0, 130.0, 150.0), 1):  # noqa: B007
        lines.preparing("preprocessing", done, 4)
    told = capsys.readouterr().err.splitlines()
    assert told == ["preprocessing: 2 of 4 cases", "preprocessing: 4 of 4 cases"]


def test_a_terminal_shows_step_speed_time_left_and_dice_per_label():
    written = io.StringIO()
    console = Console(file=written, force_terminal=True, width=160, highlight=False)
    with bar(console) as progress:
        live = Live(console, progress)
        live.say("4 cases train")
        live.preparing("preprocessing", 3, 4)
        assert progress.tasks[0].fields["told"] == "3/4"
        live.validated(120, FOUND, best=True)
        live.stepped(MOMENT, logged=True)
        task = progress.tasks[0]
        assert task.fields["told"] == described(MOMENT) + ", Dice 0.9000 undefined"
        assert (task.completed, task.total) == (0.25, 1.0)
    assert "4 cases train" in written.getvalue()
    assert "validated after step 120" in written.getvalue()
