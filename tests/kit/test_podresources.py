"""What the kubelet lists, read from bytes that its own Go code wrote, and holder pods known by their names."""

from __future__ import annotations

import pytest
from hypothesis import given as drawn
from hypothesis import settings
from hypothesis import strategies as st

from ingle_kit.holders import holder_name, is_holder_name
from ingle_kit.podresources import Given, answer_of, given

# proto.Marshal of a ListPodResourcesResponse by k8s.io/kubelet v0.37.2: a holder with a GPU of each of two entries (one
# a NUMA zone), a pod with two GPUs, CPUs, memory and a DRA claim, and a pod without devices.
BY_KUBELET = bytes.fromhex(
    "0a6a0a0e696e676c652d686f6c6465722d30120c696e676c652d73797374656d1a4a0a06686f6c646572121d0a0e6e76696469612e636f6d"
    "2f67707512054750552d611a040a020801121d0a0e6e76696469612e636f6d2f67707512054750552d621a040a0208011a0201020a91010a"
    "05747261696e12047465616d1a680a046d61696e121e0a0e6e76696469612e636f6d2f67707512054750552d6312054750552d641a020405"
    "22140a066d656d6f72791080808080041a040a0208012a261201781a047465616d221b120e6770752e6e76696469612e636f6d1a026e3122"
    "056770752d34220204052a140a066d656d6f72791080808080041a040a0208010a130a0377656212047465616d1a060a046d61696e"
)
GPU = "nvidia.com/gpu"


def test_the_kubelets_own_bytes_are_read() -> None:
    assert given(BY_KUBELET) == [
        Given("ingle-system", "ingle-holder-0", "holder", GPU, "GPU-a"),
        Given("ingle-system", "ingle-holder-0", "holder", GPU, "GPU-b"),
        Given("team", "train", "main", GPU, "GPU-c"),
        Given("team", "train", "main", GPU, "GPU-d"),
    ]
    assert given(b"") == []


def test_bytes_that_are_no_answer_are_refused() -> None:
    with pytest.raises(ValueError, match="PodResourcesLister/List"):
        given(BY_KUBELET[:-1])


words = st.text(max_size=8)


@settings(max_examples=50)
@drawn(st.lists(st.builds(Given, words, words, words, words, words), max_size=8))
def test_what_the_stand_in_writes_is_read_again(devices: list[Given]) -> None:
    assert sorted(given(answer_of(devices))) == sorted(devices)


@settings(max_examples=50)
@drawn(st.binary(max_size=64))
def test_any_bytes_are_read_or_refused(answer: bytes) -> None:
    try:
        given(answer)
    except ValueError:
        return


@pytest.mark.parametrize(
    ("name", "known"),
    [
        (holder_name("n1", 0), True),
        (holder_name("n1", 12), True),
        (holder_name("n2", 0), False),
        (holder_name("n1", 0) + "x", False),
        (holder_name("n1", 0) + "\n", False),
        (holder_name("n1", 0).removesuffix("0"), False),
        ("x" + holder_name("n1", 0), False),
        ("ingle-holder-0", False),
    ],
)
def test_a_holder_of_a_node_is_known_by_its_whole_name(name: str, known: bool) -> None:
    assert is_holder_name(name, "n1") is known
