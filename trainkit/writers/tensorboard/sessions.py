"""The start and the end of a session: a row of TensorBoard's page HPARAMS."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from trainkit.writers.tensorboard.protobuf import utf8

if TYPE_CHECKING:
    from tensorboard.compat.proto.summary_pb2 import Summary

__all__ = ["session_end", "session_start"]


def session_start(
    wall_time: float, hparams: Mapping[str, bool | float | str], name: str = ""
) -> "Summary.Value":
    """A value that starts a session.

    No EXPERIMENT value is written: TensorBoard uses the first one that it finds for all runs.
    Without one it computes the columns from the sessions.

    Args:
        wall_time: When the run started, in seconds since the epoch.
        hparams: Column → value.
        name: Of the row; sessions of the same name become one row. Empty: the name of the folder.
    """
    from tensorboard.plugins.hparams import metadata, plugin_data_pb2

    started = plugin_data_pb2.SessionStartInfo(start_time_secs=wall_time, group_name=_text(name))
    for key, value in hparams.items():
        field = started.hparams[_text(key)]
        if isinstance(value, bool):
            field.bool_value = value
        elif isinstance(value, str):
            field.string_value = _text(value)
        else:
            field.number_value = value
    return _value(metadata.SESSION_START_INFO_TAG, session_start_info=started)


def session_end(wall_time: float, outcome: str = "") -> "Summary.Value":
    """A value that ends a session.

    Args:
        wall_time: When the run ended, in seconds since the epoch.
        outcome: `completed` is a success, anything else a failure; empty: not known.
    """
    from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2

    status = api_pb2.STATUS_UNKNOWN
    if outcome:
        status = api_pb2.STATUS_SUCCESS if outcome == "completed" else api_pb2.STATUS_FAILURE
    ended = plugin_data_pb2.SessionEndInfo(status=status, end_time_secs=wall_time)
    return _value(metadata.SESSION_END_INFO_TAG, session_end_info=ended)


def _value(tag: str, **content: Any) -> "Summary.Value":
    from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
    from tensorboard.plugins.hparams import metadata, plugin_data_pb2

    data = plugin_data_pb2.HParamsPluginData(version=metadata.PLUGIN_DATA_VERSION, **content)
    plugin = SummaryMetadata.PluginData(
        plugin_name=metadata.PLUGIN_NAME, content=data.SerializeToString()
    )
    value = Summary.Value(tag=tag, metadata=SummaryMetadata(plugin_data=plugin))
    value.tensor.CopyFrom(metadata.NULL_TENSOR)
    return value


def _text(text: str) -> str:
    return utf8(text).decode()
