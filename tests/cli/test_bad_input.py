"""What the user can mend costs exit status 2 and one line: the key, where, the nearest name."""

from pathlib import Path

import pytest

from tests.cli.project import call, process

CLI = "on the command line"

# Arguments → what the line must hold. Those of a kind stand together.
TABLE: dict[str, tuple[str, ...]] = {
    # Misspelt keys
    "trainer.epohcs=3": (CLI, "'trainer.epohcs'", "did you mean trainer.epochs?"),
    "trainr.epochs=3": (CLI, "'trainr.epochs'", "did you mean trainer"),
    "optimizer.lrr=0.1": (CLI, "'optimizer.lrr'", "did you mean optimizer.lr?"),
    "+optimizer.lrr=0.1": (CLI, "optimizer.lrr", "torch.optim.Adam", "did you mean lr?"),
    "model.hiden=[3]": (CLI, "'model.hiden'", "did you mean model.hidden?"),
    "+trainer.epoch=3": (CLI, "'trainer.epoch'", "did you mean epochs?"),
    "+expermient=digits": (CLI, "'expermient'", "did you mean +experiment?"),
    "~trainer.epoch": ("'trainer.epoch'", "did you mean trainer.epochs?"),
    "hydra.run.dri=x": (CLI, "'hydra.run.dri'", "did you mean hydra.run.dir?"),
    "sinks.wandb.project=x": (CLI, "'sinks.wandb.project'", "no sinks are chosen; sinks=OPTION"),
    "handlers.target.metric=x": (CLI, "'handlers.target.metric'", "trainkit list handlers"),
    "model.hidden.x=3": (CLI, "'model.hidden.x'", "model.hidden is a single value"),
    "+model.hidden=3": (CLI, "model.hidden is there already", "without the plus"),
    "a.b.c=3": (CLI, "'a.b.c'", "there is checkpoint, data"),
    "optimizer=rmsprop optimizer.alhpa=0.9": ("'optimizer.alhpa'", "optimizer.alpha?"),
    "+experiment=bad/misspelt": (
        "experiments/bad/misspelt.yaml:3:", "'trainer.epohcs'", "did you mean trainer.epochs?",
    ),
    "+experiment=bad/flat": (
        "experiments/bad/flat.yaml", "'trainer.epochs'", "write it nested: trainer: {epochs: ...}",
    ),
    "+experiment=circle": ("experiments/circle.yaml", "leads back to itself"),
    "+experiment=bad/top": ("experiments/bad/top.yaml:2:", "'trainr'", "did you mean trainer?"),
    "+experiment=bad/argument": (
        "experiments/bad/argument.yaml:3:", "model.hiden", "did you mean hidden?",
    ),
    "model=misspelt": ("configs/model/misspelt.yaml:3:", "model.widht", "did you mean width?"),
    "model=heir": ("configs/model/heir.yaml:3:", "model.depht", "did you mean depth?"),
    "trainer=hasty": ("configs/trainer/hasty.yaml:2:", "trainer.epohcs", "trainer.epochs?"),
    # What other programs call it
    "optimizer.learning_rate=0.1": ("'optimizer.learning_rate'", "did you mean optimizer.lr?"),
    "+optimizer.learning_rate=0.1": ("takes no 'learning_rate'", "did you mean lr?"),
    "seed=3": ("did you mean trainer.seed?",),
    "learning_rate=0.1": ("did you mean optimizer.lr?",),
    "lr=0.1": ("did you mean optimizer.lr?",),
    "trainer.lr=0.1": ("did you mean optimizer.lr?",),
    "num_epochs=3": ("did you mean trainer.epochs?",),
    "trainer.max_epochs=3": ("did you mean trainer.epochs?",),
    "trainer.max_steps=3": ("did you mean trainer.max_iterations?",),
    "trainer.precision=bf16": ("did you mean trainer.amp?",),
    "trainer.accumulate_grad_batches=2": ("did you mean trainer.accumulation_steps?",),
    "data.batchsize=3": ("did you mean data.batch_size?",),
    "batch_size=3": ("did you mean data.batch_size?",),
    "data.val_split=0.1": ("did you mean data.validation?",),
    "monitor.log_every_n_steps=3": ("did you mean monitor.every?",),
    "model.num_classes=3": ("did you mean model.classes?",),
    "loss.components.l3.weight=1": ("'loss.components.l3.weight'", "did you mean", "components.l2"),
    "--lr=0.1": ("no flag --lr=0.1", "a value has no dashes: optimizer.lr=..."),
    "checkpoint.every=0": ("checkpoint.every must be 1 or more, got 0",),
    "checkpoint.keep=3": ("'checkpoint.keep'", "did you mean checkpoint.keep_best?"),
    "trainer.resume=always": ("trainer.resume must be one of never, auto, got 'always'",),
    "--batch-size 3": ("a value has no dashes: data.batch_size=...",),
    "--optimizer.lr=0.1": ("a value has no dashes: optimizer.lr=...",),
    "--form x": ("no flag --form", "--from"),
    # Unknown groups, options, experiments
    "modell=mlp": ("'modell'", "did you mean model?"),
    "model=mpl": (CLI, "option of model 'mpl'", "did you mean mlp?"),
    "model=": ("option of model ''", "mlp"),
    "model=null": ("model is a group", "mlp"),
    "trainer=3": ("trainer is a group", "default"),
    "+model=mlp": (CLI, "model is chosen already", "without the plus"),
    "~model": ("model", "has no value"),
    "~loss": ("supervised training needs a loss", "loss=..."),
    "hydra/launcher=basci": ("hydra/launcher 'basci'", "did you mean basic?"),
    "+experiment=digit": (CLI, "experiment 'digit'", "did you mean digits"),
    "experiment=digits": ("+experiment=NAME",),
    "+experiment=": ("experiment ''", "digits"),
    "+experiment=digits experiment=diabetes": ("chosen twice", "digits, diabetes"),
    "+experiment=digits +experiment=diabetes": ("chosen twice", "digits, diabetes"),
    "+experiment=digits,diabetes": ("--multirun",),
    "+experiment=[digits,diabetes]": (CLI, "cannot be mixed", "--multirun"),
    "-m +experiment=glob(x*)": (CLI, "no experiment matches glob(x*)", "digits"),
    "-m model=mlp,mpl": (CLI, "there is no option of model 'mpl'", "did you mean mlp?"),
    "-m +experiment=digits,digitts": (CLI, "there is no experiment 'digitts'", "digits"),
    "-m optimizer=glob(addam*)": (CLI, "no option of optimizer matches glob(addam*)"),
    "-m optimizer.lr=interval(0,1)": (CLI, "needs a Hydra plug-in", "optimizer.lr=0.1,0.01"),
    "trainer.epochs=1,2": (CLI, "trainer.epochs=1,2 has several values", "--multirun"),
    "digits": ("'digits'", "did you mean +experiment=digits?"),
    "--experiment=digits": ("no flag --experiment=digits", "+experiment=NAME"),
    "spare=one": ("spare is not in the defaults list", "+spare=one"),
    "+spare=one": ("configs/spare/one.yaml:1:", "there is no key 'spare'"),
    "model=orphan": ("configs/model/orphan.yaml:2:", "no option of model 'parent'"),
    "model=circle": ("configs/model/circle.yaml", "leads back to itself"),
    "model=nothing": ("configs/model/nothing.yaml:1:", "model must be a mapping", "{}"),
    "+experiment=bad/orphan": ("experiments/bad/orphan.yaml:3:", "no experiment 'parent'"),
    "+experiment=bad/slash": ("experiments/bad/slash.yaml:3:", "write /model, got model"),
    "+experiment=bad/mapping": ("experiments/bad/mapping.yaml:2:", "must be a list"),
    "+experiment=bad/option": ("experiments/bad/option.yaml:3:", "'cnnn'", "did you mean cnn?"),
    "+experiment=bad/group": ("experiments/bad/group.yaml:3:", "'modle'", "did you mean model?"),
    "+experiment=bad/twice": ("experiments/bad/twice.yaml:3:", "override /model: mlp"),
    "+experiment=digits/": (CLI, "no experiment 'digits/'", "did you mean digits"),
    "+experiment=digits/x": ("no experiment 'digits/x'", "did you mean digits"),
    "model=mlp/": (CLI, "no option of model 'mlp/'", "did you mean mlp?"),
    "+experiment=bad/header": ("experiments/bad/header.yaml:1:", "# @package _global_"),
    "+experiment=bad/number": ("experiments/bad/number.yaml:2:", "defaults list", "got 3"),
    "model=number": ("configs/model/number.yaml:2:", "defaults list", "got 3"),
    # Wrong types
    "trainer.epochs=abc": (CLI, "trainer.epochs must be a whole number", "'abc'"),
    "trainer.epochs=1.5": (CLI, "trainer.epochs must be a whole number", "1.5"),
    "trainer.progress_bar=3.5": (CLI, "trainer.progress_bar must be true or false", "3.5"),
    "trainer.clip_grad_norm=big": (CLI, "trainer.clip_grad_norm must be a number", "'big'"),
    "trainer.amp=null": (CLI, "trainer.amp cannot be null"),
    "~trainer.epochs": (CLI, "trainer.epochs cannot be removed"),
    "monitor.include=abc": (CLI, "monitor.include must be a list"),
    "monitor.every=true": (CLI, "monitor.every", "True"),
    "optimizer.lr=abc": (CLI, "optimizer.lr must be float", "'abc'"),
    "optimizer.lr=null": (CLI, "optimizer.lr must be float", "null"),
    "optimizer.betas=[0.9]": (CLI, "optimizer.betas must be tuple", "[0.9]"),
    "scheduler=multi_step scheduler.milestones=3": (CLI, "scheduler.milestones", "Sequence[int]"),
    "scheduler._target_=mine.Net": (CLI, "scheduler must be one of trainkit.schedules", "Net"),
    "+optimizer.params.groups.a.lr=3": (CLI, "optimizer.params must be a mapping with a _target_"),
    "model=net model.width=abc": (CLI, "model.width must be int", "'abc'"),
    "data.batch_size=abc": (CLI, "data.batch_size must be", "'abc'"),
    "loss.components.l2.weight=abc": (CLI, "loss.components.l2.weight", "'abc'"),
    "+samples.x=3": (CLI, "samples.x must be a mapping with a _target_"),
    "model=several": ("configs/model/several.yaml", "must be a mapping", "[1, 2]"),
    "trainer=wordy": ("configs/trainer/wordy.yaml:2:", "trainer.epochs", "'many'"),
    "+experiment=bad/wrong_type": (
        "experiments/bad/wrong_type.yaml:3:", "trainer.epochs must be a whole number", "'many'",
    ),
    "+experiment=bad/scalar": ("experiments/bad/scalar.yaml:2:", "trainer must be a mapping"),
    "+experiment=bad/list": ("experiments/bad/list.yaml", "a mapping of keys, not a list"),
    "optimizer.lr=[0.1,0.2]": (CLI, "optimizer.lr must be float", "[0.1, 0.2]"),
    "optimizer.lr=${trainer}": (CLI, "optimizer.lr must be float", "'epochs': 20"),
    "samples=3": (CLI, "samples must be a mapping", "int"),
    "+loss.components.cross_entropy.loss.weight=heavy": (
        CLI, "loss.components.cross_entropy.loss.weight", "a list of numbers", "'heavy'",
    ),
    "+loss.components.cross_entropy.loss.weight=[1,2,3]": ("all 10 classes", "shape: [3]"),
    # Targets
    "model._target_=os.system": (CLI, "model._target_: os.system is refused"),
    "model._target_=builtins.eval": (CLI, "builtins.eval is refused"),
    "+metrics.x._target_=shutil.rmtree": (CLI, "metrics.x._target_: shutil.rmtree is refused"),
    "+metrics.x={_target_:subprocess.run,_partial_:true}": ("subprocess.run is refused",),
    "model._target_=Net": (CLI, "'Net' lacks its module in front"),
    "optimizer._target_=torch.optim.Adma": (CLI, "optimizer._target_", "'Adma'", "Adam"),
    "optimizer._target_=torhc.optim.Adam": (CLI, "there is no module 'torhc'"),
    "optimizer._target_=3": (CLI, "optimizer._target_ must be a dotted name", "3"),
    "optimizer._target_=torch.optim.SGD optimizer.betas=[0,0]": (CLI, "optimizer.betas", "SGD"),
    "model._target_=mine.Nett": (CLI, "mine has no 'Nett'", "did you mean Net?"),
    "~model._target_": ("model must be a mapping with a _target_", "'classes': 10"),
    "model=hasnt": ("configs/model/hasnt.yaml", "model must be a mapping with a _target_"),
    "model._target_=mine.Bare model.classes=3": ("model.classes: mine.Bare takes no 'classes'",),
    "model._target_=mine.Bare": ("the model has no trainable parameter",),
    "model._target_=mine": (CLI, "mine is not callable"),
    "model._target_=uses_missing.Net": (CLI, "importing uses_missing failed", "no_such_package"),
    "model._target_=leaves.Net": (CLI, "importing leaves failed: SystemExit: 3 (leaves.py:2)"),
    "model._target_=goes_round.Net": (CLI, "importing goes_round failed", "circular import"),
    "model._target_=latin.Net": (CLI, "importing latin failed", "latin.py"),
    "model._target_=mine.leave": (CLI, "model: what it names called sys.exit(7)"),
    "model._target_=mine.Hasty": (CLI, "model: AssertionError: too hasty (mine.py:24)"),
    "model={_target_:mine.Hasty,_partial_:true}": ("model is a group",),
    "model=later": ("model: AssertionError: too hasty (mine.py:24)",),
    "data._target_=mine.missing_file": (CLI, "data", "FileNotFoundError", "mine.py:21"),
    "engine._target_=trainkit.engines.supervised_engine": (CLI, "supervised_engines"),
    # Values that are missing or lead nowhere
    "model=unset": ("configs/model/unset.yaml:3:", "model.width has no value"),
    "model=dangling": ("configs/model/dangling.yaml:3:", "'model.withd'", "model.width?"),
    "model=lost": ("configs/model/lost.yaml:3: model.width: there is no key 'no.where'",),
    "model=unset_variable": ("configs/model/unset_variable.yaml:3: model.width", "'NO_SUCH_V'"),
    "model=unknown_resolver": ("configs/model/unknown_resolver.yaml:3: model.width", "'nope'"),
    "model=itself": ("configs/model/itself.yaml:3: model.width refers to itself",),
    "+experiment=bad/empty": ("experiments/bad/empty.yaml:3: trainer.epochs", "cannot be read"),
    "model=unread": ("configs/model/unread.yaml:3:", "cannot be read", "${trainer.epochs"),
    "trainer.epochs=${trainer.max_iteration}": (CLI, "trainer.epochs", "trainer.max_iterations?"),
    # Out of range
    "trainer.epochs=0": (CLI, "trainer.epochs must be 1 or more, got 0"),
    "trainer.epochs=null": (CLI, "trainer.epochs or trainer.max_iterations"),
    "trainer.seed=-1": (CLI, "trainer.seed must be 0 or more, got -1"),
    f"trainer.seed={2**63}": (CLI, "trainer.seed must be below 2**63", str(2**63)),
    "trainer.clip_grad_norm=-1": (CLI, "trainer.clip_grad_norm", "-1"),
    "trainer.amp=fp8": (CLI, "trainer.amp must be one of off, bf16, fp16, got 'fp8'"),
    "trainer.device=gpu": (CLI, "trainer.device", "'gpu'"),
    "trainer.device=mps": (CLI, "trainer.device", "'mps'", "torch was built without it"),
    "monitor.predictions=logit": (CLI, "monitor.predictions must be one of auto", "'logit'"),
    "sweep.on_failure=ask": (CLI, "sweep.on_failure must be one of continue, stop", "'ask'"),
    "sweep.on_failur=stop": (CLI, "did you mean sweep.on_failure?"),
    "name=a/b": ("name must be at most 64 letters", "got 'a/b'; did you mean a-b?"),
    "name=": ("name must be at most 64 letters", "got ''"),
    "data.validation=-0.1": (CLI, "data.validation", "shares, from 0 on", "-0.1"),
    "scheduler=reduce_on_plateau data.validation=0": ("needs validation data",),
    "handlers=early_stopping handlers.early_stopping.patience=0": (
        CLI, "handlers.early_stopping.patience must be 1 evaluation or more, got 0",
    ),
    "handlers=early_stopping handlers.early_stopping.metric=acc": (
        CLI, "handlers.early_stopping.metric", "'acc'", "nearest: accuracy",
    ),
    "monitor.every=0": (CLI, "monitor.every must be 1 or more, got 0"),
    "monitor.every=sometimes": (CLI, "monitor.every", "'sometimes'"),
    "monitor.budget=2": (CLI, "monitor.budget", "(0, 1]", "2"),
    "monitor.detail=all": (CLI, "monitor.detail must be one of", "'all'"),
    "checkpoint.mode=up": (CLI, "checkpoint.mode must be one of", "'up'"),
    "checkpoint.metric=acuracy": (CLI, "checkpoint.metric", "'acuracy'", "nearest: accuracy"),
    "optimizer.lr=-0.1": (CLI, "optimizer.lr: Invalid learning rate: -0.1"),
    "optimizer.betas=[0.9,2]": (CLI, "optimizer.betas", "2"),
    "optimizer.lr=inf": (CLI, "optimizer.lr must be finite, got inf"),
    "optimizer=sgd optimizer.nesterov=true optimizer.momentum=0": (CLI, "Nesterov momentum"),
    "optimizer=adamw_no_decay +optimizer.params.groups.no_decay.lrr=1": (
        CLI, "optimizer.params.groups.no_decay.lrr", "nearest: lr",
    ),
    "optimizer=adamw_no_decay +optimizer.params.groups.no_decay.lr=-1": (
        CLI, "optimizer.params.groups.no_decay.lr: Invalid learning rate: -1",
    ),
    "optimizer=adamw_no_decay optimizer.params.groups.no_decay.parameters=[x*]": (
        CLI, "there is no key", "+optimizer.params.groups.no_decay.parameters=... adds it",
    ),
    "optimizer=adamw_no_decay +optimizer.params.groups.no_decay.parameters=[x*]": (
        CLI, "optimizer.params.groups.no_decay.parameters: no parameter matches 'x*'",
    ),
    "monitor.include=[convv*]": (CLI, "monitor.include: no parameter or module", "'convv*'"),
    "monitor.exclude=[3]": (CLI, "monitor.exclude: no parameter or module", "'3'"),
    "data.test=0.9": (CLI, "data.validation and data.test must be shares", "0.9"),
    "data=csv data.target=y data.task=binary data.path=latin.csv": (
        "data.path: 'latin.csv' is no UTF-8 text",
    ),
    "data._target_=mine.empty": (CLI, "data", "the data set is empty"),
    "data.batch_size=0": (CLI, "data.batch_size must be 1 or more, got 0"),
    "data.validation=1.5": (CLI, "data.validation", "1.5"),
    "scheduler.warmup_iterations=-3": (CLI, "scheduler.warmup_iterations", "-3"),
    "scheduler=reduce_on_plateau scheduler.metric=acc": (CLI, "scheduler.metric", "accuracy"),
    "model=net model.width=0": (CLI, "model.width: width must be positive, got 0", "mine.py:7"),
    "model.activation=reluu": (CLI, "model.activation", "'reluu'", "relu"),
    "+experiment=bad/value": ("experiments/bad/value.yaml:3:", "optimizer.lr", "-1"),
    # Parts that do not fit together
    "data=diabetes": ("does not go through the model",),
    "loss=mse": ("configs/loss/mse.yaml:8:", "loss.components.mse", "[32, 10]"),
    "loss._target_=mine.vector": ("one number", "[32]"),
    "loss._target_=mine.vector loss.components.l2.weight=1": (
        CLI, "loss.components: mine.vector takes no 'components'", "loss.components.<name>.loss",
    ),
    "+loss.components.mine.loss._target_=mine.vector": (CLI, "_partial_=true"),
    "optimizer=adversarial": ("optimizer.generator", "the same parameters"),
    "optimizer._target_=torch.optim.LBFGS": (CLI, "optimizer", "needs a closure"),
    "engine=policy_gradient": ("engine", "model CNN", "observations of shape [1, 4]"),
    "+experiment=gan_digits trainer.amp=bf16": (CLI, "trainer.amp", "no meaning"),
    "+samples.x={_target_:mine.vector,_partial_:true}": ("samples.x", "needs y_pred, y"),
    "metrics=regression": (
        "metrics.mean_absolute_error", "[32, 10]", "int64 [32]", "choose another metric",
    ),
    # Files that are not YAML
    "+experiment=bad/unclosed": ("experiments/bad/unclosed.yaml:4:", "not YAML"),
    "+experiment=bad/tabs": ("experiments/bad/tabs.yaml:3:", "not YAML"),
    "model=unclosed": ("configs/model/unclosed.yaml:4:", "not YAML"),
    "+experiment=bad/zero": ("experiments/bad/zero.yaml:2: this is not YAML", "0x00"),
    "model=zero": ("configs/model/zero.yaml:3: this is not YAML", "0x00"),
    "model=latin": ("configs/model/latin.yaml:2: the byte 0xe9 is not UTF-8",),
    "+experiment=bad/latin": ("experiments/bad/latin.yaml:2: the byte 0xe9 is not UTF-8",),
    # Overrides and flags that cannot be read
    "foo": ("cannot read the override 'foo'", "key=value"),
    "=3": ("'=3' has no key",),
    "trainer.epochs=[1": ("cannot read the override 'trainer.epochs=[1'",),
    "--confg job": ("no flag --confg", "--config-"),
    "--cfg jobb": ("--cfg", "'jobb'", "'job'"),
    "--config-dir no/such/folder": ("no/such/folder", "not found"),
    "--config-path configs": ("--config-path", "must be absolute", "--config-dir configs"),
    "--cfg job --package modle": ("--package: there is no 'modle'", "model?"),
    "--experimental-rerun x": ("would read a pickle",),
    "--from": ("--from needs the folder of a run",),
    "--from optimizer.lr=3": ("no folder 'optimizer.lr=3'", "--from RUN_DIR KEY=VALUE"),
    "--from configs": ("'configs' is no run",),
    "-h x": ("cannot read the override 'x': write key=value",),
    "--config-name model/mlp": ("model/mlp is an option of model: write model=mlp",),
    "--config-name digits": ("digits is an experiment: write +experiment=digits",),
    "--config-dir more --config-name bare": ("lacks trainkit's own", "defaults: [config, _self_]"),
    "--config-name confg": ("there is no config 'confg'",),
    "hydra.run.dir=": (CLI, "hydra.run.dir is empty"),
    "hydra.run.dir=mine.py": ("mine.py",),
    "hydra.run.dir=mine.py/run": ("mine.py/run",),
}  # fmt: skip


def only_a_header(out: str) -> bool:
    """Whether no more was printed than what a run begins with, before its parts are looked at."""
    heads = ("experiment  ", "name  ", "folder  ", "device  ")
    return all(line.startswith(heads) for line in out.splitlines())


@pytest.mark.parametrize("arguments", TABLE)
def test_one_line_that_names_the_key_and_the_place(
    arguments: str, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(project.rglob("*"))
    done = call(capsys, "run", *arguments.split(" "))
    assert done.status == 2, done.err
    (line,) = done.err.splitlines()
    assert line.startswith("trainkit: ")
    for part in TABLE[arguments]:
        assert part in line, line
    assert only_a_header(done.out)
    left = {path for path in project.rglob("*") if "__pycache__" not in path.parts}
    assert left == set(before), "a refused run leaves nothing behind"


def test_the_default_run_is_no_bad_input(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The table means something only if the same call without the mistake goes through."""
    done = call(capsys, "run", "trainer.max_iterations=1", "trainer.progress_bar=false")
    assert done.status == 0, done.err


def test_a_broken_experiment_is_no_business_of_another(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    done = call(capsys, "run", "+experiment=own", "--cfg", "job")
    assert done.status == 0, done.err
    assert "mine.Net" in done.out


@pytest.mark.parametrize("arguments", [["rum"], ["+experiment=digits"], ["list", "digitts"], []])
def test_commands(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    done = call(capsys, *arguments)
    assert done.status == 2
    expected = {"rum": "did you mean run?", "+experiment=digits": "trainkit run +experiment=digits"}
    for word in arguments[:1]:
        (line,) = done.err.splitlines()
        assert line.startswith("trainkit: ")
        assert expected.get(word, "there is no group 'digitts'") in line


def test_an_existing_run_is_not_written_over(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "kept").mkdir()
    (project / "kept" / "run.json").write_text("{}")
    (project / "kept" / "run.log").write_text("old")
    done = call(capsys, "run", "hydra.run.dir=kept", "trainer.max_iterations=1")
    assert done.status == 2
    (line,) = done.err.splitlines()
    assert "already holds a run" in line
    assert "run:" not in done.out
    assert (project / "kept" / "run.log").read_text() == "old"


def test_a_refusal_in_an_empty_folder_leaves_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert call(capsys, "run", "optimizer.lr=-1").status == 2
    assert list(Path.cwd().iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("arguments", ["optimizer.lr=-1", "+experiment=bad/misspelt", "--confg x"])
def test_as_a_process(arguments: str, project: Path) -> None:
    done = process("run", *arguments.split(" "))
    assert done.status == 2
    (line,) = done.err.splitlines()
    assert line.startswith("trainkit: ")
    assert only_a_header(done.out)
