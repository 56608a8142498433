"""Passwords, tokens and keys, kept out of everything that a run writes or prints.

A value is secret by the name of its key (`db.password`, `api_key`) or by its own form (the tokens
of well-known services, a URL with `user:password@`). The run itself gets the true value.
"""

import re
from collections.abc import Mapping
from typing import Any

__all__ = [
    "MASK",
    "forget_secrets",
    "is_secret_key",
    "masked",
    "masked_config",
    "masked_override",
    "remember_override",
    "remember_secrets",
]

MASK = "***"

# What a secret is called, at the end of a key or in it.
_NAMES = {"password", "passwd", "pwd", "passphrase", "secret", "credential", "authorization"}
_ENDS = {"token", "bearer", "cookie", "apikey", "authtoken", "accesstoken", "privatekey"}
_KEYS = {"api", "access", "private", "secret", "account", "encryption", "signing", "auth", "ssh"}
# `password_file` and `min_password_length` name something about a secret, not the secret.
_ABOUT = {
    "file", "path", "name", "length", "env", "variable", "required", "policy", "type", "size",
    "count", "field", "id", "hash", "prompt", "manager",
}  # fmt: skip
# `pad_token`: a word of a vocabulary.
_VOCABULARY = {
    "pad", "eos", "bos", "unk", "sep", "cls", "mask", "start", "end", "stop", "begin", "special",
    "class", "next", "per", "padding", "unknown", "separator",
}  # fmt: skip

_TOKENS = re.compile(
    r"""(?<![A-Za-z0-9])(?:
        (?:hf|ghp|gho|ghu|ghs|ghr|glpat|npm|dckr_pat|shpat|pul|dop_v1)[_-][A-Za-z0-9_-]{16,}
        | github_pat_[A-Za-z0-9_]{20,}
        | sk-[A-Za-z0-9_-]{16,} | (?:sk|rk|pk)_(?:live|test)_[A-Za-z0-9]{10,}
        | (?:AKIA|ASIA)[0-9A-Z]{16} | AIza[0-9A-Za-z_-]{30,} | ya29\.[0-9A-Za-z_-]{20,}
        | xox[abeoprs]-[A-Za-z0-9-]{10,} | pypi-[A-Za-z0-9_-]{16,} | wandb_v\d_[A-Za-z0-9_]{16,}
        | eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*
    )""",
    re.VERBOSE,
)
_PRIVATE_KEY = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL
)
_URL = re.compile(r"(?<=://)[^\s/@:'\"]*:[^\s/@'\"]+(?=@)|(?<=://)[^\s/@:'\"]{16,}(?=@)")
_QUERY = re.compile(
    r"(?<=[?&])((?:[\w-]*(?:token|key|signature|secret|password)|sig)=)[^\s&'\"]+", re.IGNORECASE
)
_BEARER = re.compile(r"(?i)(\bbearer[ \t]+|\bauthorization\W{1,4}basic[ \t]+)[\w+/=.~-]{12,}")
_HOOK = re.compile(r"(?<=hooks\.slack\.com/services/)[\w/]+")
_SETTING = re.compile(
    r"""(?P<key>[A-Za-z][\w.\[\]-]*)(?P<sign>["']?[ \t]*(?:=(?!=)|:(?![/:=]))[ \t]*)"""
    r"""(?P<value>\$\{[^{}\n]*\}|"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|[^\s,;&"'{}\[\]()]++(?![(\[]))"""
)
_RANDOM = re.compile(r"(?=[^\d]*\d)(?=[^A-Za-z]*[A-Za-z])[A-Za-z0-9_+/=-]{20,}")
# `def login(token: str)` in a difference of code.
_TYPES = {"str", "int", "float", "bool", "bytes", "None", "Any", "null", "true", "false", "True"}
_INTERPOLATION = re.compile(r"\$\{[^{},]*\}")

# Secret values of this process, wherever they turn up in a text: in an error, in a log.
_known: set[str] = set()


def is_secret_key(key: str) -> bool:
    """Whether a key of this name holds a secret.

    Example:
        >>> [is_secret_key(key) for key in ("db.password", "logger.apiKey", "pad_token", "tokens")]
        [True, True, False, False]
    """
    parts = [part for part in re.split(r"[.\[\]/@\"']", key) if part and not part.isdigit()]
    return any(map(_names_secrets, parts[:-1])) or bool(parts and _ends_as_secret(parts[-1]))


def _names_secrets(part: str) -> bool:
    """Whether everything below this part of a key is secret: `credentials.user`."""
    words = _words(part)
    return bool(words) and words[-1].removesuffix("s") in _NAMES


def _ends_as_secret(part: str) -> bool:
    words = _words(part)
    if not words or words[-1] in _ABOUT:
        return False
    if any(word.removesuffix("s") in _NAMES for word in words):
        return True
    before = words[-2] if len(words) > 1 else ""
    if words[-1] == "token" and before in _VOCABULARY:
        return False
    if words[-1] == "tokens":
        return before in ("api", "auth", "access")
    return words[-1] in _ENDS or (words[-1] in ("key", "keys") and before in _KEYS)


def _words(part: str) -> list[str]:
    """The words of a name, whether joined by underscores or capitals."""
    return [w.lower() for w in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", part)]


def masked(text: str) -> str:
    """The text with every secret in it masked: by form, by the name in front, and what is known.

    Example:
        >>> masked("cannot open postgres://me:hunter2@host/db with api_key='abc'")
        "cannot open postgres://***@host/db with api_key='***'"
    """
    for value in sorted(_known, key=len, reverse=True):
        text = text.replace(value, MASK)
    text = _PRIVATE_KEY.sub(MASK, text)
    text = _URL.sub(MASK, text)
    text = _QUERY.sub(rf"\1{MASK}", text)
    text = _HOOK.sub(MASK, text)
    text = _BEARER.sub(rf"\1{MASK}", text)
    text = _TOKENS.sub(MASK, text)
    return _SETTING.sub(_setting, text)


def masked_config(value: Any, key: str = "") -> Any:
    """The same mappings, lists and values, with secrets masked; keys stay as they are.

    Example:
        >>> masked_config({"db": {"user": "me", "password": "hunter2", "port": 5}})
        {'db': {'user': 'me', 'password': '***', 'port': 5}}
    """
    if isinstance(value, Mapping):
        return {name: masked_config(inner, f"{key}.{name}") for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [masked_config(item, key) for item in value]
    if _is_secret(key, value):
        return MASK
    return masked(value) if isinstance(value, str) else value


def masked_override(text: str) -> str:
    """An override of the command line with its secrets masked.

    Example:
        >>> masked_override("+db.password=hunter2"), masked_override("optimizer.lr=0.1")
        ('+db.password=***', 'optimizer.lr=0.1')
    """
    key, equals, value = text.partition("=")
    if not equals:
        return masked(text)
    if _is_secret(key, value):
        return f"{key}={MASK}"
    return f"{key}={masked(value)}"


def remember_secrets(value: Any, key: str = "") -> None:
    """Know the secret values of a config from now on, wherever `masked` meets them in a text."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            remember_secrets(inner, f"{key}.{name}")
    elif isinstance(value, list | tuple):
        for item in value:
            remember_secrets(item, key)
    # A short one would take letters out of every other word.
    elif _is_secret(key, value) and len(str(value)) >= 5:
        _known.add(str(value))


def forget_secrets() -> None:
    """Know none any more: those of an earlier run in this process."""
    _known.clear()


def remember_override(text: str) -> None:
    """Know the secret of an override: an error may repeat the value alone."""
    key, _, value = text.lstrip("+~").partition("=")
    remember_secrets(value.strip("'\""), key)


def _is_secret(key: str, value: Any) -> bool:
    """Whether this is a secret by its key; an interpolation is only the name of one."""
    if value is None or isinstance(value, bool) or value in ("", "null", "???", MASK):
        return False
    text = str(value)
    if _INTERPOLATION.fullmatch(text):
        return False
    if is_secret_key(key):
        return not (isinstance(value, int | float) and key.lower().rstrip("]").endswith("token"))
    last = re.split(r"[._\[\]/@-]", key)[-1].lower()
    return last in ("key", "auth") and _RANDOM.fullmatch(text) is not None


def _setting(found: re.Match[str]) -> str:
    value = found["value"]
    quote = value[0] if value[0] in "\"'" else ""
    # `password: ***` would be no YAML any more.
    quote = quote or ("'" if ":" in found["sign"] else "")
    if value in _TYPES or not _is_secret(found["key"], value.strip("\"'")):
        return found[0]
    return f"{found['key']}{found['sign']}{quote}{MASK}{quote}"
