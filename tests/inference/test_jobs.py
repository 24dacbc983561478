"""What is to be predicted, by which name, and by which process."""

import nibabel as nib
import numpy as np
import pytest

from unetr.errors import InputError
from unetr.inference.cases import plan_jobs
from unetr.inference.ranks import shard


def test_names_follow_the_input(tmp_path, scans, write_scan):
    write_scan(tmp_path / "plain.nii")
    jobs = plan_jobs([scans, tmp_path / "plain.nii"], tmp_path / "out", 1)
    assert [job.output.name for job in jobs] == [
        *[f"case{i}.nii.gz" for i in range(3)],
        "plain.nii",
    ]
    (one,) = plan_jobs([tmp_path / "plain.nii"], tmp_path / "a.nii.gz", 1)
    assert one.output == tmp_path / "a.nii.gz"


def test_wrong_calls(tmp_path, scans, write_scan):
    with pytest.raises(InputError, match="one file for 3 scans"):
        plan_jobs([scans], tmp_path / "out.nii.gz", 1)
    with pytest.raises(InputError, match="different folders"):
        plan_jobs([scans, scans], tmp_path / "out", 1)
    # Their labels would lie apart, but not their maps, nor what is recorded of them.
    write_scan(tmp_path / "a" / "same.nii")
    write_scan(tmp_path / "b" / "same.nii.gz")
    with pytest.raises(InputError, match="different folders"):
        plan_jobs([tmp_path / "a", tmp_path / "b"], tmp_path / "out", 1)
    write_scan(tmp_path / "a" / "same.nii.gz")
    with pytest.raises(InputError, match=r"same\.nii.* has the same name; remove or rename one"):
        plan_jobs([tmp_path / "a"], tmp_path / "out", 1)
    write_scan(tmp_path / "plain.nii.gz")
    write_scan(tmp_path / "patients" / "first" / "t1.nii.gz")
    with pytest.raises(InputError, match=r"only in folders within, .* such as .*first$"):
        plan_jobs([tmp_path / "patients"], tmp_path / "out", 1)
    with pytest.raises(InputError, match="is the scan itself"):
        plan_jobs([tmp_path / "plain.nii.gz"], tmp_path, 1)


def test_channels_named_one_by_one_are_one_scan(tmp_path, write_scan):
    for channel in (0, 1):
        write_scan(tmp_path / "in" / f"a_000{channel}.nii.gz", channel)
    files = sorted((tmp_path / "in").iterdir())
    (job,) = plan_jobs(files, tmp_path / "out.nii.gz", 2)
    assert job.case.images == tuple(files)
    assert [one.case.name for one in plan_jobs(files, tmp_path / "out", 1)] == ["a", "a_0001"]


def test_shards_share_the_cases(tmp_path, scans, monkeypatch):
    jobs = plan_jobs([scans], tmp_path / "out", 1)
    assert [*shard(jobs, "1/2"), *shard(jobs, "2/2")] == [jobs[0], jobs[2], jobs[1]]
    assert shard(jobs, None) == jobs
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert shard(jobs, None) == [jobs[1]]
    # A number of processes alone does not tell them apart: none may leave cases out.
    monkeypatch.delenv("RANK")
    assert shard(jobs, None) == jobs
    for wrong in ("0/2", "3/2", "half"):
        with pytest.raises(InputError, match="I/N"):
            shard(jobs, wrong)


def test_a_sheared_grid_is_refused_before_it_is_predicted(tmp_path, write_scan):
    write_scan(tmp_path / "scan.nii.gz")
    image = nib.load(tmp_path / "scan.nii.gz")
    affine = np.diag([1.0, 1.0, 3.0, 1.0])
    affine[0, 2] = 0.6
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj), affine), tmp_path / "scan.nii.gz")
    with pytest.raises(InputError, match=r"labels\.nrrd: affine: sheared.* write \.nii\.gz"):
        plan_jobs([tmp_path / "scan.nii.gz"], tmp_path / "labels.nrrd", 1)
