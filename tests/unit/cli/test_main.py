"""The command as a whole: quick help, one sentence for a mistake, exit codes, completion, streams that close."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import click
import pytest

from mesh.cli.failure import report
from mesh.cli.main import _VERBS, mesh, run
from mesh.cli.session import seconds, without_equals
from mesh.errors import Invalid, NotFound, Violation

THEIRS = ("up", "down", "doctor")  # verbs that others test


def test_help_is_quick_and_loads_nothing_heavy() -> None:
    code = (
        "import sys, json\n"
        "from mesh.cli.main import run\n"
        "assert run(['--help']) == 0\n"
        "heavy = ['grpc', 'google.protobuf', 'rich', 'yaml', 'asyncio', 'mesh.model', 'mesh.sdk.client']\n"
        "print(json.dumps([name for name in heavy if name in sys.modules]))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout.splitlines()[-1]) == []
    assert "apply" in done.stdout


def test_help_takes_less_than_a_fifth_of_a_second_of_cpu() -> None:
    def used() -> float:
        usage = os.times()
        return usage.children_user + usage.children_system

    best = 9.0
    for _ in range(3):
        before = used()
        subprocess.run([sys.executable, "-m", "mesh.cli", "--help"], capture_output=True, check=True)
        best = min(best, used() - before)
    assert best < 0.2


@pytest.mark.parametrize("verb", [v for v in _VERBS if v not in THEIRS])
def test_every_verb_has_help_and_the_global_options(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([verb, "--help"]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"Usage: mesh {verb}")
    assert "--namespace NAME" in out
    assert "Traceback" not in out


@pytest.mark.parametrize("verb", [v for v in _VERBS if v not in THEIRS])
def test_the_root_says_of_a_verb_what_the_verb_says(verb: str) -> None:
    ctx = click.Context(mesh)
    command = mesh.get_command(ctx, verb)
    assert command is not None
    assert (command.short_help or "").rstrip(".") == _VERBS[verb][1].rstrip(".")


@pytest.mark.parametrize("args", [[], ["help"], ["help", "get"], ["config"], ["--version"]])
def test_who_asks_nothing_is_told_what_there_is(args: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(args) == 0
    told = capsys.readouterr()
    assert told.out.startswith(("Usage: mesh", "mesh "))
    assert told.err == ""


def test_a_wrong_verb_gets_a_hint(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["gett"]) == 1
    assert 'error: unknown command "gett". Did you mean "get"?' in capsys.readouterr().err


def test_a_wrong_option_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["get", "pods", "--al"]) == 1
    err = capsys.readouterr().err
    assert err.startswith("error: No such option '--al'")
    assert err.endswith("See 'mesh get --help'.\n")


@pytest.mark.parametrize("args", [["get", "pods", "-o=nothing"], ["-n=away", "get", "pods", "-o=nothing", "-l=a=b"]])
def test_a_short_option_takes_its_value_behind_an_equals_sign_as_well(
    args: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(args) == 1
    assert 'error: there is no output format "nothing": say ' in capsys.readouterr().err


@pytest.mark.parametrize("verb", [["run"], ["create", "deployment"], ["create", "job"], ["create", "cronjob"]])
def test_a_misspelt_option_becomes_no_argument_of_the_container(
    verb: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    wanted = [*verb, "web", "--image=x", "--dry-run=client", "-o", "yaml"]
    assert run([*wanted, "--replica=3"]) == 1
    assert "error: No such option '--replica'" in capsys.readouterr().err
    assert run([*wanted, *(["--schedule=@daily"] if verb[-1] == "cronjob" else []), "--", "sh", "--replica=3"]) == 0
    assert "- --replica=3\n" in capsys.readouterr().out


def test_a_choice_that_is_missing_is_told_in_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["store", "migrate"]) == 1
    assert capsys.readouterr().err.splitlines()[0] == "error: Missing option '--to'. Choose from: etcd, sqlite"


def test_the_words_behind_two_dashes_are_left_as_they_are() -> None:
    options = [click.Option(["-o", "--output"]), click.Option(["-w", "--watch"], is_flag=True)]
    words = ["-o=a=b", "--output=c", "-w=d", "-x=e", "--", "-o=f"]
    assert without_equals(options, words) == ["-o", "a=b", "--output=c", "-w=d", "-x=e", "--", "-o=f"]


def test_flags_say_true_or_false_as_with_kubectl() -> None:
    options = [
        click.Option(["--wait/--no-wait"], default=True), click.Option(["--all", "every"], is_flag=True),
        click.Option(["-w", "--watch"], is_flag=True), click.Option(["--force"]),
    ]  # fmt: skip
    words = ["--wait=false", "--all=false", "-w=true", "a=true", "--force=true", "--", "--wait=false"]
    assert without_equals(options, words) == ["--no-wait", "-w", "a=true", "--force=true", "--", "--wait=false"]
    assert without_equals(options, ["--wait=True", "--all=true", "-w=maybe"]) == ["--wait", "--all", "-w=maybe"]


@pytest.mark.parametrize("verb", [v for v in _VERBS if v not in THEIRS])
def test_no_help_is_cut_off(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([verb, "--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line.endswith("...") and not line.startswith("Usage:")] == []


def test_what_nobody_expected_is_one_line_with_details_in_a_private_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert report(KeyError("x")) == 1
    err = capsys.readouterr().err
    assert err.startswith("error: mesh met an error it did not expect: KeyError: 'x'; details are in ")
    assert err.count("\n") == 1
    (file,) = (tmp_path / ".mesh" / "crashes").iterdir()
    assert [p.stat().st_mode & 0o777 for p in (file, file.parent, file.parent.parent)] == [0o600, 0o700, 0o700]
    assert "KeyError" in file.read_text()
    assert report(KeyError("x"), verbose=True) == 1
    assert "KeyError" in capsys.readouterr().err


def test_an_error_with_several_fields_lists_them(capsys: pytest.CaptureFixture[str]) -> None:
    report(Invalid.of('Pod "web"', [Violation("spec.a", "is required"), Violation("spec.b", "is odd")]))
    assert capsys.readouterr().err == 'error: Pod "web" is invalid:\n  spec.a: is required\n  spec.b: is odd\n'


def test_an_error_of_the_service_is_told_as_such(capsys: pytest.CaptureFixture[str]) -> None:
    error = NotFound("there is no pod")
    error.add_note("meshd answered so")
    report(ExceptionGroup("group", [error]))
    assert capsys.readouterr().err == "Error from server (NotFound): there is no pod\n"


@pytest.mark.parametrize(
    ("error", "code"), [(KeyboardInterrupt(), 130), (click.Abort(), 130), (click.exceptions.Exit(7), 7)]
)
def test_exit_codes(error: BaseException, code: int) -> None:
    assert report(error) == code


def test_a_reader_that_goes_away_is_no_error() -> None:
    env = {**os.environ, "MESHCONFIG": "/nonexistent"}
    command = f"{sys.executable} -m mesh.cli explain pod --recursive | head -1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, env=env, check=False)
    assert (done.returncode in (0, 141), done.stderr) == (True, "")


@pytest.mark.parametrize(
    ("text", "expected"),
    [("30", 30), ("30s", 30), ("1m30s", 90), ("1.5h", 5400), ("200ms", 0.2), ("0", 0), ("-1s", -1), ("2d", 172800)],
)
def test_durations(text: str, expected: float) -> None:
    assert seconds(text) == pytest.approx(expected)


@pytest.mark.parametrize("text", ["", "s", "1 m", "1y", "m1", "1m 2s", "soon"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="is no duration"):
        seconds(text)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["completion", shell]) == 0
    assert "_MESH_COMPLETE" in capsys.readouterr().out


def completed(line: str) -> list[str]:
    words = line.split(" ")
    env = {**os.environ, "_MESH_COMPLETE": "bash_complete", "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1),
           "MESHCONFIG": "/nonexistent"}  # fmt: skip
    code = "import sys; sys.argv[0] = 'mesh'; from mesh.cli.main import main; main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, check=False)
    assert done.stderr == ""
    return [entry.split(",", 1)[1] for entry in done.stdout.split()]


def test_the_shell_completes_verbs_kinds_and_options() -> None:
    assert completed("mesh ap") == ["apply", "api-resources"]
    assert completed("mesh get po") == ["pods", "poddisruptionbudgets"]
    assert "--all-namespaces" in completed("mesh get --all")
    assert completed("mesh logs ") == []  # nobody to ask: silence


def test_explain_tells_types_and_rules(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["explain", "pod.spec.restartPolicy"]) == 0
    out = capsys.readouterr().out
    assert "FIELD: restartPolicy <string>" in out
    assert "one of Always, OnFailure, Never" in out
    assert run(["explain", "po.spec.containers.ports"]) == 0
    out = capsys.readouterr().out
    assert "FIELD: ports <[]ContainerPort>" in out
    assert "containerPort\t<integer> -required-\n" in out
    assert "1 to 65535" in out
    assert run(["explain", "pod.spec", "--recursive"]) == 0
    assert "            containerPort\t<integer>" not in capsys.readouterr().out[:200]


def test_explain_of_what_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["explain", "pod.spec.nope.x"]) == 1
    assert 'error: pod.spec has no field "nope"' in capsys.readouterr().err
    assert run(["explain", "pod.spec.nodeName.x"]) == 1
    assert "it has no fields of its own" in capsys.readouterr().err


def test_a_question_that_nobody_can_answer_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for said, code in (("", 1), ("n\n", 130)):
        monkeypatch.setattr("sys.stdin", io.StringIO(said))
        with pytest.raises(click.Abort) as aborted:
            click.confirm("Remove it?", abort=True)
        assert report(aborted.value) == code
        assert ("standard input has ended" in capsys.readouterr().err) is (said == "")
