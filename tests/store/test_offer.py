"""Names of offers and content of claims."""

from __future__ import annotations

import pytest

from slurmtune.store.offer import (
    MAX_PRIORITY,
    Claim,
    decode_claim,
    encode_claim,
    offer_name,
    parse_offer_name,
)

ATTEMPT = "t00007.r2.a1"


def test_names_sort_by_priority() -> None:
    names = [offer_name(priority, ATTEMPT) for priority in (0, 9, 10, MAX_PRIORITY)]

    assert names == sorted(names)
    assert [parse_offer_name(name) for name in names] == [
        (0, ATTEMPT), (9, ATTEMPT), (10, ATTEMPT), (MAX_PRIORITY, ATTEMPT),
    ]  # fmt: skip


@pytest.mark.parametrize("priority", [-1, MAX_PRIORITY + 1])
def test_a_priority_of_another_width_is_refused(priority: int) -> None:
    with pytest.raises(ValueError, match="priority"):
        offer_name(priority, ATTEMPT)


@pytest.mark.parametrize(
    "name", ["", "x", ".000001-t00007.r2.a1.json.0.tmp", "000001-../x.json", "1-t00007.r2.a1.json"]
)
def test_other_files_are_no_offers(name: str) -> None:
    with pytest.raises(ValueError):
        parse_offer_name(name)


def test_a_claim_comes_back() -> None:
    claim = Claim("tok-1", 3, 2)

    assert decode_claim(encode_claim(claim, attempt=ATTEMPT, job="1_3", host="n1", pid=7)) == claim
    assert claim.slot == "tok-1.3.2"


def test_no_two_claims_are_alike() -> None:
    first, second = (
        encode_claim(Claim("t", 0, 0), attempt=ATTEMPT, job="", host="", pid=1) for _ in range(2)
    )

    assert first != second


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b"[]",
        b"\xff",
        b'{"token":"a/b","index":0,"restart":0}',
        b'{"token":"a","index":"0","restart":0}',
        b"[" * 10_000,
    ],
)
def test_other_content_is_no_claim(data: bytes) -> None:
    assert decode_claim(data) is None
