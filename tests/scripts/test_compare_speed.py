"""The comparison of speeds runs programs that are there, and refuses the rest."""

from __future__ import annotations

import json
import pathlib
import shlex
import sys

import compare_speed
import pytest


def printing(rate: float) -> str:
    line = json.dumps({"images_per_s": rate})
    return shlex.join([sys.executable, "-c", f"print('words'); print({line!r})"])


def test_the_ratio_is_the_median_of_the_rounds(capsys):
    programs = [f"a={printing(2)}", f"b={printing(3)}"]
    assert compare_speed.main(["--rounds", "2", *programs]) == 0
    _, first, second = capsys.readouterr().out.splitlines()
    assert first.split() == ["a", "2", "2", "2", "1.00"]
    assert second.split() == ["b", "3", "3", "3", "1.50"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "either --all"),
        (["--all", "a=b"], "either --all"),
        (["--rounds", "0", "a=b"], "--rounds of 1"),
        (["a=b", "--samples", "3"], "no effect without --all"),
        (["--batch", "3", "a=b"], "no effect without --all"),
        (["--all"], "MNIST_DIR is '/nowhere'"),
        (["--all", "--samples", "0"], "--samples and --batch of 1"),
        (["--all", "--batch", "0"], "--samples and --batch of 1"),
    ],
)
def test_what_has_no_effect_or_is_not_there_is_refused(
    arguments, said, capsys, monkeypatch
):
    monkeypatch.setenv("MNIST_DIR", "/nowhere")
    monkeypatch.setattr(compare_speed, "python_of", None)  # nothing is set up
    with pytest.raises(SystemExit) as left:
        compare_speed.main(arguments)
    assert left.value.code == 2 and said in capsys.readouterr().err


@pytest.mark.parametrize("program", ["no-such-program", f"{sys.executable} -c 1/0"])
def test_a_program_that_fails_is_named_in_one_line(program, capsys):
    assert compare_speed.main([f"mine={program}"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(("k", "count"), [(1, 6), (50, 7)])
def test_every_peer_is_a_file_with_the_wanted_samples(k, count, monkeypatch):
    monkeypatch.setattr(compare_speed, "python_of", lambda environment: "python")
    commands = compare_speed.all_commands(k, 20, "/data")
    assert len(commands) == count and set(compare_speed.PEERS) < set(commands)
    for name, command in commands.items():
        words = shlex.split(command)
        if name in compare_speed.PEERS:
            assert pathlib.Path(words[1]).is_file()
            assert words[words.index("--k") + 1] == str(k)
            assert words[words.index("--batch") + 1] == "20"
        else:
            assert words[words.index("--num-samples") + 1] == str(k)
            assert words[words.index("--batch-size") + 1] == "20"
