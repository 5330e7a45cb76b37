"""Flags, profiles and text: what an engine knows before it does anything."""

from pathlib import Path

import pytest

import ingle_lab.engine
from ingle_lab.engine import words
from ingle_lab.engine.flags import UsageError, human_int, lab_settings, parse
from ingle_lab.engine.profile import profile_of

DEV = {"VLLM_SERVER_DEV_MODE": "1"}


@pytest.mark.parametrize(
    "argv",
    [["serve", "m", "--port", "1"], ["--model", "m", "--port", "1"], ["serve", "--port=1", "--model=m"]],
)
def test_a_model_is_named_first_or_by_flag(argv):
    options = parse(argv, {})

    assert (options.model, options.port, options.served_names) == ("m", 1, ("m",))


def test_no_model_is_an_error():
    with pytest.raises(UsageError, match="no model"):
        parse(["serve", "--port", "1"], {})


def test_underscores_in_flags_are_dashes():
    assert parse(["serve", "m", "--max_model_len=8k", "--served_model_name", "a_b"], {}).served_names == (
        "a_b",
    )


def test_sleep_needs_the_flag_and_dev_mode():
    flag = ["serve", "m", "--enable-sleep-mode"]

    assert [parse(flag, {}).sleep_endpoints, parse(["m"], DEV).sleep_endpoints] == [False, False]
    assert parse(flag, DEV).sleep_endpoints


def test_any_address_is_the_pods():
    assert parse(["m", "--host", "0.0.0.0"], {"POD_IP": "127.21.0.3"}).host == "127.21.0.3"
    assert parse(["m"], {}).host == "127.0.0.1"
    assert parse(["m", "--host", "127.9.9.9"], {"POD_IP": "127.21.0.3"}).host == "127.9.9.9"


@pytest.mark.parametrize(("text", "number"), [("4096", 4096), ("8k", 8000), ("8K", 8192), ("1.5G", 3 << 29)])
def test_numbers_may_have_units(text, number):
    assert human_int(text) == number


@pytest.mark.parametrize(("text", "tokens"), [("auto", -1), ("8k", 8000), ("8192", 8192)])
def test_the_context_is_a_number_or_auto(text, tokens):
    assert parse(["m", "--max-model-len", text], {}).max_model_len == tokens
    with pytest.raises(SystemExit):
        parse(["m", "--max-model-len", f"x{text}"], {})


def test_a_gpu_named_twice_is_an_error():
    env = {"CUDA_VISIBLE_DEVICES": "GPU-a,GPU-a", "INGLE_LAB_GPU_STATE": "x"}
    with pytest.raises(UsageError, match="1 different"):
        lab_settings(env, 2)


FILES = sorted((Path(ingle_lab.engine.__file__).parent / "profiles").glob("*.yaml"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_profile_is_sound(path):
    profile = profile_of(path.stem)

    assert path.stem in (profile.model.rsplit("/", 1)[-1].lower(), "default")
    assert profile.residue_mib < profile.weights_mib
    assert profile.kv_mib << 20 >= profile.max_model_len * profile.kv_bytes_per_token
    assert profile.wake_l1_s < profile.wake_l2_s < profile.load_s
    assert profile.wake_l1_s < profile.sleep_l1_s
    assert 0 < profile.idle_w < profile.loading_w < profile.busy_w
    assert profile.running_w(0) == profile.idle_w
    assert profile.running_w(10_000) == profile.busy_w


@pytest.mark.parametrize(
    ("model", "found"),
    [
        ("Qwen/Qwen3-32B", "Qwen/Qwen3-32B"),
        ("/models/qwen3-32b/", "Qwen/Qwen3-32B"),
        ("someone/else", "default"),
    ],
)
def test_a_profile_is_found_by_the_last_part_of_a_name_or_path(model, found):
    assert profile_of(model).model == found


def test_quantized_weights_are_smaller():
    assert profile_of("x").quantized("fp8").weights_mib == profile_of("x").weights_mib // 2
    assert profile_of("x").quantized(None) == profile_of("x").quantized("novel") == profile_of("x")


def test_text_in_pieces_is_the_text():
    whole = words.text(123456789, 0, 300)

    assert words.text(123456789, 0, 7) + words.text(123456789, 7, 7) + words.text(123456789, 7, 300) == whole
    assert len(whole.split(" ")) == 300


def test_tokens_are_guessed_from_words_and_length():
    assert words.estimated_tokens("") == 1
    assert words.estimated_tokens("a b c d e f") == 6
    assert words.estimated_tokens("x" * 400) == 100
