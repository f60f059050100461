"""The API keeps to its OpenAPI document, whatever is sent: no server error, no answer that is not documented.

``TILLFREE_API_EXAMPLES`` sets how many requests each operation gets of either kind; README names the long run.
"""

import os
import warnings
from functools import cache
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import schemathesis
    from schemathesis.checks import not_a_server_error
    from schemathesis.core.result import Ok
    from schemathesis.generation import GenerationMode
    from schemathesis.specs.openapi.checks import (
        content_type_conformance,
        response_headers_conformance,
        response_schema_conformance,
        status_code_conformance,
    )

from cart.accounts import Role
from cart.api.app import openapi_of
from cart.api.rules import RULES
from tests.cart.api.shops import ApiStore
from tests.cart.api.test_rules import Victim

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    response_headers_conformance,
]
EXAMPLES = int(os.environ.get("TILLFREE_API_EXAMPLES", "4"))
STREAM = "/v1/sessions/{session_id}/cart/events"


@cache
def operations() -> dict[str, Any]:
    """Every operation of the document."""
    schema = schemathesis.openapi.from_dict(openapi_of(ApiStore(demo=True).app))
    found = [result.ok() for result in schema.get_all_operations() if isinstance(result, Ok)]
    return {f"{operation.method.upper()} {operation.path}": operation for operation in found}


@cache
def store_for(name: str) -> tuple[ApiStore, Victim]:
    """A store for one operation, with one of everything."""
    store = ApiStore(demo=True)
    store.account("first-owner", Role.OWNER)
    return store, Victim(store)


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=["fitting", "unfit"])
@pytest.mark.parametrize("name", [f"{method} {path}" for method, path in RULES])
def test_every_answer_is_documented_and_none_is_a_server_error(name: str, mode: GenerationMode) -> None:
    operation = operations()[name]
    if mode is GenerationMode.NEGATIVE and not operation.definition.raw.keys() & {"parameters", "requestBody"}:
        pytest.skip("takes nothing that could be unfit")
    store, victim = store_for(name)
    path = operation.path
    real = victim.places(path)
    if path == STREAM:  # that of a visit which is over ends by itself
        real["session_id"] = str(victim.paid.session_id)
    owner = store.accounts.by_email("first-owner@example.com")
    assert owner is not None

    @settings(max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(data=st.data())
    def run(data: Any) -> None:
        case = data.draw(operation.as_strategy(generation_mode=mode))
        if case.path_parameters and data.draw(st.booleans()):
            for key in case.path_parameters:
                case.path_parameters[key] = real[key]
        if path == STREAM and case.path_parameters.get("session_id") == str(victim.open.session_id):
            return
        store.pass_time(seconds=1)
        caller = data.draw(st.sampled_from(["owner", "shopper", "nobody"]))
        account = {"owner": owner, "shopper": victim.account}.get(caller)
        headers = {}
        if account is not None and usable(store, account):
            headers["Authorization"] = f"Bearer {store.token_of(account)}"
        response = case.call(app=store.app, headers=headers)
        case.validate_response(response, checks=CHECKS)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run()


def usable(store: ApiStore, account: Any) -> bool:
    """Whether an account can sign in still: requests may have blocked or erased it."""
    return store.accounts.account(account.account_id).status == "active"
