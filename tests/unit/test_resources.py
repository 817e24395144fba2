"""Named resources and labels: what can be typed, and what is refused with a way on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpc.config import RelayConfig
from hpc.errors import UsageError
from hpc.relay.resources import Resources, chosen_gpus, resources
from hpc.resources import (
    LABEL_BYTES_MAX,
    OFFERS_MAX,
    VALUES_BYTES_MAX,
    VALUES_MAX,
    Stock,
    check_amounts,
    check_ids,
    check_offers,
    check_values,
    is_id,
    named,
    parse_amounts,
    parse_gpus,
    parse_labels,
    parse_offers,
    parse_stock,
    variable,
)


def config(**fields: Any) -> RelayConfig:
    return RelayConfig(home=Path("/nowhere"), node_id="n1", namespaces=["batch"], **fields)


@pytest.mark.parametrize(
    ("text", "stock"),
    [
        ("10", 10),
        ("sum(10)", 10),
        ("sum( 7 )", 7),
        ("range(0-3)", ("0", "1", "2", "3")),
        ("range(5-5)", ("5",)),
        ("[a,b,c]", ("a", "b", "c")),
        ("list(a, b)", ("a", "b")),
        ("[0000:3b:00.0]", ("0000:3b:00.0",)),
        (f"range(1-{VALUES_MAX})", tuple(str(n) for n in range(1, VALUES_MAX + 1))),
    ],
)
def test_a_stock_is_a_sum_or_values(text: str, stock: Stock) -> None:
    """Each form that the help names, and blanks where people put them."""
    assert parse_stock(text, "Resource `x`") == stock


@pytest.mark.parametrize(
    "text",
    [
        "", "ten", "-1", "1.5", "sum(1", "sum 1)", "1)", "sum()", "range(3-1)", "range(0..3)",
        "range(0-99999)", "range(0,3)", "[]", "list()", "[a,,b]", "[a,b", "a,b", "[a,a]", "[a b]",
        "[a\tb]", "[a\nb]", "[a\0]", "[\u00a0]", "[\udcff]", "\u0663",
    ],
)  # fmt: skip
def test_what_is_no_stock_is_refused_by_its_name(text: str) -> None:
    """A relay must not start with less than was meant, nor with values that look the same."""
    with pytest.raises(UsageError, match=r"^Resource `x`") as refused:
        parse_stock(text, "Resource `x`")
    assert refused.value.field == "resource"


@given(st.lists(st.text(), min_size=1, max_size=5))
def test_values_that_pass_come_apart_again(values: list[str]) -> None:
    """A task finds them joined by commas: it must be able to part them."""
    try:
        check_values(values, "x", "resource")
    except UsageError:
        assert len(set(values)) < len(values) or any(
            not value or not value.isprintable() or "," in value or " " in value for value in values
        )
    else:
        assert ",".join(values).split(",") == values
        assert ",".join(values).split() == [",".join(values)]


def test_a_pool_fits_into_a_variable() -> None:
    """The kernel starts no program with a longer one: the task that takes it all would fail."""
    long = [f"{n:0>50}" for n in range(VALUES_BYTES_MAX // 51)]
    check_values(long, "x", "resource")
    with pytest.raises(UsageError, match="bytes together"):
        check_values([*long, "one-more" * 9], "x", "resource")
    with pytest.raises(UsageError, match=r"4,096 values"):
        check_values([str(n) for n in range(VALUES_MAX + 1)], "x", "resource")


def test_offers_are_read_by_name() -> None:
    """As often as the flag is given; an `=` in a value is part of it."""
    offers = parse_offers(["fpgas=[a=1,b]", "licences=3"])
    assert offers == {"fpgas": ("a=1", "b"), "licences": 3}
    check_offers(offers)


@pytest.mark.parametrize("texts", [["fpgas"], ["=3"], ["a=1", "a=2"], ["a"]])
def test_an_offer_without_a_name_or_twice_is_refused(texts: list[str]) -> None:
    """Which of two was meant is not ours to guess."""
    with pytest.raises(UsageError):
        parse_offers(texts)


@pytest.mark.parametrize(
    ("offers", "told"),
    [
        ({"cpus": 4}, "--cpus"),
        ({"memory_mib": 4}, "--memory"),
        ({"memory": 4}, "--memory"),
        ({"gpus": ("0",)}, "--gpus"),
        ({"gpu": 4}, "--gpus"),
    ],
)
def test_what_has_a_flag_of_its_own_leads_to_it(offers: dict[str, Stock], told: str) -> None:
    """Two places to say one thing would contradict each other."""
    with pytest.raises(UsageError) as refused:
        config(resources=offers)
    assert told in (refused.value.hint or "")


@pytest.mark.parametrize(
    "offers",
    [
        {"a b": 1},
        {"": 1},
        {"x": 0},
        {"x": -1},
        {"x": ("a", "a")},
        {"a-b": 1, "a.b": 1},
        {"a": 1, "A": 1},
        {"GPUS": 3},
        {"Gpus": ("0", "1")},
        {f"r{n}": 1 for n in range(OFFERS_MAX + 1)},
    ],
)
def test_offers_that_no_claim_or_task_could_carry_are_refused(offers: dict[str, Stock]) -> None:
    """Two names that are told in one variable among them."""
    with pytest.raises(UsageError) as refused:
        config(resources=offers)
    assert refused.value.field == "resource"


def test_a_variable_is_made_of_letters_and_digits() -> None:
    """What a shell can read; the same as the supervisor's (`resource_variable`)."""
    assert variable("a100-sxm.v2") == "HPC_RESOURCE_A100_SXM_V2"


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        ("all", None),
        ("none", ()),
        ("2", 2),
        ("0,1,3", ("0", "1", "3")),
        ("0,", ("0",)),
        ("GPU-7f", ("GPU-7f",)),
        ("MIG-9, GPU-7f", ("MIG-9", "GPU-7f")),
    ],
)
def test_gpus_are_a_number_or_ids(text: str, asked: Stock | None) -> None:
    """A comma makes an id of a number."""
    assert parse_gpus(text) == asked
    assert config(gpus=asked).gpus == asked


@pytest.mark.parametrize("text", ["0", "", ",", "0,0", "a b", "0,,1"])
def test_gpus_that_are_neither_are_refused(text: str) -> None:
    """`--gpus 0` could be none or the first: whoever types it is asked."""
    with pytest.raises(UsageError) as refused:
        parse_gpus(text)
    assert refused.value.field == "gpus"


def test_ids_of_gpus_need_not_be_found_and_a_number_must() -> None:
    """A task that is told of a GPU which is not there would fail in the middle of its work."""

    def never() -> tuple[str, ...]:
        raise AssertionError

    assert chosen_gpus(("5", "MIG-9"), never) == ("5", "MIG-9")
    assert chosen_gpus((), never) == ()
    assert chosen_gpus(None, lambda: ("3", "4")) == ("3", "4")
    assert chosen_gpus(1, lambda: ("3", "4")) == ("3",)
    for found in ((), ("3",)):
        with pytest.raises(UsageError) as refused:
            chosen_gpus(2, lambda found=found: found)
        assert "--gpus 0,1" in (refused.value.hint or "")


def test_an_offer_counts_and_a_stock_names() -> None:
    """The Hub counts; the supervisor hands out."""
    offered = resources(
        allowed=[0, 1],
        quota=None,
        memory_bytes=8 << 20,
        gpus=("0", "3"),
        named={"fpgas": ("a",), "licences": 5},
    )
    assert offered.offer() == {
        "cpus": 2, "memory_mib": 8, "gpus": 2, "fpgas": 1, "licences": 5,
    }  # fmt: skip
    assert offered.stock() == {"gpus": ("0", "3"), "fpgas": ("a",), "licences": 5}
    assert offered.summary() == "2 cpus, 8 MiB, 2 gpus, 1 fpgas, 5 licences"
    plain = Resources([0], 8)
    assert plain.offer() == {"cpus": 1, "memory_mib": 8}
    assert plain.stock() == {}
    assert plain.summary() == "1 cpu, 8 MiB"


def test_labels_are_pairs() -> None:
    """An `=` in a value is part of it, and a value may be empty."""
    assert parse_labels(["zone=b", "note=a=b c", "bare="], "label") == {
        "zone": "b", "note": "a=b c", "bare": "",
    }  # fmt: skip


@pytest.mark.parametrize(
    "texts",
    [
        ["zone"], ["=b"], ["a b=c"], ["zone=a", "zone=b"], ["x=\0"], ["x=\udcff"],
        ["x=" + "é" * (LABEL_BYTES_MAX // 2) + "e"], [f"k{n}=v" for n in range(65)],
    ],
)  # fmt: skip
def test_labels_that_no_claim_could_carry_are_refused(texts: list[str]) -> None:
    """At the command line, not by a Hub that refuses the relay."""
    with pytest.raises(UsageError) as refused:
        parse_labels(texts, "label")
    assert refused.value.field == "label"


def test_amounts_are_read_by_name() -> None:
    """What a job asks for."""
    assert parse_amounts(["fpgas=2", "licences=1"]) == {"fpgas": 2, "licences": 1}


@pytest.mark.parametrize(
    "texts",
    [["fpgas"], ["fpgas="], ["fpgas=0"], ["fpgas=-1"], ["fpgas=two"], ["a=1", "a=1"], ["a b=1"]],
)
def test_an_amount_that_is_none_is_refused(texts: list[str]) -> None:
    """A job that asks for nothing of it, and says so, has made a slip."""
    with pytest.raises(UsageError) as refused:
        parse_amounts(texts)
    assert refused.value.field == "resource"


@pytest.mark.parametrize(("name", "flag"), [("cpus", "--cpu"), ("gpus", "--gpus")])
def test_a_job_asks_for_cores_and_gpus_by_their_flags(name: str, flag: str) -> None:
    """By the name of the flag that a submit has, which is not the relay's."""
    with pytest.raises(UsageError) as refused:
        check_amounts({name: 1})
    assert (refused.value.hint or "").endswith(flag)


def test_ids_of_nodes_are_a_list_of_ids() -> None:
    """A text would be taken for the list of its letters."""
    check_ids(["n1", "gpu-box.local"], "nodes")
    for wrong in ("n1", ["a b"], [""]):
        with pytest.raises(UsageError) as refused:
            check_ids(wrong, "nodes")
        assert refused.value.field == "nodes"
    assert not is_id(7)


def test_what_has_a_name_is_neither_cores_nor_memory() -> None:
    """Of a grant."""
    assert named({"cpus": 1, "memory_mib": 2, "gpus": 3, "x": 4}) == {"gpus": 3, "x": 4}


def test_a_gpu_that_is_named_twice_is_refused_with_what_to_do() -> None:
    """Two tasks must never be given one GPU, by mistake of whoever typed it."""
    with pytest.raises(UsageError, match="`gpus` has '0' twice") as refused:
        parse_gpus("0,0")
    assert refused.value.hint == "name each of them once"
