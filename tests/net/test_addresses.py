"""Every spelling of an inner address is known for one."""

import pytest

from headrace.net.addresses import is_public

PUBLIC = [
    "93.184.216.34", "8.8.8.8", "192.88.99.1", "2606:4700::1111", "2001:4860:4860::8888",
    "64:ff9b::8.8.8.8", "::ffff:8.8.8.8", "2002:808:808::1",
]  # fmt: skip
INNER = [
    "0.0.0.0", "10.0.0.1", "100.64.0.1", "127.0.0.1", "127.1.2.3", "169.254.169.254", "172.16.0.1",
    "192.0.0.8", "192.168.1.1", "198.18.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255",
    "168.63.129.16",
    "::", "::1", "fe80::1", "fe80::1%eth0", "fc00::1", "fd00:ec2::254", "fec0::1", "ff02::1",
    "ff0e::1", "100::1", "2001:db8::1", "3fff::1", "5f00::1", "2001:10::1",
    "::127.0.0.1", "::7f00:1", "::ffff:10.0.0.1", "::ffff:0:127.0.0.1",
    "64:ff9b::127.0.0.1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::7f00:1", "64:ff9b:1::808:808",
    "2002:7f00:1::", "2002:a00:1::1", "2001:0:4136:e378:8000:63bf:80ff:fffe",
    "2606:4700::5efe:10.0.0.1", "2606:4700::200:5efe:127.0.0.1",
    "", "nonsense", "127.1", "2130706433", "0x7f.1", "::1%", "localhost",
]  # fmt: skip


@pytest.mark.parametrize("address", PUBLIC)
def test_what_lies_in_the_internet(address: str):
    assert is_public(address)


@pytest.mark.parametrize("address", INNER)
def test_what_does_not(address: str):
    assert not is_public(address)
