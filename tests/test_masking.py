"""Which keys and values are secret, and that nothing else is taken for one."""

import json

import pytest

from trainkit.masking import (
    forget_secrets,
    is_secret_key,
    masked,
    masked_config,
    masked_override,
    remember_secrets,
)


@pytest.fixture(autouse=True)
def _nothing_known() -> None:
    forget_secrets()


SECRET_KEYS = [
    "password", "db.password", "db.passwd", "PASSWORD", "logger.api_key", "logger.apiKey", "APIKEY",
    "token", "hf_token", "wandb.access_token", "authToken", "client_secret", "secrets[0]",
    "credentials", "credentials.user", "aws.secret_access_key", "private_key", "passphrase",
    "db.userPassword", "headers.Authorization", "session_cookie", "api_keys",
]  # fmt: skip
PLAIN_KEYS = [
    "tokens", "num_tokens", "max_token_length", "tokenizer", "pad_token", "eos_token", "keys",
    "model.num_key_value_heads", "key_dim", "password_file", "secret_name", "optimizer.lr", "seed",
    "author", "monitor.every", "passes", "token_embedding", "groups.no_decay.parameters", "",
]  # fmt: skip

SECRET_VALUES = [
    "hf_abcdefghijklmnopqrstuvwxyz", "ghp_0123456789abcdefghijABCDEFGHIJ",
    "sk-proj-abcdefghijklmnop1234567890", "AKIAIOSFODNN7EXAMPLE", "xoxb-123456789012-abcdefghij",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N",
    "glpat-abcdefghijklmnopqrst", "AIzaSyA1234567890abcdefghijklmnopqrstu",
]  # fmt: skip
PLAIN_VALUES = [
    "trainkit.models.CNN", "runs/digits/2026-11-26_01-22-45", "https://example.org/a?b=c",
    "s3://bucket/key", "sk-learn", "tokens.*", "${oc.env:API_KEY}", "me@example.org",
    "4d7a214614ab2935c943f9e0ff69d22eadbb8f32", "trainer.epochs: 3", "a: 1, b=2",
    "http://127.0.0.1:6006/ shows runs", "optimizer.lr=1e-3",
]  # fmt: skip


@pytest.mark.parametrize("key", SECRET_KEYS)
def test_secret_by_name(key: str) -> None:
    assert is_secret_key(key)
    assert masked_override(f"+{key}=hunter2") == f"+{key}=***"
    assert "hunter2" not in masked(f"it was {key}='hunter2'")
    assert masked_config({key: "hunter2"}) == {key: "***"}


@pytest.mark.parametrize("key", PLAIN_KEYS)
def test_not_secret_by_name(key: str) -> None:
    assert not is_secret_key(key)
    assert masked_override(f"{key}=hunter2") == f"{key}=hunter2"
    assert masked_config({key: ["hunter2", 3, None]}) == {key: ["hunter2", 3, None]}


@pytest.mark.parametrize("value", SECRET_VALUES)
def test_secret_by_form(value: str) -> None:
    assert masked_override(f"data.source={value}") == "data.source=***"
    assert value not in masked(f"the server refused {value}, try again")
    assert masked_config({"a": [value]}) == {"a": ["***"]}


@pytest.mark.parametrize("value", PLAIN_VALUES)
def test_not_secret_by_form(value: str) -> None:
    assert masked(value) == value


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("postgres://me:pa55@db:5432/x", "postgres://***@db:5432/x"),
        ("https://ghp_0123456789abcdefghij@github.com/a/b", "https://***@github.com/a/b"),
        ("https://x/y?sig=abc%2F&v=1", "https://x/y?sig=***&v=1"),
        ("Authorization: Bearer abcdefghijkl.mnop", "Authorization: '***' ***"),
        ("+db={user: me, password: hunter2}", "+db={user: me, password: '***'}"),
        ('+ api_key = "abc"', '+ api_key = "***"'),
        ("password=getpass()", "password=getpass()"),
        ("def login(token: str)", "def login(token: str)"),
        ("api_key=${oc.env:KEY}", "api_key=${oc.env:KEY}"),
        ("api_key=${oc.env:KEY,abc}", "api_key=***"),
        ("-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----", "***"),
    ],
)
def test_within_a_text(text: str, expected: str) -> None:
    shown = masked(text)
    assert shown == expected or ("***" in expected and shown.startswith(expected[:20]))
    assert not any(word in shown for word in ("hunter2", "pa55", "abc%2F", "mnop", "MIIE"))


def test_what_is_known_is_masked_without_its_key() -> None:
    remember_secrets({"db": {"password": "correct horse", "host": "localhost", "pin": 1}})
    assert masked("wrong password for me: correct horse") == "wrong password for me: ***"
    assert masked("localhost") == "localhost"


def test_numbers_are_not_taken_for_tokens_but_for_passwords() -> None:
    config = {"token": 512, "password": 123456, "a": {"token": None}}
    assert masked_config(config) == {"token": 512, "password": "***", "a": {"token": None}}
    json.dumps(masked_config(config))
