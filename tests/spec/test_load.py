"""A spec from its layers: site, user, includes, file and overrides."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from slurmtune.errors import SpecError, UsageError
from slurmtune.spec import load
from slurmtune.spec.available import unavailable
from slurmtune.spec.difference import difference, effective
from slurmtune.spec.explain import explain
from slurmtune.spec.hyperparameter import HyperparameterSpec
from slurmtune.spec.load import LoadedSpec, load_spec, loads_spec
from slurmtune.spec.problem import Problem, Severity, SpecErrors, report, summary
from slurmtune.spec.rungs import trial_limit
from slurmtune.spec.schema import json_schema

DATA = Path(__file__).parent.parent / "data" / "spec"
SMALL = (DATA / "smallest.toml").read_text()
ASHA = (DATA / "asha.toml").read_text()
REFERENCE = (DATA / "reference.toml").read_text()


@pytest.fixture(autouse=True)
def no_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the defaults of this machine out."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg"))
    monkeypatch.delenv("SLURMTUNE_CONFIG_FILE", raising=False)
    monkeypatch.setattr(load, "SITE_FILE", str(tmp_path / "site.toml"))


def write(folder: Path, name: str, text: str) -> str:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return str(path)


def problems_of(text: str, *overrides: str, launching: bool = False) -> list[Problem]:
    with pytest.raises(SpecErrors) as caught:
        loads_spec(text, overrides, launching=launching)
    return list(caught.value.problems)


@pytest.mark.parametrize("name", ["smallest", "asha", "grid"])
def test_small_specs_load_without_a_word(name: str) -> None:
    assert load_spec(str(DATA / f"{name}.toml")).problems == ()


def test_overrides_are_kept_without_those_that_may_hold_secrets() -> None:
    given = ["study.name=b", "env.vars.TOKEN=x", 'env={setup=["true"]}', "search.trials=9"]
    assert loads_spec(SMALL, given).overrides == ("study.name=b", "search.trials=9")


def test_reference_loads_with_notes_only() -> None:
    loaded = load_spec(str(DATA / "reference.toml"))
    assert {problem.severity for problem in loaded.problems} == {Severity.NOTE}


def test_reference_holds_every_key_of_every_table() -> None:
    """The complete reference shows all keys but those that exclude others."""
    given = loads_spec(REFERENCE).given
    spec = loads_spec(REFERENCE).spec
    tables = ["study", "run", "env", "search", "fidelity", "retry", "stop", "checkpoint", "report"]
    keys = {
        f"{t}.{f.alias or k}"
        for t in tables
        for k, f in type(getattr(spec, t)).model_fields.items()
    }
    assert keys - given == {"run.function", "search.variant", "study.group", "retry.bad_node"}


def test_first_hyperparameters_of_the_reference() -> None:
    space = loads_spec(REFERENCE).spec.space
    assert space["optimizer"] == HyperparameterSpec(
        name="optimizer",
        distribution="values",
        arguments=("sgd", "adamw", "lion"),
        default="adamw",
    )
    assert space["sched.power"].when == {"optimizer": ("sgd", "lion"), "depth": ">= 3"}
    assert space["jitter"].clip == (-1, 1)
    assert space["activation"].arguments == (("relu", 0.7), ("gelu", 0.2), ("silu", 0.1))


def test_order_of_the_space_is_that_of_the_file() -> None:
    names = list(loads_spec(REFERENCE).spec.space)
    assert (names[0], names[-1], len(names)) == ("optimizer", "dataset", 20)


def test_units_are_parsed() -> None:
    spec = loads_spec(REFERENCE).spec
    assert (spec.slurm.time, spec.slurm.linger, spec.stop.wall_time) == (1800, 60, 259200)
    assert (spec.retry.max_failed, spec.report.every) == (0.2, 600)


def test_rung_inherits_from_the_rung_before() -> None:
    slurm = loads_spec(REFERENCE).spec.slurm
    times = [slurm.at_rung(rung).time for rung in range(4)]
    assert times == [1800, 1800, 4 * 3600, 12 * 3600]
    assert [slurm.at_rung(rung).partition for rung in (0, 3, 9)] == ["gpu", "gpu-long", "gpu-long"]


def test_time_per_unit_of_a_rung_replaces_the_time() -> None:
    text = f'{ASHA}[slurm.rung.1]\ntime_per_unit = "2:00"\n[slurm.rung.2]\ngres = "gpu:a100:2"\n'
    slurm = loads_spec(text).spec.slurm
    assert (slurm.at_rung(1).time, slurm.at_rung(1).time_per_unit) == (None, 120)
    assert (slurm.at_rung(2).gpus_per_node, slurm.at_rung(2).gpu_count) == (None, 2)


def test_trials_are_a_hundred_unless_it_is_a_grid() -> None:
    assert trial_limit(loads_spec(SMALL).spec) == 100
    assert trial_limit(load_spec(str(DATA / "grid.toml")).spec) is None


def test_all_errors_come_at_once_in_file_order() -> None:
    text = ASHA.replace('"val_loss"', "3").replace("81", '"81"').replace("[1e-5, 1e-1]", "[0, 1]")
    assert [(p.code, p.line) for p in problems_of(text)] == [("M7", 6), ("S2", 9), ("M7", 13)]


def test_last_line_counts_errors() -> None:
    text = ASHA.replace("81", '"81"').replace("[1e-5, 1e-1]", "[0, 1]")
    with pytest.raises(SpecErrors, match=r"\n2 errors; nothing was submitted\.\Z"):
        loads_spec(text)


def test_spec_errors_are_spec_errors() -> None:
    with pytest.raises(SpecError) as caught:
        loads_spec("")
    assert caught.value.exit_code == 2


def test_problem_as_json_is_for_editors() -> None:
    (problem,) = problems_of(ASHA.replace("metric =", "metirc ="))
    assert problem.as_json() == {
        "code": "K1",
        "severity": "error",
        "message": "unknown key 'metirc' in objective",
        "file": "spec.toml",
        "line": 6,
        "column": 1,
        "path": "objective.metirc",
        "fix": "did you mean 'metric'?",
    }


def test_no_problems_are_summed_up() -> None:
    assert summary([]) == "no problems; nothing was submitted."


def test_control_characters_do_not_reach_the_terminal() -> None:
    text = report(problems_of(SMALL.replace('"first"', '"\\u001b[2J"')))
    assert "\x1b" not in text
    assert "\\u001b[2J" in text


def test_long_line_is_cut_around_the_mistake() -> None:
    text = SMALL.replace(
        "lr =", f"long = {{ values = [{', '.join(map(str, range(500)))}, nan] }}\nlr ="
    )
    line = next(
        line for line in report(problems_of(text)).split("\n") if "nan" in line and "|" in line
    )
    assert len(line) < 160


# ------------------------------------------------------------------ layers


def test_override_wins() -> None:
    assert loads_spec(ASHA, ["search.trials=4", "slurm.partition=debug"]).spec.search.trials == 4


def test_override_of_a_table_that_is_not_there() -> None:
    assert loads_spec(SMALL, ["slurm.time=10:00:00"]).spec.slurm.time == 36000


@pytest.mark.parametrize(
    ("value", "account"), [("12345", "12345"), ("1e5", "1e5"), ("true", "true")]
)
def test_override_of_text_needs_no_quotes(value: str, account: str) -> None:
    assert loads_spec(SMALL, [f"slurm.account={value}"]).spec.slurm.account == account


def test_override_of_the_only_objective() -> None:
    text = SMALL.replace("[objective]", "[[objective]]")
    assert loads_spec(text, ["objective.metric=acc"]).spec.objective[0].metric == "acc"


def test_override_of_a_hyperparameter_s_option() -> None:
    assert loads_spec(SMALL, ["space.lr.default=0.01"]).spec.space["lr"].default == 0.01


def test_wrong_override_is_shown_as_typed() -> None:
    (problem,) = problems_of(ASHA, "slurm.mem=1G", "search.trials=four")
    assert str(problem) == (
        "error: trials must be a whole number, not 'four'\n"
        "  --> command line:2:18 (search.trials)\n"
        "   |\n"
        " 2 | -s search.trials=four\n"
        "   |                  ^^^^"
    )


def test_include_lies_below_the_spec(tmp_path: Path) -> None:
    write(tmp_path, "cluster.toml", '[slurm]\npartition = "a"\nmem = "1G"\n')
    path = write(
        tmp_path, "spec.toml", f'include = ["cluster.toml"]\n{SMALL}[slurm]\npartition = "b"\n'
    )
    slurm = load_spec(path).spec.slurm
    assert (slurm.partition, slurm.mem) == ("b", "1G")


def test_mistake_in_an_include_names_that_file(tmp_path: Path) -> None:
    write(tmp_path, "cluster.toml", '[slurm]\npartitoin = "a"\n')
    path = write(tmp_path, "spec.toml", f'include = ["cluster.toml"]\n{SMALL}')
    with pytest.raises(SpecErrors) as caught:
        load_spec(path)
    assert [(p.file, p.line, p.code) for p in caught.value.problems] == [("cluster.toml", 2, "K1")]


def test_missing_include_points_at_its_name(tmp_path: Path) -> None:
    path = write(tmp_path, "spec.toml", f'include = ["cluster.toml"]\n{SMALL}')
    with pytest.raises(SpecErrors) as caught:
        load_spec(path)
    assert [(p.line, p.column, p.code) for p in caught.value.problems] == [(1, 12, "T14")]


def test_include_of_an_include_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "cluster.toml", 'include = ["spec.toml"]\n')
    path = write(tmp_path, "spec.toml", f'include = ["cluster.toml"]\n{SMALL}')
    with pytest.raises(SpecErrors, match="cannot include others"):
        load_spec(path)


def test_site_lies_below_the_user_below_the_spec(tmp_path: Path) -> None:
    write(tmp_path, "site.toml", '[slurm]\npartition = "a"\naccount = "a"\nqos = "a"\n')
    write(tmp_path, "xdg/slurmtune/config.toml", '[slurm]\naccount = "b"\nqos = "b"\n')
    path = write(tmp_path, "spec.toml", f'{SMALL}[slurm]\nqos = "c"\n')
    slurm = load_spec(path).spec.slurm
    assert (slurm.partition, slurm.account, slurm.qos) == ("a", "b", "c")


def test_named_config_file_replaces_the_user_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, "xdg/slurmtune/config.toml", '[slurm]\naccount = "b"\n')
    monkeypatch.setenv(
        "SLURMTUNE_CONFIG_FILE", write(tmp_path, "mine.toml", '[slurm]\nqos = "m"\n')
    )
    slurm = load_spec(write(tmp_path, "spec.toml", SMALL)).spec.slurm
    assert (slurm.account, slurm.qos) == (None, "m")


def test_named_config_file_must_exist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURMTUNE_CONFIG_FILE", str(tmp_path / "none.toml"))
    with pytest.raises(SpecErrors, match="there is no file"):
        load_spec(write(tmp_path, "spec.toml", SMALL))


def test_defaults_hold_no_objective(tmp_path: Path) -> None:
    write(tmp_path, "site.toml", '[objective]\nmetric = "x"\n')
    with pytest.raises(SpecErrors, match="defaults cannot hold 'objective'"):
        load_spec(write(tmp_path, "spec.toml", SMALL))


def test_missing_file_is_told_with_a_way_out(tmp_path: Path) -> None:
    with pytest.raises(SpecErrors, match=r"there is no file (?s:.*)slurmtune init"):
        load_spec(str(tmp_path / "spec.toml"))


def test_folder_is_no_spec(tmp_path: Path) -> None:
    with pytest.raises(SpecErrors, match="is a folder"):
        load_spec(str(tmp_path))


def test_path_with_a_nul_is_told() -> None:
    with pytest.raises(SpecErrors, match="cannot read"):
        load_spec("a\0b")


def test_base_dir_is_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "spec.toml", SMALL)
    monkeypatch.chdir(tmp_path)
    assert load_spec("spec.toml").base_dir == str(tmp_path)


# ------------------------------------------------------------------ digest and difference


def test_digest_ignores_layout_and_comments() -> None:
    assert loads_spec(SMALL).sha256 == loads_spec(SMALL.replace("\n", "  # x\n")).sha256


def test_digest_knows_values_given_as_default() -> None:
    assert loads_spec(SMALL).sha256 == loads_spec(SMALL, ["study.seed=0"]).sha256


def test_digest_knows_the_order_of_the_space() -> None:
    one = SMALL + "a = { int = [1, 2] }\nb = { int = [1, 2] }\n"
    other = SMALL + "b = { int = [1, 2] }\na = { int = [1, 2] }\n"
    assert loads_spec(one).sha256 != loads_spec(other).sha256


def test_digest_is_the_same_under_every_hash_seed() -> None:
    code = f"from slurmtune.spec.load import load_spec as l; print(l({str(DATA / 'reference.toml')!r}).sha256)"
    root = str(Path(__file__).parent.parent.parent)
    digests = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": root},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("0", "1", "2")
    }
    assert len(digests) == 1


def test_effective_spec_is_json() -> None:
    data = effective(loads_spec(REFERENCE).spec)
    assert json.loads(json.dumps(data, allow_nan=False)) == data


def changes(*overrides: str, text: str = ASHA) -> list[tuple[str, bool]]:
    old = effective(loads_spec(text).spec)
    new = effective(loads_spec(text, overrides).spec)
    return [(change.path, change.allowed) for change in difference(old, new)]


@pytest.mark.parametrize(
    "override",
    [
        "search.trials=100", "search.parallel=4", "slurm.time=2:00:00", "slurm.partition=high",
        "slurm.rung.1.time=9:00:00", "retry.crash=2", "stop.gpu_hours=4", "stop.target.val_loss=0.1",
        "report.every=5m", "checkpoint.keep=all", "study.description=x", "study.tags=['a']",
        "env.modules=['cuda']", "fidelity.unit_time=3", "run.command=true", "run.args=hydra",
    ],
)  # fmt: skip
def test_safe_changes_are_taken_over(override: str) -> None:
    assert all(allowed for _, allowed in changes(override))


@pytest.mark.parametrize(
    ("override", "path"),
    [
        ("search.trials=9", "search.trials"),
        ("study.seed=1", "study.seed"),
        ("study.name=other", "study.name"),
        ("search.sampler=sobol", "search.sampler"),
        ("search.scheduler=sha", "search.scheduler"),
        ("search.variant=stopping", "search.variant"),
        ("fidelity.max=81", "fidelity.max"),
        ("objective.goal=maximize", "objective"),
        ("space.lr.default=0.01", "space.lr"),
        ("space.new={ int = [1, 2] }", "space.new"),
        ("constraints.rule=lr < 0.5", "constraints.rule"),
        ("start=[{ lr = 0.01 }]", "start"),
    ],
)
def test_other_changes_are_refused(override: str, path: str) -> None:
    assert changes(override) == [(path, False)]


def test_equal_specs_differ_in_nothing() -> None:
    assert changes() == []


def test_another_order_of_the_space_is_refused() -> None:
    lines = ASHA.split("\n")
    lines[8], lines[9] = lines[9], lines[8]
    old, new = effective(loads_spec(ASHA).spec), effective(loads_spec("\n".join(lines)).spec)
    assert [(c.path, c.allowed) for c in difference(old, new)] == [("space", False)]


# ------------------------------------------------------------------ not available yet


@pytest.mark.parametrize(
    "override",
    [
        "search.sampler=gp", "search.initial=rsa", "env.container=x.sif", "objective.limit=3",
    ],
)  # fmt: skip
def test_what_would_change_the_study_blocks_a_launch(override: str) -> None:
    (note,) = loads_spec(ASHA, [override]).problems
    assert (note.code, note.severity, note.blocks_launch) == ("U1", Severity.NOTE, True)
    (problem,) = problems_of(ASHA, override, launching=True)
    assert (problem.code, problem.severity) == ("U1", Severity.ERROR)


@pytest.mark.parametrize(
    "override",
    [
        "run.copy=['a']",
        "report.html=true", "report.every=10m", "report.watch=['a']", "report.notify=x",
        "report.export=['csv']", "search.gp={ nu = 1.5 }", "space.lr.prior=[0.01, 'low']",
    ],
)  # fmt: skip
def test_other_gaps_are_noted(override: str) -> None:
    loaded = loads_spec(ASHA, [override], launching=True)
    assert [(p.code, p.blocks_launch) for p in loaded.problems] == [("U1", False)]


@pytest.mark.parametrize("sampler", ["random", "sobol", "halton", "lhs", "tpe"])
@pytest.mark.parametrize(
    "scheduler",
    [
        "none", "asha", "sha", "hyperband", "async_hyperband", "pasha", "median", "pbt", "irace",
        "dehb",
    ],
)  # fmt: skip
def test_what_exists_is_not_noted(sampler: str, scheduler: str) -> None:
    overrides = [f"search.sampler={sampler}", f"search.scheduler={scheduler}"]
    assert loads_spec(ASHA, overrides, launching=True).problems == ()


@pytest.mark.parametrize(
    "override",
    ["slurm.ahead=2.0", "checkpoint.keep=none", "fidelity.brackets=2", "fidelity.hedge=0.1"],
)
def test_what_works_now_is_not_noted(override: str) -> None:
    assert loads_spec(ASHA, [override], launching=True).problems == ()


def test_gaps_are_told_without_places_too() -> None:
    spec = loads_spec(ASHA, ["search.sampler=gp"]).spec
    assert [p.path for p in unavailable(spec, {"search.sampler"})] == ["search.sampler"]


# ------------------------------------------------------------------ the rest


def test_code_is_explained() -> None:
    assert explain("k2").startswith("K2: ")


def test_unknown_code_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="there is no message 'Z9'"):
        explain("Z9")


def test_schema_knows_the_reference() -> None:
    """Every key of the reference stands in the schema, table by table."""
    import tomllib

    schema = json_schema()
    for table, value in tomllib.loads(REFERENCE).items():
        assert table in schema["properties"]
        reference = schema["properties"][table].get("$ref")
        if reference:
            properties = schema["$defs"][reference.rpartition("/")[2]]["properties"]
            assert set(value) <= set(properties)


def test_schema_is_json_without_null() -> None:
    assert '"null"' not in json.dumps(json_schema())


def test_schema_describes_keys() -> None:
    seed = json_schema()["$defs"]["StudyTable"]["properties"]["seed"]
    assert seed["description"] == "Same spec and same seed: same configs."


def test_loading_is_free_of_heavy_libraries() -> None:
    heavy = "{'numpy','scipy','sklearn','pandas','submitit','rich','typer'}"
    code = f"import sys, slurmtune.spec.load; print(sorted({heavy} & set(sys.modules)))"
    root = str(Path(__file__).parent.parent.parent)
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": root},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "[]\n"


def test_loaded_spec_is_frozen() -> None:
    loaded = loads_spec(SMALL)
    assert isinstance(loaded, LoadedSpec)
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(loaded, "path", "x")  # noqa: B010


def test_a_word_that_is_nothing_is_not_called_a_message() -> None:
    with pytest.raises(UsageError, match="'foo' is no trial, no code of a message, no scheduler"):
        explain("foo")


def test_a_misspelt_method_is_guessed() -> None:
    with pytest.raises(UsageError, match="did you mean 'irace'"):
        explain("iracs")
