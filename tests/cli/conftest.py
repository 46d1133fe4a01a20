"""Commands write pictures beside everything else: most tests are not about these."""

import pytest


@pytest.fixture(autouse=True)
def _pictures(request):
    """Sketched, unless a test asks for them as they are, by ``drawn``."""
    if "drawn" not in request.fixturenames:
        request.getfixturevalue("sketched")


@pytest.fixture
def drawn():
    """Pictures as a user gets them."""
