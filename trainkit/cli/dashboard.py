"""The process that `trainkit board` becomes: TensorBoard, without its notices about TensorFlow."""

import socket
import sys
import threading
import time
import webbrowser
from collections.abc import Sequence
from urllib.parse import urlsplit

__all__ = ["main"]


def main(arguments: Sequence[str]) -> None:
    """Serve until Ctrl-C.

    Args:
        arguments: `--open` and an address, if a browser is to be opened there; then TensorBoard's.
    """
    from absl import app, logging
    from tensorboard import default, program
    from tensorboard.data import server_ingester

    given = list(arguments)
    if given[:1] == ["--open"]:
        threading.Thread(target=_open, args=(given[1],), daemon=True).start()
        given = given[2:]
    # Said to TensorBoard, it does not explain it to the user.
    try:
        server_ingester.get_server_binary()
        given += ["--load_fast", "true"]
    except server_ingester.NoDataServerError:
        given += ["--load_fast", "false"]
    logging.set_verbosity(logging.WARNING)
    tensorboard = program.TensorBoard(plugins=default.get_plugins())
    app.run(tensorboard.main, argv=["tensorboard", *given], flags_parser=tensorboard.configure)


def _open(address: str) -> None:
    """Open the browser once somebody answers."""
    host, _, port = urlsplit(address).netloc.rpartition(":")
    until = time.monotonic() + 60
    while time.monotonic() < until:
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=1).close()
        except OSError:
            time.sleep(0.1)
            continue
        if not webbrowser.open(address):
            print(f"trainkit: there is no browser here; open {address}", file=sys.stderr)
        return


if __name__ == "__main__":
    main(sys.argv[1:])
