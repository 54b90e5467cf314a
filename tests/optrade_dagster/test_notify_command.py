"""`optrade notify`: what it prints and its exit codes."""

from __future__ import annotations

from tests.channels import http_receiver


def test_with_no_channel_it_says_which_settings_there_are(optrade):
    done = optrade("notify", "--test")
    assert done.returncode == 2
    assert "OPTRADE_NOTIFY__ALERTMANAGER_URL" in done.stderr


def test_each_channel_is_tried_and_its_answer_printed(optrade):
    with http_receiver() as hook, http_receiver() as manager:
        manager.status, manager.text = 500, "out of order"
        key = "/services/T0001/B0002/sEcReT"
        given = {
            "NOTIFY__WEBHOOK_URL": hook.url + key,
            "NOTIFY__ALERTMANAGER_URL": manager.url,
        }
        listed = optrade("notify", **given)
        done = optrade("notify", "--test", **given)
    assert (listed.returncode, done.returncode) == (0, 1)
    assert "webhook, alertmanager" in listed.stdout
    assert "webhook took it: HTTP 200 ok" in done.stdout
    assert "alertmanager failed: alertmanager: found HTTP 500 out of order" in done.stdout
    assert len(hook.posts) == 1
    assert "sEcReT" not in done.stdout + done.stderr
