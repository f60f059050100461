from cart import errors
from cart.errors import StoreError


def test_every_error_of_the_tree_has_a_status_and_a_title_of_its_own() -> None:
    tree = [e for e in vars(errors).values() if isinstance(e, type) and issubclass(e, StoreError)]
    assert len(tree) > 1
    assert len({e.title for e in tree}) == len(tree)
    assert all(400 <= e.status < 600 for e in tree)
    assert all(e.__name__ in (errors.__doc__ or "") and str(e.status) in (errors.__doc__ or "") for e in tree)
