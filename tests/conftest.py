"""For every test."""

import signal

import pytest
from hypothesis import HealthCheck, settings

# A shell that runs the tests in the background lets them ignore Ctrl-C, and what they start inherits that:
# the tests that press Ctrl-C would wait for ever.
signal.signal(signal.SIGINT, signal.default_int_handler)

# How long a machine takes over an example says nothing about the code.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")


@pytest.fixture(scope="session", autouse=True)
def nobodys_settings(tmp_path_factory):
    """Who runs the tests may have settings of `sluice`, which say nothing about the code either."""
    with pytest.MonkeyPatch.context() as changed:
        changed.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.mktemp("settings")))
        yield


@pytest.fixture(scope="module")
def one_thread():
    """One thread for torch: the sums of a test are the same on every machine, and small ones are done sooner."""
    import torch  # here: most tests do without

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
