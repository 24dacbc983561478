"""The command line, signalled after a step of training: `interrupted.py SIGNAL STEP WORD...`.

In a process of its own: a worker of the tests has been ended by such a signal, after tests that run
other engines in it.
"""

import os
import sys

from unetr.cli.main import run
from unetr.training.loop import Watch

number, last, *words = sys.argv[1:]
stepped = Watch.stepped


def signalled(self, step, *rest):
    stepped(self, step, *rest)
    if step == int(last):
        os.kill(os.getpid(), int(number))


Watch.stepped = signalled
# What the command says of itself is what was typed.
sys.argv = ["unetr", *words]
sys.exit(run(words))
