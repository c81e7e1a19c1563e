"""The command `harness` as a file, completed by `forked_process.command_file`: forks a process that is the command."""

import json
import os
import signal
import socket
import sys

request = json.loads("REQUEST")
request |= {"folder": os.getcwd(), "environment": dict(os.environ)}  # noqa: PTH109 - without the import
request["command"] += sys.argv[1:]
connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
connection.connect("SOCKET")
socket.send_fds(connection, [b" "], [0, 1, 2])
connection.sendall(json.dumps(request).encode() + b"\n")
answers = connection.makefile()
pid = int(answers.readline())
for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
    signal.signal(number, lambda given, _: os.kill(pid, given))
code = os.waitstatus_to_exitcode(int(answers.readline()))
if code < 0:
    signal.signal(-code, signal.SIG_DFL)
    os.kill(os.getpid(), -code)
sys.exit(code)
