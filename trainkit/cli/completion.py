"""`trainkit completion`: Hydra's completion of overrides, behind trainkit's commands."""

from collections.abc import Sequence

from trainkit.cli.failure import UsageError

__all__ = ["main"]

# Hydra answers for the line without the command: it completes `trainkit +experiment=`.
_BASH = """\
_trainkit_complete() {
    local IFS=$'\\n'
    if [ "$COMP_CWORD" -eq 1 ]; then
        COMPREPLY=( $(compgen -W $'run\\nlist\\nboard\\nresume\\ncompletion' -- "${COMP_WORDS[1]}") )
    elif [ "${COMP_WORDS[1]}" = run ]; then
        local line="${COMP_LINE#*run }"
        COMPREPLY=( $(COMP_LINE="trainkit $line" COMP_POINT=${#line} \\
            "${COMP_WORDS[0]}" run -sc query=bash 2>/dev/null) )
        local word="${COMP_WORDS[COMP_CWORD]}" before
        before="${line##* }"; before="${before%"$word"}"
        COMPREPLY=( "${COMPREPLY[@]#"$before"}" )
        [[ "${COMPREPLY[0]}" == *[=/.] ]] && compopt -o nospace
    elif [ "${COMP_WORDS[1]}" = board ] || [ "${COMP_WORDS[1]}" = resume ]; then
        COMPREPLY=( $(compgen -d -- "${COMP_WORDS[COMP_CWORD]}") )
    fi
}
complete -F _trainkit_complete trainkit
"""


def main(arguments: Sequence[str]) -> int:
    """Print the script that a shell evaluates.

    Raises:
        UsageError: It is not bash.
    """
    if list(arguments) != ["bash"]:
        raise UsageError(
            f"completion is there for bash, got {' '.join(arguments) or 'nothing'}: "
            'eval "$(trainkit completion bash)"'
        )
    print(_BASH)
    return 0
