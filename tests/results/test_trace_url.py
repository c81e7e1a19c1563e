import pytest

from harness.results.trace_url import is_trace_url, trace_address


def test_the_trace_id_is_put_in_wherever_it_belongs():
    template = 'https://g.example/{trace_id}?left={"query":"{trace_id}"}'
    assert is_trace_url(template)
    assert trace_address(template, "ab") == 'https://g.example/ab?left={"query":"ab"}'


@pytest.mark.parametrize(
    "value",
    [
        None,
        5,
        "javascript:alert(1)//{trace_id}",
        "https://h/{trace_id}\n",
        ["https://h/{trace_id}"],
        f"https://h/{'x' * 2_000}{{trace_id}}",
    ],
)
def test_a_results_file_may_have_anything_else(value):
    assert not is_trace_url(value)
