"""Fixtures of every test: nobody's settings, and one thread for torch."""

import signal

import pytest
from hypothesis import HealthCheck, settings

# Assertions that tests share say as much about a failure as those that stand in a test.
pytest.register_assert_rewrite("tests.made")

# A shell that runs the tests in the background lets them ignore Ctrl-C, and what they start inherits that:
# the tests that press Ctrl-C would wait for ever.
signal.signal(signal.SIGINT, signal.default_int_handler)

# How long a machine takes over an example says nothing about the code.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")


@pytest.fixture(scope="session", autouse=True)
def nobodys_settings(tmp_path_factory):
    """Run every test without the settings of `sluice` that the person running the tests may have."""
    with pytest.MonkeyPatch.context() as changed:
        changed.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.mktemp("settings")))
        changed.delenv("SLUICE_WEIGHTS", raising=False)
        yield


@pytest.fixture(scope="module")
def one_thread():
    """Limit torch to one thread: sums are then the same on every machine, and small tests finish sooner."""
    import torch  # here: most tests do without

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
