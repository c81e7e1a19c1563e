"""What is a stack trace in an error message, and what only looks like one."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from harness.contract.rules.stack_traces import stack_trace
from tests.cases import all_cases

TRACES = {
    "python": 'Traceback (most recent call last):\n  File "/srv/app.py", line 3, in run\n    1 / 0\nZeroDivisionError',
    "python without its header": 'boom\n  File "/srv/app.py", line 3, in <module>\n    1 / 0',
    "python group": "  + Exception Group Traceback (most recent call last):\n  |   File",
    "java": "java.lang.IllegalStateException: boom\n\tat com.example.App$Run.go(App.java:12)\n\t... 3 more",
    "java module": "boom\n\tat java.base/java.lang.Thread.run(Thread.java:833)",
    "java native": "boom\n\tat sun.reflect.NativeMethodAccessorImpl.invoke0(Native Method)",
    "java constructor": "at com.example.App.<init>(App.java:9)",
    "java lambda": "\tat com.example.App$$Lambda$14/0x0000000800066840.run(Unknown Source)",
    "kotlin": "\tat com.example.AppKt$main$1.invokeSuspend(App.kt:8)",
    "scala": "\tat scala.collection.immutable.List.foreach(List.scala:333)",
    "one java frame in a sentence": "failed: NullPointerException at com.example.App.run(App.java:12)",
    "node": "Error: boom\n    at Object.run (/srv/app.js:10:5)\n    at main.js:1:1",
    "node in one line": "Error: boom at Object.run (/srv/app.js:10:5) at async main (/srv/main.js:3:1)",
    "node internal": "boom\n    at Module._compile (node:internal/modules/cjs/loader:1105:14)",
    "node anonymous": "boom\n    at Object.<anonymous> (C:\\srv\\app.js:1:7)",
    "node module": "boom\n    at file:///srv/app.mjs:3:9",
    "node async": "boom\n    at async Promise.all (index 0)\n    at async run (/srv/app.ts:4:3)",
    "deno": "boom\n    at main (file:///app/main.ts:3:9)",
    "bun": "boom\n      at run (/app/index.ts:3:9)",
    "bundled": "boom\n    at eval (webpack-internal:///./src/app.js:3:9)",
    "go": "panic: boom\n\ngoroutine 1 [running]:\nmain.main()\n\t/src/main.go:12 +0x1d\nexit status 2",
    "go waiting": "goroutine 34 [chan receive, 2 minutes]:\nmain.wait()",
    "go errors": "boom\nmain.run\n\t/src/main.go:12\nruntime.main\n\t/usr/local/go/src/runtime/proc.go:250",
    "ruby": "app.rb:12:in `run': boom (RuntimeError)\n\tfrom app.rb:15:in `<main>'",
    "ruby 3.4": "/srv/app.rb:12:in 'Object#run'",
    "php": "Exception: boom in /srv/app.php:12\nStack trace:\n#0 /srv/app.php(20): run()\n#1 {main}",
    "php internal": "#0 [internal function]: App->run()",
    "dotnet": "System.Exception: boom\n   at App.Program.Main(String[] args) in /src/Program.cs:line 12",
    "dotnet without files": "boom\n   at System.Threading.Tasks.Task.Execute()\n   at App.Worker.Run(Int32 id)",
    "dotnet async": "boom\n   at App.Worker.<RunAsync>d__3.MoveNext() in C:\\src\\Worker.cs:line 41",
    "dotnet marker": "--- End of stack trace from previous location ---",
    "rust": "thread 'main' panicked\nstack backtrace:\n   0: rust_begin_unwind\n             at /rustc/x/std.rs:5:5",
    "elixir": "** (RuntimeError) boom\n    (app 0.1.0) lib/app.ex:12: App.run/1",
    "c": "#0  0x00005555 in main () at a.c:3",
    "perl": "boom at a.pl line 3.\n\tmain::run(1) called at a.pl line 9",
    "lua": "a.lua:3: boom\nstack traceback:\n\ta.lua:3: in main chunk",
}
NO_TRACES = (
    "Unexpected token at offset (1:5)",
    "parse error at position (12:7)",
    "invalid value at line (3:4), column (5)",
    "Unexpected token } in JSON at position 10 (line 1 column 11)",
    "Expecting value: line 1 column 1 (char 0)",
    "JSON parse error at $.items[3] (1:5)",
    "yaml: line 3: mapping values are not allowed in this context",
    'while parsing a block mapping, in "<unicode string>", line 1, column 1',
    'File "a.txt" has no line 3',
    'File "config.yaml", line 3, column 5: unexpected key',
    'could not read File "input.csv", line 12',
    "config.js:10:5: unexpected token",
    "syntax error at main.js:1:1",
    "src/app.ts:10:5 - error TS2322: not assignable",
    "the generated file main.py:12: incompatible types",
    "main.go:12:3: undefined: x",
    "error at app.rb:12",
    "see /srv/data/report.php(12)",
    "cannot connect at db.internal (10.0.0.7:5432)",
    "connection refused at redis (redis:6379)",
    "the request to http://agent.example.com:8080/a(b:8080) failed",
    "at https://agent.example.com:8443 (10.0.0.1:8443)",
    "look at section 3 (page 12)",
    "the meeting at Room.B (12:30) was cancelled",
    "at 10:15",
    "stopped at 10:15:30 (10:15:30.123)",
    "at 2026-11-29T10:15:30Z (12:30:01)",
    "the ratio is at most (3:2)",
    "the goroutine 7 [sic] was stopped",
    "look at Foo.bar (see the manual)",
    "call it at app.run(3)",
    "in step #0 of the plan: reading\n#1 writing",
    "ticket #12 (urgent): printer",
    "Stack trace: see log entry 4711",
    "a stack trace was written to the log",
    "at least (1:1)\nat most (2:1)",
    "verse at John (3:16:1)",
)


@all_cases("text", TRACES.values(), ids=TRACES)
def test_a_trace_is_found(text: str) -> None:
    frame = stack_trace({"type": "error", "message": text})
    assert frame
    assert frame in text
    # In a list of lines, in a nested field, and escaped twice.
    assert stack_trace({"error": {"details": [text]}})
    assert stack_trace({"message": json.dumps(text)[1:-1]})


@all_cases("text", NO_TRACES)
def test_a_position_a_port_and_a_time_are_not_a_trace(text: str) -> None:
    assert stack_trace({"type": "error", "message": text}) is None
    assert stack_trace({"message": f"the tool failed:\n    {text}\nTry again."}) is None


@pytest.mark.parametrize(
    ("value", "is_trace"),
    [
        ({"stackTrace": [{"methodName": "run", "fileName": "App.java", "lineNumber": 12}]}, True),
        ({"cause": {"stack_trace": [{"function": "run", "lineno": 3}]}}, True),
        ({"errors": [{"traceback": [{"name": "f", "line": 3}]}]}, True),
        ({"stack": []}, False),
        ({"stack": "see the log"}, False),
        ({"trace": "4bf92f3577b34da6a3ce929d0e0e4736"}, False),
        ({"traceId": "1:5"}, False),
        ({"errors": [{"line": 3, "column": 5, "message": "unexpected token"}]}, False),
        ({"stack": [{"service": "search", "version": "1.2"}]}, False),
    ],
)
def test_a_serialized_exception(value: dict[str, Any], is_trace: bool) -> None:
    assert (stack_trace(value) is not None) is is_trace


@pytest.mark.parametrize("piece", ["at ", "at a.", "  at a", '"', 'File "', "#1 ", "a.js:1", "(", "at a ("])
def test_a_long_text_takes_no_long_time(piece: str) -> None:
    started_s = time.process_time()
    stack_trace({"message": piece * (100_000 // len(piece))})
    assert time.process_time() - started_s < 5


def test_a_trace_in_deep_nesting_is_found() -> None:
    deep: Any = [TRACES["java"]]
    for _ in range(5_000):
        deep = {"cause": deep}
    assert stack_trace(deep)
