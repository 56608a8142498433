"""`trainkit completion`: Hydra's completion of overrides, behind trainkit's commands."""

import os
from collections.abc import Sequence

from trainkit.cli.failure import UsageError

__all__ = ["forget_the_command", "is_asked", "is_installing", "main"]

_INSTALL = """\
_trainkit_flags() {
    case "$1" in
        run) echo "--multirun --from --cfg --package --resolve --info --config-name --config-dir" \\
            "--config-path --help --hydra-help --version" ;;
        board) echo "--port --host --open --help" ;;
        *) echo "--help" ;;
    esac
}
_trainkit_complete() {
    local IFS=$' \\t\\n' word="${COMP_WORDS[COMP_CWORD]}" typed="${COMP_LINE:0:COMP_POINT}"
    local found cut
    COMPREPLY=()
    if [ "$COMP_CWORD" -eq 1 ]; then
        COMPREPLY=( $(compgen -W "run list help board completion" -- "$word") )
    elif [ "${COMP_WORDS[1]}" = run ] && [[ "${COMP_WORDS[COMP_CWORD-1]}" = --from ]]; then
        COMPREPLY=( $(compgen -d -- "$word") )
    elif [[ "$word" = -* ]]; then
        COMPREPLY=( $(compgen -W "$(_trainkit_flags "${COMP_WORDS[1]}")" -- "$word") )
    elif [ "${COMP_WORDS[1]}" = run ]; then
        # bash cuts words at = and :, Hydra does not; take what bash has kept off again.
        found=$(COMP_LINE="$typed" "${COMP_WORDS[0]}" run -sc query=bash 2>/dev/null)
        cut="${typed##*[[:space:]]}"
        case "$COMP_WORDBREAKS" in *=*) cut="${cut%"${cut##*[=:]}"}" ;; *) cut="" ;; esac
        for found in $found; do COMPREPLY+=( "${found#"$cut"}" ); done
        # A key goes on with its value, an option is complete.
        [[ "${COMPREPLY[0]}" == *[=./] ]] && compopt -o nospace 2>/dev/null
    else
        COMPREPLY=( $(compgen -d -- "$word") )
    fi
}
complete -F _trainkit_complete trainkit
"""

_UNINSTALL = """\
complete -r trainkit 2>/dev/null
unset -f _trainkit_complete _trainkit_flags
"""


def main(arguments: Sequence[str]) -> int:
    """Print what a shell evaluates: `bash`, or Hydra's `-sc install=bash`, `-sc uninstall=bash`.

    Raises:
        UsageError: It is not bash.
    """
    if arguments and arguments[0] in ("-h", "--help"):
        print('usage: trainkit completion bash\n\nIn bash: eval "$(trainkit completion bash)"')
        return 0
    given = [word for word in arguments if word not in ("-sc", "--shell_completion")]
    action, _, shell = given[0].rpartition("=") if len(given) == 1 else ("", "", "")
    if shell != "bash":
        raise UsageError(
            f"completion is there for bash, got {' '.join(given) or 'nothing'}: "
            'eval "$(trainkit completion bash)"'
        )
    print(_UNINSTALL if action == "uninstall" else _INSTALL, end="")
    return 0


def is_asked(arguments: Sequence[str]) -> bool:
    """Whether these are arguments of Hydra's completion."""
    return "-sc" in arguments or "--shell_completion" in arguments


def is_installing(arguments: Sequence[str]) -> bool:
    """Whether the shell is being told how to ask, which is another thing with commands."""
    return is_asked(arguments) and any(
        word.startswith(("install=", "uninstall=")) for word in arguments
    )


def forget_the_command() -> None:
    """Hydra completes a line without commands: `trainkit run +exp` is `trainkit +exp` to it."""
    words = os.environ.get("COMP_LINE", "").split(" ", 2)
    if len(words) > 2 and words[1] == "run":
        os.environ["COMP_LINE"] = f"{words[0]} {words[2]}"
