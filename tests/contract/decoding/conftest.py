from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.contract.decoding.token_readers import TOKEN_READERS, token_reader_in_use


@pytest.fixture(scope="module")
def native_token_reader() -> Iterator[None]:
    with token_reader_in_use("native"):
        yield


@pytest.fixture(scope="module", params=TOKEN_READERS)
def each_token_reader(request: pytest.FixtureRequest) -> Iterator[None]:
    with token_reader_in_use(request.param):
        yield
