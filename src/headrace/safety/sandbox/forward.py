"""Runs inside the sandbox, alone: passes connections on to the proxy's socket, starts the command.

Called as `python -I -S forward.py FILTER_FD PORT SOCKET WORD...`. The command gets the filter of
system calls, so it cannot reach the socket itself; this helper has none, so it makes itself
unreachable for the command's debuggers before that starts. Standard library only.
"""

import ctypes
import os
import socket
import struct
import sys
import threading

_SET_DUMPABLE, _SET_NO_NEW_PRIVS, _SET_SECCOMP, _FILTER_MODE = 4, 38, 22, 2
_INSTRUCTION_BYTES = 8
_BYTES = 1 << 16


def main(words: list[str]) -> None:
    """Listen, part in two, become the command."""
    fd, port, path, *command = words
    program = b""
    while part := os.read(int(fd), _BYTES):
        program += part
    os.close(int(fd))
    listener = socket.create_server(("127.0.0.1", int(port)), backlog=64)
    library = ctypes.CDLL(None, use_errno=True)
    library.prctl(_SET_DUMPABLE, 0, 0, 0, 0)
    if os.fork() == 0:
        null = os.open(os.devnull, os.O_RDWR)
        for stream in range(3):
            os.dup2(null, stream)
        _serve(listener, path)
    listener.close()
    _confine(library, program)
    os.execv(command[0], command)  # noqa: S606 - the command itself


def _confine(library: ctypes.CDLL, program: bytes) -> None:
    code = ctypes.create_string_buffer(program, len(program))
    packed = struct.pack("HxxxxxxP", len(program) // _INSTRUCTION_BYTES, ctypes.addressof(code))
    filled = ctypes.create_string_buffer(packed, len(packed))
    done = library.prctl(_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
    if not done or library.prctl(_SET_SECCOMP, _FILTER_MODE, ctypes.byref(filled), 0, 0) != 0:
        sys.exit("bwrap: the filter of system calls was refused")


def _serve(listener: socket.socket, path: str) -> None:
    while True:
        inner, _ = listener.accept()
        threading.Thread(target=_connect, args=(inner, path), daemon=True).start()


def _connect(inner: socket.socket, path: str) -> None:
    outer = socket.socket(socket.AF_UNIX)
    try:
        outer.connect(path)
    except OSError:
        inner.close()
        return
    back = threading.Thread(target=_pump, args=(outer, inner), daemon=True)
    back.start()
    _pump(inner, outer)
    back.join()
    inner.close()
    outer.close()


def _pump(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(_BYTES):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        return


if __name__ == "__main__":
    main(sys.argv[1:])
