"""`ingle replay warm` over small made traces in the columns of the public ones. It asks no cluster."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ingle_cli.main import app
from ingle_cli.replay.warm import shares_so_far
from ingle_simulator import functions, genai


def said(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["replay", "warm", *arguments])
    return result.exit_code, result.stdout, result.stderr


def zipped(path: Path, *rows: str) -> None:
    with gzip.open(path, "wt") as file:
        file.write("\n".join([*rows, ""]))


@pytest.fixture
def models(tmp_path: Path) -> str:
    """Three models in turn, a minute apart, thrice."""
    rows = [f"2024-11-15 16:{10 + i}:00,5,m{i % 3}" for i in range(9)]
    zipped(tmp_path / genai.REQUESTS, "gmt_create,exec_time_seconds,checkpoint_model_version_id", *rows)
    zipped(tmp_path / genai.LOADS, "value", "20000", "30000")
    return str(tmp_path)


def test_models_are_replayed_under_each_policy_and_drawn(models: str, tmp_path: Path) -> None:
    picture = tmp_path / "p.svg"
    code, out, _ = said("--trace", models, "--slots", "3", "--picture", str(picture))
    assert code == 0
    assert "simulated: 9 requests to 3 models, 3 slots" in out
    for policy in ("expected-use", "greedy-dual", "histogram", "fixed", "lru"):
        assert f"{policy:<14}33.33 %" in "".join(line for line in out.splitlines() if policy in line)
        assert policy in picture.read_text()
    assert "% of the trace replayed" in picture.read_text()


def test_sleepers_are_woken_instead_of_loaded(models: str) -> None:
    _, out, _ = said("--trace", models, "--slots", "1", "--sleepers", "2", "--policy", "lru")
    assert "33.33 %  66.67 %" in out
    assert "fixed" not in out


def test_functions_are_replayed_minute_by_minute(tmp_path: Path) -> None:
    head = "app,avg_mem_mb," + ",".join(f"m{i}" for i in range(functions.MINUTES))
    needed = ",".join(str(int(i % 20 == 0)) for i in range(functions.MINUTES))
    zipped(tmp_path / functions.CONTAINERS, head, f"f,1024,{needed}")
    code, out, _ = said("--trace", str(tmp_path), "--policy", "fixed")
    assert code == 0
    assert [line.split()[:4] for line in out.splitlines() if line.startswith("fixed")] == [
        ["fixed", "72", "792", "GB"]
    ]


def test_what_is_wrong_is_said(models: str, tmp_path: Path) -> None:
    assert said("--trace", str(tmp_path / "nowhere"))[0] == 2
    code, _, err = said("--trace", models, "--policy", "best")
    assert (code, "--policy 'best': for this trace there are expected-use" in err) == (2, True)
    code, _, err = said("--trace", models, "--picture", "p.png")
    assert (code, "write a name that ends with .svg" in err) == (2, True)


def test_shares_so_far_end_with_that_of_all() -> None:
    shares = shares_so_far([1, 1, 0, 0], [1, 1, 1, 1])
    assert (len(shares), shares[0], shares[50], shares[100]) == (101, 100.0, 100.0, 50.0)
