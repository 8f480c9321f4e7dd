"""Every limit among the settings has a test that exceeds it; a limit that is added without one fails here."""

import ast
from pathlib import Path

import pytest

from ws_subprocess.config.kinds import Bytes, Count, Duration
from ws_subprocess.config.settings import SETTINGS

TESTS = Path(__file__).parent
LIMITS = {key for key, setting in SETTINGS.items() if isinstance(setting.kind, Count | Duration | Bytes)}

# By setting, the tests in which it is exceeded and has the effect that is documented.
EXCEEDED: dict[str, tuple[str, ...]] = {
    "controller_timeout_s": (
        "doors/test_refusals_by_controller.py::test_a_controller_that_is_late_is_504",
        "system/test_daemon.py::test_a_controller_that_thinks_too_long_is_given_up",
    ),
    "controller_max_questions": (
        "doors/test_limits.py::test_controller_max_questions_lets_the_others_wait_and_then_tells_them_to_come_back",
    ),
    "jwt_leeway_s": (
        "doors/test_limits.py::test_jwt_leeway_s_is_how_late_a_signed_token_may_come",
        "doors/test_limits.py::test_jwt_leeway_s_is_how_early_a_signed_token_may_come",
    ),
    "jwt_max_lifetime_s": ("doors/test_limits.py::test_jwt_max_lifetime_s_is_how_long_a_signed_token_may_live",),
    "max_body_bytes": (
        "http/test_http_limits.py::test_max_body_bytes_is_the_largest_body_at_each_door",
        "http/test_bodies.py::test_a_body_of_no_declared_length_is_read_to_the_limit_and_no_further",
    ),
    "max_upload_bytes": ("http/test_command_uploads.py::test_a_body_that_is_too_big_is_refused_declared_or_not",),
    "body_timeout_s": ("http/test_http_limits.py::test_body_timeout_s_is_how_long_a_body_may_take_at_each_door",),
    "max_jobs_running": (
        "http/test_http_limits.py::test_max_jobs_running_lets_the_others_wait",
        "service/test_jobs_limits.py::test_no_more_jobs_run_at_a_time_than_may",
    ),
    "max_jobs_waiting": (
        "http/test_http_limits.py::test_max_jobs_waiting_is_how_many_may_wait",
        "http/test_command_additions.py::test_too_many_jobs_are_refused_with_the_time_to_come_back",
    ),
    "max_jobs_kept": ("http/test_http_limits.py::test_max_jobs_kept_is_how_many_results_are_kept",),
    "job_ttl_s": ("http/test_http_limits.py::test_job_ttl_s_is_how_long_a_result_is_kept",),
    "max_job_output_bytes": (
        "http/test_http_limits.py::test_max_job_output_bytes_is_how_much_of_a_jobs_output_is_kept",
        "service/test_jobs_limits.py::test_output_beyond_the_limit_is_dropped_and_the_command_goes_on",
    ),
    "spool_bytes": (
        "http/test_http_limits.py::test_spool_bytes_is_how_much_of_all_output_is_kept",
        "service/test_jobs_limits.py::test_the_oldest_output_goes_when_there_is_too_much",
    ),
    "max_sessions": (
        "doors/test_refusals.py::test_a_full_daemon_refuses_before_it_asks_and_says_when_to_come_back",
        "doors/test_limits.py::test_who_finds_no_room_keeps_a_token_that_counts_once",
    ),
    "max_sessions_per_address": (
        "doors/test_limits.py::test_max_sessions_per_address_refuses_before_anybody_is_asked",
        "doors/test_limits.py::test_who_finds_no_room_keeps_a_token_that_counts_once",
    ),
    "max_sessions_per_principal": (
        "doors/test_limits.py::test_max_sessions_per_principal_refuses_that_principal_alone",
        "doors/test_limits.py::test_who_finds_no_room_keeps_a_token_that_counts_once",
    ),
    "max_handshakes_per_address": (
        "system/test_limits_by_flag.py::test_max_handshakes_per_address_is_how_often_one_address_may_knock",
    ),
    "max_waiting": (
        "system/test_limits_by_flag.py::test_max_waiting_is_how_many_connections_may_ask_for_nothing",
        "server/test_crowds.py::test_clients_that_ask_for_nothing_are_cut_and_those_that_ask_are_not",
    ),
    # On one machine all clients of a daemon have the address of a proxy, which may be many: so no test by flag.
    "max_waiting_per_address": ("server/test_crowds.py::test_each_address_has_its_share_but_those_that_are_many",),
    "drain_timeout_s": ("system/test_limits_by_flag.py::test_drain_timeout_s_is_how_long_sessions_may_go_on",),
    "ping_interval_s": (
        "system/test_limits_by_flag.py::test_ping_interval_s_and_ping_timeout_s_end_who_answers_nothing",
    ),
    "ping_timeout_s": (
        "system/test_limits_by_flag.py::test_ping_interval_s_and_ping_timeout_s_end_who_answers_nothing",
        "server/test_serving_liveness.py::test_a_silent_peer_is_closed_with_1011_after_the_timeout",
    ),
    "handshake_timeout_s": ("system/test_limits_by_flag.py::test_handshake_timeout_s_is_for_the_whole_request",),
    "max_message_bytes": ("system/test_limits_by_flag.py::test_max_message_bytes_is_the_largest_message",),
    "ring_bytes": ("doors/test_limits.py::test_ring_bytes_is_how_much_of_the_output_is_kept",),
    "window_bytes": ("doors/test_native_conversation.py::test_a_small_window_holds_a_client_to_it",),
    "input_bytes": ("doors/test_limits.py::test_input_bytes_is_how_much_input_is_taken_that_the_command_has_not_read",),
}
NODES = [(key, node) for key, nodes in EXCEEDED.items() for node in nodes]


def test_every_limit_is_exceeded_by_a_test() -> None:
    assert EXCEEDED.keys() == LIMITS, "name here the test that exceeds the new limit, or take the old one out"
    assert all(EXCEEDED.values())


@pytest.mark.parametrize(("key", "node"), NODES, ids=[f"{key} {node.rpartition('::')[2]}" for key, node in NODES])
def test_the_test_that_exceeds_a_limit_is_there_is_run_and_is_about_it(key: str, node: str) -> None:
    file, _, name = node.partition("::")
    source = (TESTS / file).read_text()
    module = ast.parse(source)

    [found] = [
        item for item in module.body if isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef) and item.name == name
    ]

    marks = [ast.unparse(mark) for mark in found.decorator_list]
    assert not [mark for mark in marks if "skip" in mark or "xfail" in mark]
    assert any(spelling in source for spelling in (key, SETTINGS[key].flag)), f"{file} never says {key}"
