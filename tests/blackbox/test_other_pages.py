"""A page of another origin, in the browser of somebody who may do everything, changes nothing."""

import base64

import pytest

CHANGES = ["/-/reload", "/tenantscope/v1/removals?tenant=nosuch", "/tenantscope/v1/agents/resume?release=1"]


@pytest.mark.parametrize("path", CHANGES)
def test_only_pages_of_ours_and_programs_change_something(collector, path):
    password = {"Authorization": "Basic " + base64.b64encode(b"x:any-password").decode()}
    post = lambda **headers: collector.session.post(collector.url + path, headers={**password, **headers}, timeout=30).status_code
    assert post(**{"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"}) == 403
    assert post(**{"Sec-Fetch-Site": "same-site"}) == 403
    assert post(Origin="https://evil.example") == 403
    assert post(Origin="null") == 403
    assert post() != 403
    assert post(Origin=collector.url) != 403
