"""A study in TensorBoard's HParams tab: a table of trials and parallel coordinates. Needs no TensorFlow.

``tensorboard.plugins.hparams.summary`` imports TensorFlow; the protocol buffers behind it do not. The tab joins
sessions of one name and averages their figures, and leaves out of its parallel coordinates each trial that lacks a
value: so each trial has a name of its own, and a parameter that it does not have is "-".
"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from lightning_posttrain.tuning.outputs.events import scalar
from lightning_posttrain.tuning.space import Range, distinct, range_of
from lightning_posttrain.tuning.wording import on_test

if TYPE_CHECKING:
    from lightning_posttrain.tuning.result import Study, Trial

MISSING = "-"
OWN = "study/"
"""Before the tags of figures: under the tag of a curve they would erase its points, as they stand at step 0."""


class Session(NamedTuple):
    """What the tab is told of a trial.

    Args:
        name: of its row, no other's in any study.
        params: values, ``"-"`` where the trial has none.
        figures: finite numbers by tag.
        status: ``"running"``, ``"complete"``, ``"pruned"`` or ``"failed"``.
        seconds: how long it took.
    """

    name: str
    params: dict[str, Any]
    figures: dict[str, float]
    status: str
    seconds: float

    @property
    def told(self) -> str:
        """All of it as text."""
        return json.dumps(self, default=str)


def sessions(study: Study) -> dict[int, Session]:
    """What the tab shows, by number of the trial: those that began, of one that was repeated the last alone."""
    shown = shown_trials(study)
    names = list(dict.fromkeys([*study.space, *(name for trial in shown for name in trial.params)]))
    as_text = {name for name in names if _is_text(name, study, shown)}
    test = tested_by_all(study)
    return {trial.number: _session(study, trial, names, as_text, test) for trial in shown}


def shown_trials(study: Study) -> list[Trial]:
    """Those that began and were not repeated."""
    repeated = {trial.again for trial in study.trials}
    return [trial for trial in study.trials if trial.status != "waiting" and trial.number not in repeated]


def tested_by_all(study: Study) -> str | None:
    """The name of the monitored quantity on test, where every trial with a value has it."""
    valued = [trial for trial in shown_trials(study) if trial.status != "failed" and trial.shown is not None]
    names = {on_test(study.monitor, trial.test) for trial in valued}
    return names.pop() if len(names) == 1 else None


def _session(study: Study, trial: Trial, names: list[str], as_text: set[str], test: str | None) -> Session:
    params = {name: _cell(trial.params.get(name, MISSING), text=name in as_text) for name in names}
    name = f"{study.name} {trial.number}" + (" (pruned)" if trial.status == "pruned" else "")
    figures = {f"{OWN}{study.monitor}": trial.shown} if trial.status in ("complete", "pruned") else {}
    if test is not None and figures:
        figures[f"{OWN}{test}"] = trial.test.get(test)
    finite = {tag: value for tag, value in figures.items() if value is not None and abs(value) < float("inf")}
    return Session(name, params, finite, trial.status, trial.seconds or 0.0)


def _is_text(name: str, study: Study, shown: list[Trial]) -> bool:
    """Whether the values of a parameter go as text: where one is, or a trial has none."""
    return _kind(_choices(name, study, shown)) is str or any(name not in trial.params for trial in shown)


def _choices(name: str, study: Study, shown: list[Trial]) -> list[Any] | Range:
    tried = [trial.params[name] for trial in shown if name in trial.params]
    found = range_of(study.space.get(name, []))
    numbers = all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in tried)
    if found is not None and numbers:
        return found._replace(low=min([found.low, *tried]), high=max([found.high, *tried]))
    return distinct([*(study.space.get(name, []) if found is None else []), *tried])


def _kind(choices: list[Any] | Range) -> type:
    """``bool``, ``float`` for numbers, or ``str``."""
    if isinstance(choices, Range):
        return float
    kinds = {float if type(choice) is int else type(choice) for choice in choices}
    return kinds.pop() if len(kinds) == 1 and kinds <= {bool, float} else str


def _cell(value: Any, *, text: bool) -> Any:
    return str(value) if text or not isinstance(value, (bool, int, float)) else value


def experiment(study: Study) -> tuple[str, Any]:
    """The parameters with their domains and the figures, as text and as a summary; there is one in a log folder."""
    from tensorboard.plugins.hparams import api_pb2, metadata

    shown = shown_trials(study)
    names = list(dict.fromkeys([*study.space, *(name for trial in shown for name in trial.params)]))
    text = {name: _is_text(name, study, shown) for name in names}
    choices = {name: _choices(name, study, shown) for name in names}
    test = tested_by_all(study)
    tags = [study.monitor, *([] if test is None else [test])]
    content = api_pb2.Experiment(
        hparam_infos=[_info(name, choices[name], text=text[name]) for name in names],
        metric_infos=[
            api_pb2.MetricInfo(name=api_pb2.MetricName(tag=f"{OWN}{tag}"), display_name=tag)
            for tag in dict.fromkeys(tags)
        ],
        time_created_secs=time.time(),
    )
    told = json.dumps([choices, text, tags], default=str)
    return told, _summary(metadata.EXPERIMENT_TAG, experiment=content)


def _info(name: str, choices: list[Any] | Range, *, text: bool) -> Any:
    from tensorboard.plugins.hparams import api_pb2

    info = api_pb2.HParamInfo(name=name)
    kinds = {bool: api_pb2.DATA_TYPE_BOOL, float: api_pb2.DATA_TYPE_FLOAT64, str: api_pb2.DATA_TYPE_STRING}
    info.type = kinds[str if text else _kind(choices)]
    if text and isinstance(choices, Range):
        return info
    if isinstance(choices, Range):
        info.domain_interval.min_value, info.domain_interval.max_value = choices.low, choices.high
    else:
        info.domain_discrete.extend(_cell(choice, text=text) for choice in choices)
    return info


def summaries(session: Session) -> list[tuple[int, Any]]:
    """The summaries of a trial: parameters, figures, and how it ended, if it did."""
    from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2

    ends = time.time()
    start = plugin_data_pb2.SessionStartInfo(group_name=session.name, start_time_secs=ends - session.seconds)
    for name, value in session.params.items():
        start.hparams[name].CopyFrom(_value(value))
    found = [(0, _summary(metadata.SESSION_START_INFO_TAG, session_start_info=start))]
    found += [(0, scalar(tag, value)) for tag, value in session.figures.items()]
    if session.status != "running":
        status = api_pb2.STATUS_FAILURE if session.status == "failed" else api_pb2.STATUS_SUCCESS
        end = plugin_data_pb2.SessionEndInfo(status=status, end_time_secs=ends)
        found.append((0, _summary(metadata.SESSION_END_INFO_TAG, session_end_info=end)))
    return found


def _value(value: Any) -> Any:
    from google.protobuf.struct_pb2 import Value

    if isinstance(value, bool):
        return Value(bool_value=value)
    return Value(number_value=value) if isinstance(value, (int, float)) else Value(string_value=value)


def _summary(tag: str, **content: Any) -> Any:
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.plugins.hparams import metadata, plugin_data_pb2

    data = plugin_data_pb2.HParamsPluginData(version=metadata.PLUGIN_DATA_VERSION, **content)
    about = metadata.create_summary_metadata(data)
    return Summary(value=[Summary.Value(tag=tag, metadata=about, tensor=metadata.NULL_TENSOR)])
