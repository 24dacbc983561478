"""The ten tasks of the Medical Segmentation Decathlon: where they lie and what they sum to.

Antonelli et al., Nature Communications 13, 2022; CC-BY-SA 4.0. The archives are on the AWS open
data bucket that MONAI's DecathlonDataset names too, with the same MD5 sums.
"""

import difflib
from dataclasses import dataclass

from unetr.errors import InputError

MIRROR = "https://msd-for-monai.s3-us-west-2.amazonaws.com"


@dataclass(frozen=True)
class Task:
    """An archive that unpacks to a folder of the task's name.

    Attributes:
        md5: Of the archive, as a number in base 16.
        shows: What is segmented from what.
    """

    name: str
    md5: str
    shows: str

    @property
    def url(self) -> str:
        """The archive's public address."""
        return f"{MIRROR}/{self.name}.tar"


TASKS = (
    Task("Task01_BrainTumour", "240a19d752f0d9e9101544901065d872", "gliomas, MR of 4 channels"),
    Task("Task02_Heart", "06ee59366e1e5124267b774dbd654057", "left atrium, MR"),
    Task("Task03_Liver", "a90ec6c4aa7f6a3d087205e23d4e6397", "liver and tumours, CT"),
    Task("Task04_Hippocampus", "9d24dba78a72977dbd1d2e110310f31b", "hippocampus in two parts, MR"),
    Task("Task05_Prostate", "35138f08b1efaef89d7424d2bcc928db", "prostate in two zones, MR"),
    Task("Task06_Lung", "8afd997733c7fc0432f71255ba4e52dc", "lung tumours, CT"),
    Task("Task07_Pancreas", "4f7080cfca169fa8066d17ce6eb061e4", "pancreas and tumours, CT"),
    Task("Task08_HepaticVessel", "641d79e80ec66453921d997fbf12a29c", "liver vessels, tumours, CT"),
    Task("Task09_Spleen", "410d4a301da4e5b2f6f86ec3ddba524e", "spleen, CT"),
    Task("Task10_Colon", "bad7a188931dc2f6acf72b08eb6202d0", "colon cancer, CT"),
)


def find_task(name: str) -> Task:
    """The task called `name`: in full or in part, as `Task09_Spleen`, `task09`, `spleen` or `9`.

    Raises:
        InputError: no task, or several, are called so; names the near ones.
    """
    wanted = name.casefold()
    called = {key: task for task in TASKS for key in _keys(task)}
    if wanted in called:
        return called[wanted]
    near = dict.fromkeys(
        called[key].name for key in difflib.get_close_matches(wanted, called, n=3, cutoff=0.6)
    )
    told = (
        f"near are {', '.join(near)}" if near else f"known are {', '.join(t.name for t in TASKS)}"
    )
    raise InputError(f"{name}: no task of the Medical Segmentation Decathlon; {told}")


def _keys(task: Task) -> tuple[str, ...]:
    number, _, organ = task.name.casefold().partition("_")
    digits = number.removeprefix("task")
    return task.name.casefold(), number, organ, digits, digits.lstrip("0")
