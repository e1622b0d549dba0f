"""The environment in which the shipped code meets the parts that were started for it."""

from devtools.stage import Stage


def test_what_the_caller_set_for_callstream_is_left_out_however_it_is_spelt() -> None:
    """Settings are read without regard to case, so a wrong one in small letters would end every role."""
    foreign = {"CALLSTREAM_SINK_BATCH_ROWS": "0", "callstream_log_level": "x", "alibaba_cloud_access_key_id": "y"}
    environment = Stage().environment({**foreign, "PATH": "/bin"})
    assert environment.keys() & foreign.keys() == set()
    assert environment["PATH"] == "/bin"


def test_the_cloud_on_this_machine_is_not_asked_through_a_proxy() -> None:
    """The SDK takes the way that these name, also to a simulator on the loopback."""
    proxies = {"HTTP_PROXY": "http://proxy:3128", "https_proxy": "http://proxy:3128", "all_proxy": "socks5://proxy"}
    assert Stage().environment(proxies).keys() & proxies.keys() == set()
