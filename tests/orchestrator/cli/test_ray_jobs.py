"""Where a campaign goes for which address of a cluster."""

import pytest

from orchestrator.cli.ray_jobs import submission_address


@pytest.mark.parametrize(
    ("address", "environment", "there"),
    [
        (None, {}, None),
        ("auto", {}, None),
        ("head:6379", {}, None),
        ("http://head:8265", {}, "http://head:8265"),
        ("https://head/ray", {"RAY_API_SERVER_ADDRESS": "http://other:1"}, "https://head/ray"),
        ("ray://head:10001", {}, "http://head:8265"),
        ("ray://[fd00::1]:10001", {}, "http://[fd00::1]:8265"),
        ("ray://head:10001", {"RAY_API_SERVER_ADDRESS": "http://head:9000"}, "http://head:9000"),
    ],
)
def test_a_campaign_is_submitted_over_http_or_its_driver_joins_the_cluster(address, environment, there):
    assert submission_address(address, environment) == there
